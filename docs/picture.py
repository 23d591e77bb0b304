"""Draws docs/terminal.svg: what a terminal shows of real commands on the sample archive.   python docs/picture.py

Run `make demo` first; it makes the archive and installs what is needed.
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
WIDTH = 98
COMMANDS = (
    ["index", "demo/audio"],
    ["search", "a woman whispering", "-n", "4"],
    ["search", "a man with a deep, monotonous voice", "-n", "4"],
    ["classify", "demo/audio/bella-1.flac", "--attribute", "gender", "--attribute", "speed"],
)


def main() -> None:
    """Runs the commands in an empty data folder and draws what they print."""
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"VOXDEX_HOME": home, "COLUMNS": str(WIDTH)}
        for command in COMMANDS:
            shown = " ".join(f'"{word}"' if " " in word else word for word in command)
            console.print(Text.assemble(("$ ", "bold green"), (f"./cli.py {shown}", "bold")))
            done = subprocess.run(
                [sys.executable, "cli.py", *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
            )
            for line in (done.stderr + done.stdout).replace(home, "~/.local/share/voxdex").splitlines():
                console.print(Text(line.rstrip()), no_wrap=True, crop=False)
            console.print()
    drawing = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="Voxdex"), flags=re.DOTALL)  # fetches no fonts
    Path(__file__).with_name("terminal.svg").write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main()
