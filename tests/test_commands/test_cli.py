"""Entry points: help of every command, version, and the console script."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.conftest import ROOT
from voxdex import __version__
from voxdex.commands import main


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_and_option_has_help(process, command):
    ran = process(*command, "-h")
    assert ran.status == 0 and ran.out.startswith("Usage: cli.py")
    assert all(parameter.help for parameter in find_command(command).params if isinstance(parameter, click.Option))


def test_fork_answers_like_a_new_process(process, voxdex, indexed_recordings, tmp_path):
    for arguments in (
        ("models", "--json"), ("search", "a man"), ("search", "..."), ("-h",), ("classify", tmp_path / "gone.wav"), ("frob",),
    ):  # fmt: skip
        assert voxdex(*arguments, cwd=tmp_path) == process(*arguments, cwd=tmp_path)


def find_command(path):
    command = main
    for name in path:
        command = command.commands[name]
    return command


def test_console_script(home):
    script = Path(sys.executable).with_name("voxdex")
    if not script.exists():
        pytest.skip("voxdex is not installed in this environment")
    ran = subprocess.run([script, "models", "--json"], capture_output=True, text=True, cwd=home.parent)
    assert json.loads(ran.stdout)["models"][0]["name"] == "mini"


@pytest.mark.parametrize("program", [[ROOT / "cli.py"], ["-m", "voxdex"]])
def test_version(program):
    ran = subprocess.run([sys.executable, *program, "--version"], capture_output=True, text=True, cwd=ROOT)
    assert (ran.returncode, ran.stdout) == (0, f"voxdex, version {__version__}\n"), ran.stderr
