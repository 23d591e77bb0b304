#!/usr/bin/env python3
"""Voxdex: find a voice by describing it. Starts the commands, which are in commands/."""

import gc
import importlib.util
import os
import sys
from pathlib import Path

VENV = Path(__file__).resolve().parent / ".venv"
if __name__ == "__main__" and importlib.util.find_spec("qdrant_edge") is None:
    if (VENV / ".run-time").exists() and Path(sys.prefix).resolve() != VENV:
        os.execv(VENV / "bin" / "python", [VENV / "bin" / "python", *sys.argv])
    sys.exit("Voxdex is not set up for this Python. Run `make setup`, or pip install '.[cpu]' in an environment of your own.")

from commands import main

if __name__ == "__main__":
    gc.set_threshold(100_000)  # an index of many recordings is many objects, none of them garbage
    main(prog_name="cli.py")
