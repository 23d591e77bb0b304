#!/usr/bin/env python3
"""Voxdex: find a voice by describing it. Starts the commands, which are in commands/."""

import os
import signal
import sys


def stop(*_: object) -> None:
    """End at once where Ctrl-C is pressed while there is nothing to clean up."""
    os.write(2, b"Stopped.\n")
    os._exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, stop)

import gc
import importlib.util
from pathlib import Path

VENV = Path(__file__).resolve().parent / ".venv"
if __name__ == "__main__" and importlib.util.find_spec("qdrant_edge") is None:
    if (VENV / ".run-time").exists() and Path(sys.prefix).resolve() != VENV:
        os.execv(VENV / "bin" / "python", [VENV / "bin" / "python", *sys.argv])
    sys.exit("Voxdex is not set up for this Python. Run `make setup`, or pip install '.[cpu]' in an environment of your own.")


def main(arguments: list[str] | None = None) -> None:
    """Run a command. Ctrl-C ends it at once before it has begun and after it is done; in between, as the command says."""
    signal.signal(signal.SIGINT, stop)
    from voxdex.commands import main as run  # takes half a second

    gc.set_threshold(100_000)  # an index of many recordings is many objects, none of them garbage
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run(arguments, prog_name=Path(sys.argv[0]).name)
    finally:
        signal.signal(signal.SIGINT, stop)


if __name__ == "__main__":
    main()
