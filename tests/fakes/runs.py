"""Training runs of the small network, started from the command line or in this process."""

import json
import os
import subprocess
import sys

from tests.conftest import ROOT
from voxdex.encoders.training.recipe import load_recipe
from voxdex.encoders.training.train import train

ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


def train_command(material, out, *more, manifest="labels.csv"):
    arguments = ["train", material / "tiny.toml", material / manifest, "--out", out, "--cache", material / "cache", *more]
    return [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]


def run_command(arguments, **environment):
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, env=ONE_THREAD | environment)
    assert done.returncode == 0, done.stderr
    return done


def train_small(material, out, *changes, manifest="labels.csv", root=None):
    """Train without exporting a model, which takes most of the time: the metrics, and the content of run.json."""
    recipe = load_recipe(str(material / "tiny.toml"), changes)
    result = train(recipe, [material / manifest], out, material / "cache", root=root)
    return result, json.loads((out / "run.json").read_text())
