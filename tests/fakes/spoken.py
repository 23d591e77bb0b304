"""Fixtures: sentences spoken by synthetic voices, and the model for spoken text."""

import shutil
from pathlib import Path

import pytest

from demo.make_archive import SENTENCES, write
from voxdex.indexer.store.files import copy_file

HARBOUR = SENTENCES[2]


@pytest.fixture(scope="session")
def phonetic_model():
    pytest.importorskip("phonemizer", reason="phonemizer comes with the phonetic extra")
    from voxdex.encoders.phonetic.model import open_phonetic_model

    return open_phonetic_model(device="cpu")


@pytest.fixture(scope="session")
def spoken_archive(once) -> Path:
    """Four sentences by three voices of espeak-ng, with a table of their transcripts."""
    pytest.importorskip("phonemizer", reason="phonemizer comes with the phonetic extra")
    from voxdex.encoders.phonetic.g2p import Espeak, Voice

    def make(folder: Path) -> None:
        espeak, rows = Espeak(), ["path,transcript"]
        for voice in ("en-us+f2", "en-us+m3", "en+m1"):
            for number, sentence in enumerate(SENTENCES):
                name = f"{voice.replace('+', '-')}-{number}.wav"
                write(folder / name, espeak.say(sentence, Voice(voice, voice, 150)), espeak.sample_rate)
                rows.append(f'{name},"{sentence}"')
        (folder / "said.csv").write_text("\n".join(rows) + "\n")

    return once("spoken", make)


@pytest.fixture(scope="session")
def spoken_home(spoken_archive, once, tmp_path_factory) -> Path:
    """VOXDEX_HOME with that archive indexed with phonetic embeddings: a copy, as one process at a time may open an index."""
    from click.testing import CliRunner

    from voxdex.commands import main

    def make(folder: Path) -> None:
        done = CliRunner().invoke(main, ["index", str(spoken_archive), "--phonetic"], env={"VOXDEX_HOME": str(folder)})
        assert done.exit_code == 0, done.output

    return shutil.copytree(once("spoken-home", make), tmp_path_factory.mktemp("spoken") / "home", copy_function=copy_file)


@pytest.fixture
def spoken_index(spoken_home, monkeypatch) -> None:
    """Commands use the index of `spoken_home`."""
    monkeypatch.setenv("VOXDEX_HOME", str(spoken_home))
