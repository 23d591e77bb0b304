#!/usr/bin/env python3
"""Voxdex from a checkout: the program `voxdex`, in the environment that `make setup` makes."""

import importlib.util
import os
import sys
from pathlib import Path

VENV = Path(__file__).resolve().parent / ".venv"
if __name__ == "__main__" and importlib.util.find_spec("qdrant_edge") is None:
    if (VENV / ".run-time").exists() and Path(sys.prefix).resolve() != VENV:
        os.execv(VENV / "bin" / "python", [VENV / "bin" / "python", *sys.argv])
    sys.exit("Voxdex is not set up for this Python. Run `make setup`, or pip install '.[cpu]' in an environment of your own.")

from voxdex.__main__ import main

if __name__ == "__main__":
    main()
