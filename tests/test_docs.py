"""The documentation: generated pages, links, and examples that run."""

import ast
import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from docs.generate import PAGES
from tests.conftest import PATIENCE, ROOT
from voxdex.commands import main

DOCS = ROOT / "docs"
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
PYTHON = re.compile(r"```python\n(.*?)```", re.S)
SHELL = re.compile(r"(<!-- not run: [^\n]+ -->\n)?```sh\n(.*?)```", re.S)
ELSEWHERE = {"serving.md": "tests/test_web/test_client.py runs its Python beside a server"}
ENDLESS = {"serve", "watch"}
"""Commands that do not end, whose examples are not run."""
WOMEN = ("anna", "bella", "clara", "dora", "julia")
"""Speakers of the sample archive."""
PACKAGES = ("voxdex", "commands", "encoders", "export", "indexer", "search", "web")


def title(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_generated_pages_are_up_to_date(page):
    assert page.read_text(encoding="utf-8") == PAGES[page](), "run make docs"


def anchors(page: Path) -> set[str]:
    """Anchors of a page's sections, as Markdown renderers generate them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS, ids=title)
def test_links(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{title(page)} links to {target}, which is not there"
        assert not page.is_relative_to(DOCS) or there.is_relative_to(DOCS), f"{target} is not part of the site"
        if anchor:
            assert anchor in anchors(there), f"{title(page)} links to {target}, a section that is not there"


def test_navigation_contains_every_page():
    navigation = set(re.findall(r"- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert navigation == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}


def test_length_of_the_readme():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 110


@pytest.fixture(scope="session")
def prepared(once, demo_archive) -> Path:
    """The files that examples name, and in `home` an index of them with spoken text and speakers."""

    def make(folder: Path) -> None:
        (folder / "audio").mkdir()
        recordings = sorted(demo_archive.iterdir())[::2]
        for recording in recordings:
            shutil.copy(recording, folder / "audio")
        waves = sorted(demo_archive.glob("*.wav"), key=lambda path: -path.stat().st_size)
        for name, wave in zip(("reference", "take1", "take2", "take3"), waves, strict=False):
            shutil.copy(wave, folder / f"{name}.wav")
        shutil.copy(waves[0], folder / "audio" / "tape.wav")
        (folder / "styles.txt").write_text("a woman whispering\na man with a deep voice\n")
        rows = [
            {"path": f"audio/{path.name}", "speaker": path.name.split("-")[0], "recorded": "2019-05-31"} for path in recordings
        ]
        for row in rows:
            is_woman = row["speaker"] in WOMEN
            row |= {"gender": "female" if is_woman else "male", "caption": f"a {'woman' if is_woman else 'man'} speaking"}
        write_table(folder / "catalogue.csv", rows, "path", "speaker", "recorded")
        write_table(folder / "labelled.csv", rows, "path", "speaker", "gender")
        write_table(folder / "captioned.csv", rows, "path", "caption")
        write_table(
            folder / "outputs.csv", [{"path": f"take{n}.wav", "text": "counted the boats"} for n in (1, 2)], "path", "text"
        )
        (folder / "audio" / "tape.srt").write_text("1\n00:00:00,100 --> 00:00:03,000\nKids are talking by the door.\n")
        command = [sys.executable, ROOT / "cli.py", "index", "audio", "--phonetic", "--speakers"]
        environment = os.environ | {"VOXDEX_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr

    return once("examples", make)


def write_table(file: Path, rows: list[dict[str, str]], *columns: str) -> None:
    with file.open("w", newline="") as opened:
        table = csv.DictWriter(opened, columns, extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)


@pytest.fixture
def desk(prepared, home, tmp_path) -> Path:
    """A copy of the prepared files, and their index in the user's data folder."""
    shutil.copytree(prepared, tmp_path / "desk")
    (tmp_path / "desk" / "home").rename(home)
    return tmp_path / "desk"


def docstrings() -> Iterator[tuple[str, str]]:
    """(module, Python example) of the modules whose docstring has one."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).glob("*.py" if package == "voxdex" else "**/*.py")):
            for block in PYTHON.findall(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""):
                yield title(path), block


def examples() -> list[tuple[str, str]]:
    """(page or module, its Python blocks as one program)."""
    pages = [(title(page), "\n".join(PYTHON.findall(page.read_text(encoding="utf-8")))) for page in TEXTS]
    return [(name, code) for name, code in [*pages, *docstrings()] if code and Path(name).name not in ELSEWHERE]


@pytest.mark.parametrize(("name", "code"), examples(), ids=lambda value: value if value.endswith((".md", ".py")) else "")
def test_python_examples_run(desk, name, code):
    shutil.rmtree(desk / "my-index", ignore_errors=True)
    command, environment = [sys.executable, "-"], os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, input=code, capture_output=True, text=True, cwd=desk, env=environment, timeout=PATIENCE)
    assert done.returncode == 0, f"{name}: {done.stderr}"
    assert len(done.stdout.splitlines()) >= code.count("print(") > 0


def commands(text: str) -> list[list[str]]:
    """The arguments of each `voxdex` command in a block of a shell."""
    lines = [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()]
    return [words[1:] for words in lines if words and words[0] == "voxdex"]


def find_command(words: list[str]) -> click.Command:
    found: click.Command = main
    for word in words:
        if not isinstance(found, click.Group):
            break
        found = found.commands[word]
    return found


def shells() -> list[Path]:
    return [page for page in TEXTS if SHELL.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", shells(), ids=title)
def test_commands_of_examples_exist(page):
    for _, block in SHELL.findall(page.read_text(encoding="utf-8")):
        for words in commands(block):
            known = {option for parameter in find_command(words).params for option in parameter.opts}
            given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            assert given <= known, f"voxdex {shlex.join(words)}"


@pytest.mark.parametrize("page", shells(), ids=title)
def test_commands_of_examples_run(voxdex, desk, page):
    assert voxdex("index", "audio", cwd=desk).status == 0  # the copies of the prepared files are known by their content
    for left_out, block in SHELL.findall(page.read_text(encoding="utf-8")):
        for words in [] if left_out else commands(block):
            if words[0] not in ENDLESS:
                ran = voxdex(*words, cwd=desk)
                assert ran.status == 0, f"voxdex {shlex.join(words)}: {ran.err}"
