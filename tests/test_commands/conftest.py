"""Fixtures of the tests of commands."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.fakes.sounds import voice, write_sound
from voxdex.commands import main


def make_audio(folder: Path) -> Path:
    folder.mkdir()
    write_sound(folder / "low.wav", voice(3.0, 100))
    write_sound(folder / "high.flac", voice(3.0, 220), codec="flac")
    return folder


@pytest.fixture
def two_recordings(tmp_path) -> Path:
    """A folder with low.wav and high.flac, of one clip each."""
    return make_audio(tmp_path / "audio")


@pytest.fixture(scope="session")
def indexed_home(tmp_path_factory) -> Path:
    """VOXDEX_HOME with an index, and beside it the folder of its two recordings."""
    home = tmp_path_factory.mktemp("indexed") / "home"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("VOXDEX_HOME", str(home))
        done = CliRunner().invoke(main, ["index", str(make_audio(home.parent / "audio"))])
        assert done.exit_code == 0, done.output
    return home


@pytest.fixture
def indexed_recordings(indexed_home, monkeypatch) -> Path:
    """The folder of two recordings in the default index. For reading only."""
    monkeypatch.setenv("VOXDEX_HOME", str(indexed_home))
    return indexed_home.parent / "audio"
