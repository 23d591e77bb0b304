"""Draw docs/images: two searches in a terminal, and the page of `voxdex serve`.   python docs/picture.py FOLDER

FOLDER holds recordings and people.csv, a metadata file with the columns path and speaker. The model was not trained on these
speakers, and the file names give their gender, so that the pictures show whether the answers are right. The pictures in the
repository are of 190 recordings of 68 people who speak English, in files such as man-14a.opus.

Needs the test extra and a Chromium.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser import find_chromium

IMAGES = Path(__file__).parent / "images"
WIDTH = 128
"""Columns of the terminal."""
SEARCHES = ("a man with a deep, monotonous voice", "an expressive, high-pitched woman")
PAGE_SEARCH = {"captions": SEARCHES[0], "group_by": "speaker"}
PAGE_SIZE = {"width": 1240, "height": 700}
"""Size of the browser's window in pixels."""
PROGRAM = (sys.executable, "-m", "voxdex")


def main(folder: Path) -> None:
    """Index a folder in an empty data folder, and draw searches of it."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"VOXDEX_HOME": home, "COLUMNS": str(WIDTH), "PYTHONPATH": str(ROOT)}
        _run(["index", f"./{folder.name}", "--metadata", f"{folder.name}/people.csv"], folder, environment)
        draw_terminal(folder, environment)
        draw_page(folder, environment)


def draw_terminal(folder: Path, environment: dict[str, str]) -> None:
    """Draw the searches and their output."""
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    for caption in SEARCHES:
        command = ["search", caption, "--group-by", "speaker", "-n", "4"]
        shown = " ".join(f'"{word}"' if " " in word else word for word in command)
        console.print(Text.assemble(("$ ", "bold green"), (f"voxdex {shown}", "bold")))
        for line in filter(str.strip, _run(command, folder, environment).splitlines()):
            console.print(Text(line.rstrip()), no_wrap=True, crop=False)
        console.print()
    drawing = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="Voxdex"), flags=re.DOTALL)  # fetches no fonts
    (IMAGES / "terminal.svg").write_text(drawing, encoding="utf-8")


def draw_page(folder: Path, environment: dict[str, str]) -> None:
    """Take a screenshot of a search on the page, with a clip that plays and a playlist."""
    serve = [*PROGRAM, "serve", "--port", "0"]
    with subprocess.Popen(serve, cwd=folder.parent, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        address = next(match[0] for line in server.stderr if (match := re.search(r"http://\S+", line)))
        try:
            with sync_playwright() as playwright:
                flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
                browser = playwright.chromium.launch(executable_path=find_chromium(), args=flags)
                page = browser.new_page(viewport=PAGE_SIZE)
                page.goto(f"{address}?{urlencode(PAGE_SEARCH)}", wait_until="networkidle")
                page.locator("[data-act=collect]").first.click()
                page.locator("button.play").nth(1).click()
                page.wait_for_timeout(1500)
                page.screenshot(path=IMAGES / "page.png")
                browser.close()
        finally:
            server.terminate()


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run([*PROGRAM, *command], cwd=folder.parent, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
