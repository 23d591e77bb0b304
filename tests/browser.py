"""The Chromium for the tests of the page.

    python -m tests.browser

prints its path, and fails without one.
"""

import shutil
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAY = "run `apt install chromium`, or `.venv/bin/playwright install --only-shell chromium`"


def find_chromium() -> str | None:
    """Path of an installed Chromium, or else of Playwright's."""
    if installed := next(filter(None, map(shutil.which, NAMES)), None):
        return installed
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        whole = Path(playwright.chromium.executable_path)
    shells = sorted(whole.parents[2].glob("chromium_headless_shell-*/*/*headless*shell*"))
    return next((str(found) for found in (whole, *reversed(shells)) if found.is_file()), None)


if __name__ == "__main__":
    found = find_chromium()
    if not found:
        sys.exit(1)
    print(found)
