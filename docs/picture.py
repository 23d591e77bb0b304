"""Draw docs/images/terminal.svg: two searches and their hits in a terminal.   python docs/picture.py FOLDER

FOLDER holds recordings and people.csv, a metadata file with the columns path and speaker. The model was not trained on these
speakers, and the file names give their gender, so that the picture shows whether the answers are right. The picture in the
repository is of 190 recordings of 68 people who speak English, in files such as man-14a.opus.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
IMAGE = Path(__file__).parent / "images" / "terminal.svg"
WIDTH = 128
"""Columns of the terminal."""
SEARCHES = ("a man with a deep, monotonous voice", "an expressive, high-pitched woman")


def main(folder: Path) -> None:
    """Index a folder in an empty data folder, search it, and draw the searches and their output."""
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    searches = [["search", caption, "--group-by", "speaker", "-n", "4"] for caption in SEARCHES]
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"VOXDEX_HOME": home, "COLUMNS": str(WIDTH), "PYTHONPATH": str(ROOT)}

        def run(command: list[str]) -> str:
            program = [sys.executable, "-m", "voxdex", *command]
            done = subprocess.run(program, cwd=folder.parent, env=environment, capture_output=True, text=True, check=True)
            return done.stdout

        run(["index", f"./{folder.name}", "--metadata", f"{folder.name}/people.csv"])
        for command in searches:
            shown = " ".join(f'"{word}"' if " " in word else word for word in command)
            console.print(Text.assemble(("$ ", "bold green"), (f"voxdex {shown}", "bold")))
            for line in [line.rstrip() for line in run(command).splitlines() if line.strip()]:
                console.print(Text(line), no_wrap=True, crop=False)
            console.print()
    drawing = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="Voxdex"), flags=re.DOTALL)  # fetches no fonts
    IMAGE.write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
