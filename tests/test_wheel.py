"""Built distributions: their contents, and the program installed from a wheel with its declared requirements only."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from tests.conftest import PATIENCE, ROOT
from tests.fakes.sounds import voice, write_sound

ROOMS = ("commands", "encoders", "export", "indexer", "search", "web")
"""The folders at the top that are packages of voxdex."""


def checkout(folder: Path, *, links: bool) -> Path:
    """A copy of the source tree. Without links: files that name the target, as Git writes where links are not supported."""
    ignore = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "runs", "demo", "tests", "docs", "__pycache__")
    shutil.copytree(ROOT, folder, symlinks=True, ignore=ignore)
    for link in [path for path in (folder / "voxdex").iterdir() if path.is_symlink() and not links]:
        target = str(link.readlink())
        link.unlink()
        link.write_text(target)
    return folder


def build(kind: str, source: Path, out: Path) -> Path:
    """Build the wheel or sdist of a source tree, as `python -m build --no-isolation` does."""
    code = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
    out.mkdir(exist_ok=True)
    built = subprocess.run([sys.executable, "-c", code, f"build_{kind}", out], cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return out / built.stdout.splitlines()[-1]


def expected() -> set[str]:
    """Files of the tree that a wheel must hold, by their names in it."""
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    top = [ROOT / "voxdex" / name for name in ("__init__.py", "__main__.py", "py.typed")]
    return {f"voxdex/{path.relative_to(ROOT)}" for path in files} | {f"voxdex/{path.name}" for path in top}


def held(wheel: Path) -> list[str]:
    """Names of the files in a wheel, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return sorted(name for name in archive.namelist() if ".dist-info/" not in name)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return build("wheel", checkout(folder / "source", links=True), folder / "dist")


def test_wheel_contains_every_file_once(wheel):
    assert held(wheel) == sorted(expected())
    with zipfile.ZipFile(wheel) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"voxdex", "voxdex-0.1.0.dist-info"}


def test_wheel_from_an_sdist_without_links(wheel, tmp_path):
    sdist = build("sdist", checkout(tmp_path / "source", links=False), tmp_path / "dist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    again = build("wheel", tmp_path / "unpacked" / sdist.name.removesuffix(".tar.gz"), tmp_path / "dist")
    assert held(again) == held(wheel)


def requirements(name: str, extra: str = "", seen: set[str] | None = None) -> set[str]:
    """Names of a distribution and of its requirements, recursively, from the metadata in this environment."""
    seen = set() if seen is None else seen
    key = f"{name}[{extra}]".lower()
    if key in seen:
        return set()
    seen.add(key)
    found = {name}
    for line in distribution(name).requires or []:
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate({"extra": extra}):
            for each in needed.extras | {""}:
                found |= requirements(needed.name, each, seen)
    return found


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel and its requirements only: its folder of programs.

    The requirements are links to the files of this environment, so that nothing is fetched; pip checks that none is missing.
    """
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    find = [programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(find, capture_output=True, text=True, check=True).stdout.strip())
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = re.findall(r"^Requires-Dist: (.*)$", archive.read(metadata).decode(), re.M)
    needed = [Requirement(line) for line in lines]
    named = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": "cpu"})]
    for name in set().union(*(requirements(each.name, extra) for each in named for extra in each.extras | {""})):
        installed = distribution(name)
        for top in {Path(str(file)).parts[0] for file in installed.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(installed.locate_file(top))))
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-index", f"{wheel}[cpu]"], check=True)
    subprocess.run([*pip, "check"], check=True)
    return programs


@pytest.fixture
def run(environment, tmp_path):
    """Run a program of the environment outside the source tree."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}

    def run(program: str, *arguments: object) -> str:
        command = [environment / program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=variables, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@contextmanager
def served(environment: Path, folder: Path) -> Iterator[str]:
    """The address of `voxdex serve` over an index."""
    command = [environment / "voxdex", "serve", "--index", folder, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder.parent) as process:
        try:
            yield next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_index_search_and_serve_from_a_wheel(run, environment, tmp_path):
    archive, index = tmp_path / "audio", tmp_path / "index"
    archive.mkdir()
    write_sound(archive / "low.wav", voice(3.0, 100))
    write_sound(archive / "high.flac", voice(3.0, 220), codec="flac")
    assert json.loads(run("voxdex", "index", archive, "--index", index, "--json"))["clips"] == 2
    hits = json.loads(run("voxdex", "search", "a deep voice", "--index", index, "--json"))["hits"]
    assert Path(hits[0]["recording"]).name == "low.wav"
    site = Path(run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    assert all(Path(model["folder"]).is_relative_to(site) for model in json.loads(run("voxdex", "models", "--json"))["models"])
    with served(environment, index) as address:
        answer = httpx.get(f"{address}api/search", params={"captions": "a deep voice"}, timeout=PATIENCE).json()
        assert answer["hits"][0]["recording"] == hits[0]["recording"]
        assert "<title>" in httpx.get(address, timeout=PATIENCE).raise_for_status().text
        assert httpx.get(f"{address}static/voxdex.css", timeout=PATIENCE).status_code == 200


def test_installed_package_and_version(run):
    for program in (["voxdex"], ["python", "-m", "voxdex"]):
        assert run(*program, "--version").strip().endswith("voxdex, version 0.1.0")
    assert run("python", "-c", "import voxdex; print(voxdex.__version__)").strip() == "0.1.0"
    code = "import importlib.util as found; print([name for name in {} if found.find_spec(name)])"
    assert run("python", "-c", code.format((*ROOMS, "cli"))).strip() == "[]"
