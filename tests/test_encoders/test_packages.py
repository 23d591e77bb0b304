"""The command that installs an extra."""

import json
import shlex
import sys
from importlib import metadata

import pytest

from tests.conftest import ROOT
from voxdex.encoders.packages import install_command, missing_package


class Installed:
    """An installed Voxdex, as pip describes its origin."""

    def __init__(self, origin):
        self.origin = origin

    def read_text(self, name):
        return json.dumps(self.origin) if name == "direct_url.json" and self.origin else None


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        ({"url": ROOT.as_uri(), "dir_info": {"editable": True}}, ["-e", f"{ROOT}[phonetic]"]),
        ({"url": ROOT.as_uri(), "dir_info": {}}, [f"{ROOT}[phonetic]"]),
        ({"url": "file:///gone", "dir_info": {}}, ["voxdex[phonetic]"]),
        ({}, ["voxdex[phonetic]"]),
    ],
)
def test_the_command_installs_into_this_environment_from_where_voxdex_came(monkeypatch, origin, source):
    monkeypatch.setattr(metadata, "distribution", lambda _: Installed(origin))
    command = shlex.split(install_command("phonetic"))
    assert sys.executable in command and command[-len(source) :] == source


def test_the_extras_of_hints_exist():
    tables = (ROOT / "pyproject.toml").read_text()
    for extra in ("phonetic", "server", "remote", "ray", "train", "plot", "parquet", "gpu"):
        assert f"\n{extra} = [" in tables
    assert missing_package("A server", "qdrant_client", "server").startswith(
        "A server needs the package qdrant_client, which is"
    )
