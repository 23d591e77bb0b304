"""The examples of every command's help run as they stand, on an index of the sample archive."""

import re
import shlex
import shutil
from collections.abc import Iterator

import click
import pytest

from tests.test_docs import desk, prepared  # noqa: F401
from voxdex.commands import main
from voxdex.indexer.store.files import copy_file

ELSEWHERE = {
    "watch": "does not end; tests/test_commands/test_watch.py",
    "serve": "does not end; tests/test_web",
    "push": "needs a server; tests/test_indexer/test_server_index.py",
    "pull": "needs a server; tests/test_indexer/test_server_index.py",
    "train": "trains for hours; tests/test_training",
    "annotate": "edits for minutes; tests/test_training/test_annotation.py",
    "export": "needs a training run; tests/test_export",
    "models": "loads from a hub; tests/test_export/test_paraspeechclap.py",
    "evaluate": "has no examples",
}
"""Commands whose examples are not run here, and where they are tested."""
INDEXES = ("oral-history", "other", "trial")
"""Names of indexes in examples."""


def examples(group: click.Group, *path: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the words of each command, and the examples of its help."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from examples(command, *path, name)
        elif (path or (name,))[0] not in ELSEWHERE:
            lines = [line.strip() for line in (command.help or "").splitlines()]
            yield " ".join((*path, name)), [line for line in lines if line.startswith("voxdex ") and "--url" not in line]


@pytest.mark.parametrize(("command", "lines"), list(examples(main)), ids=lambda value: value if isinstance(value, str) else "")
def test_examples_of_help(voxdex, desk, home, demo_archive, command, lines):  # noqa: F811
    assert lines, f"voxdex {command} --help has no example"
    text = "\n".join(lines)
    for name in INDEXES:
        if name in text and command not in ("index", "indexes rename"):
            shutil.copytree(home / "indexes" / "default", home / "indexes" / name, copy_function=copy_file)
    shutil.copytree(desk / "audio", desk / "interviews")
    (desk / "takes").mkdir()
    shutil.copy(desk / "take1.wav", desk / "takes")
    shutil.copy(next(demo_archive.glob("*.mp3")), desk / "interview.mp3")
    if any(word in text for word in ("tape.wav", "grumpy", "report")):  # the index is that of other copies of the files
        shutil.rmtree(home / "indexes" / "default")
        assert voxdex("index", "audio", cwd=desk).status == 0
    if "grumpy" in text:
        low, high = (sorted(desk.glob(f"audio/{names}*"))[:2] for names in ("[ehi]", "[abcd]"))
        rows = [f"{path},{label}" for label, paths in (("yes", low), ("no", high)) for path in paths]
        (desk / "grumpy.csv").write_text("\n".join(["path,label", *rows]))
        if command != "teach":
            assert voxdex("teach", "grumpy", "--examples", "grumpy.csv", cwd=desk).status == 0
    if command == "taught import":
        assert voxdex("taught", "export", "grumpy", "grumpy.json", cwd=desk).status == 0
    if "tts_outputs" in text:
        (desk / "tts_outputs" / "iter_1" / "audios").mkdir(parents=True)
        (desk / "tts_outputs" / "iter_1" / "input_descriptions.txt").write_text("a calm man\n")
        shutil.copy(desk / "take1.wav", desk / "tts_outputs" / "iter_1" / "audios" / "0.wav")
    if "Anna" in text and command != "speakers name":
        assert voxdex("speakers", "name", "1", "Anna", cwd=desk).status == 0
    for line in lines:
        if "@" in line:
            voices = "path~edgar,henry,anna,bella"  # men first, then women
            assert voxdex("search", "a man", "--where", voices, "--fold", 1, cwd=desk).status == 0
        words = [found for word in shlex.split(line)[1:] for found in expanded(word, desk)]
        ran = voxdex(*words, cwd=desk)
        assert ran.status == 0, f"{line}: {ran.err}"


def expanded(word: str, folder) -> list[str]:
    """Return the files of a folder that a pattern names, as a shell does."""
    is_pattern = re.fullmatch(r"[\w.]*\*[\w.]*", word) is not None
    return sorted(path.name for path in folder.glob(word)) if is_pattern else [word]
