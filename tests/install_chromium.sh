#!/bin/sh
# A Chromium for the tests of the page: what is there, else Debian's package where it may be installed, else Playwright's own.
# Usage: tests/install_chromium.sh PLAYWRIGHT
playwright=$1

if command -v chromium || command -v chromium-browser || command -v google-chrome; then
    exit 0
fi
if "${playwright%playwright}python" -m tests.browser; then
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    as_root=false
fi
if [ "$as_root" != false ] && command -v apt-get; then
    echo "Installing Debian's chromium for the tests of the page: 122 MB to fetch, 408 MB on disk ..."
    $as_root apt-get update --quiet && $as_root apt-get install --yes --no-install-recommends chromium && exit 0
fi
echo "Fetching Playwright's headless Chromium for the tests of the page, which shows its size ..."
"$playwright" install --only-shell chromium && "${playwright%playwright}python" -m tests.browser && exit 0
echo "No Chromium could be installed: the tests of the page will be skipped, and say which command brings one."
