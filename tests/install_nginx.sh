#!/bin/sh
# nginx for the test of the proxy that docs/serving.md describes: what is there, else Debian's package where it may be installed.
PATH=$PATH:/usr/sbin
if command -v nginx; then
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
    $as_root apt-get update --quiet && $as_root apt-get install --yes --no-install-recommends nginx-light && exit 0
fi
echo "No nginx could be installed: the test of the proxy will be skipped. Install nginx and run make test again."
