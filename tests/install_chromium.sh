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
echo "Installing Debian's chromium for the tests of the page: 122 MB to fetch, 408 MB on disk ..."
"$(dirname "$0")/install_debian.sh" chromium && exit 0
echo "Fetching Playwright's headless Chromium for the tests of the page, which shows its size ..."
"$playwright" install --only-shell chromium && "${playwright%playwright}python" -m tests.browser && exit 0
echo "No Chromium could be installed: the tests of the page will be skipped, and say which command brings one."
