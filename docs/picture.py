"""Draw docs/images/terminal.svg: what a terminal shows of real commands.   python docs/picture.py FOLDER

FOLDER holds recordings of people whom the model was never trained on, named by who speaks, so that the picture shows whether an
answer is right: the one in the repository is of 68 people who speak freely in English, in files such as man-14a.opus.
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
WIDTH = 120
"""Columns of the terminal."""
SEARCHES = ("a man with a deep, monotonous voice", "an expressive woman with a high voice")


def main(folder: Path) -> None:
    """Run the commands in an empty data folder, and draw their output."""
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    commands = [["index", f"./{folder.name}"], *(["search", caption, "-n", "4"] for caption in SEARCHES)]
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"VOXDEX_HOME": home, "COLUMNS": str(WIDTH), "PYTHONPATH": str(ROOT)}
        for command in commands:
            shown = " ".join(f'"{word}"' if " " in word else word for word in command)
            console.print(Text.assemble(("$ ", "bold green"), (f"voxdex {shown}", "bold")))
            program = [sys.executable, "-m", "voxdex", *command]
            done = subprocess.run(program, cwd=folder.parent, env=environment, capture_output=True, text=True, check=True)
            printed = (done.stderr + done.stdout).replace(home, "~/.local/share/voxdex").replace(f"{folder.parent}/", "")
            for line in [line.rstrip() for line in printed.splitlines() if line.strip()]:
                console.print(Text(line), no_wrap=True, crop=False)
            console.print()
    drawing = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="Voxdex"), flags=re.DOTALL)  # fetches no fonts
    IMAGE.write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
