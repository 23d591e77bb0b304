#!/bin/sh
# Install Debian's package of a program for the tests, where that may be done; fails elsewhere.
# Usage: tests/install_debian.sh PACKAGE
if [ "$(id -u)" = 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    exit 1
fi
command -v apt-get && $as_root apt-get update --quiet && $as_root apt-get install --yes --no-install-recommends "$1"
