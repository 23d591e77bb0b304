"""Fixtures of all tests: commands, the model, archives, and judgement of skipped tests in CI."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner
from filelock import FileLock

from demo.make_archive import main as make_archive
from tests.fakes.sounds import voice, write_sound
from tests.forks import Forks
from voxdex.commands import main
from voxdex.encoders.model import Model, open_model
from voxdex.encoders.model_card import SHIPPED, SPEECH, TEXT
from voxdex.encoders.paths import file_sha256
from voxdex.indexer.index import index
from voxdex.indexer.metadata import read_metadata
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.store.edge import EdgeStore

pytest_plugins = ("tests.fakes.qdrant.fixtures", "tests.fakes.spoken")

ROOT = Path(__file__).parent.parent
PATIENCE = 600.0
"""Timeout in seconds: a hundred times the duration of any step on an idle machine."""

IMPORTED = ("commands", "voxdex.encoders.worker", "qdrant_edge", "voxdex.search.evaluation", "voxdex.indexer.index")
"""Modules that commands import lazily. None of them starts a thread, unlike ONNX Runtime."""

MEMORY, LEAST_FREE = Path("/dev/shm"), 8 << 30
"""File system in memory on Linux, and its minimum of free bytes."""

Found = TypeVar("Found")


MAY_BE_SKIPPED = ("no GPU", "QDRANT_URL", "another operating system", "nginx comes from Debian")
"""Parts of reasons for which a test may be skipped in CI; any other reason is a failure."""


def pytest_configure() -> None:
    """Keep temporary files in memory where there is room, since indexes synchronise often."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and min(shutil.disk_usage(MEMORY).free, available_memory()) > LEAST_FREE:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def available_memory() -> int:
    """Available memory in bytes, as Linux estimates it."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Reason why a test or a file of tests was skipped."""
    told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return told.removeprefix("Skipped: ")


def judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    """In CI, fail tests that are skipped for a reason not in MAY_BE_SKIPPED."""
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = reason_of(report)
        if not any(part in reason for part in MAY_BE_SKIPPED):
            report.outcome, report.longrepr = "failed", f"{report.nodeid} is skipped in CI: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    judge(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    judge(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the skipped tests by reason."""
    skipped: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        skipped.setdefault(reason_of(report), []).append(report.nodeid)
    if skipped:
        terminalreporter.section("skipped")
    for reason, tests in sorted(skipped.items()):
        terminalreporter.line(f"{len(tests)}: {reason}")
        for test in sorted(tests):
            terminalreporter.line(f"    {test}")


def until(look: Callable[[], Found]) -> Found:
    """Call `look` until it returns something true, and return that."""
    given_up = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < given_up, "what was waited for never came"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Ran:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A data folder of the user for this test, instead of the real one."""
    monkeypatch.setenv("VOXDEX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def environment() -> dict[str, str]:
    """Environment variables of commands."""
    return os.environ | {"COLUMNS": "120", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def process(home):
    """Run a command in a new process."""

    def run(*arguments: object, cwd: Path = ROOT) -> Ran:
        command = [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=PATIENCE, env=environment())
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks | None]:
    """A process that has imported the program, for forks of it; None where forking is not safe."""
    if sys.platform != "linux":
        yield None
        return
    forks = Forks(environment(), IMPORTED)
    yield forks
    forks.close()


@pytest.fixture
def voxdex(process, forks):
    """Run a command in a fork of a process that has already imported the program, which saves a second."""

    def run(*arguments: object, cwd: Path = ROOT) -> Ran:
        if not (forks and forks.can_run(environment())):
            return process(*arguments, cwd=cwd)
        done = forks.run(list(map(str, arguments)), cwd, environment(), PATIENCE)
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def here(home):
    """Run a command in this process, which saves its imports."""

    def run(*arguments: object) -> Ran:
        done = CliRunner().invoke(main, list(map(str, arguments)))
        return Ran(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def mini() -> Model:
    return open_model("mini", device="cpu")


@pytest.fixture
def store(tmp_path, mini) -> Iterator[EdgeStore]:
    """A new index of mini's space."""
    with EdgeStore.create(tmp_path / "index", mini.card.space, "mini", mini.card.dimension) as store:
        yield store


@pytest.fixture
def other_model(tmp_path) -> Path:
    """The model mini under another name: the same embeddings in another space."""
    folder = tmp_path / "other"
    shutil.copytree(SHIPPED / "mini", folder)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"name": "other", "version": "7"}))
    assert file_sha256(folder / "speech.onnx") == card["sha256"]["speech.onnx"]
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id) -> Callable[[str, Callable[[Path], object]], Path]:
    """once(name, make): a folder filled by make(folder), once for all test processes."""
    place = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        place = place.parent

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, whole = place / name, place / f"{name}.whole"
        with FileLock(place / f"{name}.lock"):
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                whole.touch()
        return folder

    return made


@pytest.fixture
def four_recordings(tmp_path) -> Path:
    """A folder with 0.wav to 3.wav, of one clip each: two low and two high voices."""
    folder = tmp_path / "audio"
    folder.mkdir()
    for i, f0 in enumerate((95, 110, 220, 240)):
        write_sound(folder / f"{i}.wav", voice(1.5, f0, seed=i))
    return folder


@pytest.fixture
def takes(tmp_path) -> list[Path]:
    """A low voice, a high one, and one in between."""
    return [write_sound(tmp_path / f"{name}.wav", voice(2.0, hz)) for name, hz in (("low", 90), ("high", 260), ("middle", 160))]


@pytest.fixture(scope="session")
def demo_archive(once) -> Path:
    """The sample archive: female, male and whispered espeak-ng voices in five formats."""
    return once("archive", make_archive)


@pytest.fixture(scope="session")
def library(mini, demo_archive, tmp_path_factory):
    """VOXDEX_HOME with the sample archive indexed."""
    home = tmp_path_factory.mktemp("library")
    rows = [
        f"{path},{path.name.split('-')[0]},2019-0{1 + number % 9}-01"
        for number, path in enumerate(sorted(demo_archive.iterdir()))
    ]
    (home / "people.csv").write_text("\n".join(["path,speaker,recorded", *rows]))
    folder = home / "indexes" / "default"
    with EdgeStore.create(folder, mini.card.space, "mini", mini.card.dimension) as store:
        assert not index(find_recordings([demo_archive]), store, mini, read_metadata(home / "people.csv")).failed
    return home


@pytest.fixture(scope="session")
def material(once) -> Path:
    """The training material of tests.fakes.tiny."""
    from tests.fakes.tiny import make_material

    return once("material", make_material)


@pytest.fixture
def traced_once(once, monkeypatch) -> Callable[[Any, dict[str, Any]], None]:
    """Export traces each network once for all tests, since that takes half a minute.

    traced_once(network, graphs) registers graphs that were traced elsewhere.
    """
    import onnx

    from voxdex.export import model_folder

    trace = model_folder.trace_graphs

    def kept(network: Any, half: bool, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        digest = hashlib.sha256(f"{network} {half}".encode())
        for name, value in sorted(network.state_dict().items()):
            digest.update(name.encode() + value.numpy().tobytes())

        def write(folder: Path) -> None:
            for name, graph in make().items():
                onnx.save(graph, str(folder / name))

        folder = once(f"traced-{digest.hexdigest()[:16]}", write)
        return {path.name: onnx.load(str(path)) for path in sorted(folder.iterdir(), key=lambda path: path.name != SPEECH)}

    def traced(network: Any, *, half: bool = False) -> dict[str, Any]:
        return kept(network, half, lambda: trace(network, half=half))

    monkeypatch.setattr(model_folder, "trace_graphs", traced)
    return lambda network, graphs: kept(network, False, lambda: graphs) and None


@pytest.fixture(scope="session")
def small_run(material, once) -> tuple[dict[str, Any], Path]:
    """A finished training run of the small network: the output of `train --json`, and the folder."""
    from tests.fakes.runs import run_command, train_command

    def make(folder: Path) -> None:
        (folder / "output.json").write_text(run_command(train_command(material, folder / "run", "--json")).stdout)

    folder = once("run", make)
    return json.loads((folder / "output.json").read_text()), folder / "run"


@pytest.fixture
def traced_small_run(small_run, traced_once) -> Path:
    """The folder of `small_run`, whose graphs are not traced again when it is exported in this process."""
    import onnx

    from voxdex.encoders.training.initial import load_trained

    model = small_run[1] / "model"
    traced_once(load_trained(str(small_run[1])).network, {name: onnx.load(str(model / name)) for name in (SPEECH, TEXT)})
    return small_run[1]
