"""The house rules that imports can break: no torch at run time, and arrows that run one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "torchaudio", "transformers", "onnx", "onnxscript")
BENEATH = {
    "encoders": set(),
    "export": {"encoders"},
    "indexer": {"encoders"},
    "search": {"encoders", "indexer"},
    "web": {"encoders", "indexer", "search"},
    "commands": {"encoders", "export", "indexer", "search", "web"},
    "cli": {"commands"},
}


@pytest.mark.parametrize("room", ["encoders", "indexer", "search", "web", "commands", "cli"])
def test_run_time_rooms_do_not_import_torch(room):
    code = f"import sys, {room}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_decoder_starts_without_what_it_does_not_need():
    code = "import sys, encoders.worker, indexer.decoder_process, search.cutting; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert {"av", "numpy"} < set(done.stdout.split()), done.stderr
    assert not {"onnxruntime", "tokenizers", "qdrant_edge", "click", "rich"} & set(done.stdout.split())


@pytest.mark.parametrize("package", ["encoders", "indexer", "search"])
def test_every_name_of_a_package_is_there(package):
    code = f"import {package}; print([name for name in {package}.__all__ if getattr({package}, name) is None])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_indexing_and_searching_work_where_torch_cannot_be_imported(demo_archive, home):
    code = f"import sys\nsys.modules.update(dict.fromkeys({HEAVY}))\nfrom cli import main\nmain(sys.argv[1:])"
    for command in (["index", str(demo_archive / "anna-1.wav")], ["search", "a woman", "--json"]):
        done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
    assert "anna-1.wav" in done.stdout


def modules():
    for room in BENEATH:
        yield from [(room, path) for path in [*(ROOT / room).rglob("*.py"), *ROOT.glob(f"{room}.py")]]


@pytest.mark.parametrize(("room", "path"), list(modules()), ids=lambda value: str(getattr(value, "name", value)))
def test_dependencies_run_one_way(room, path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "exports":
            imported |= {key.value.split(".")[0] for key in node.args[1].keys}
    assert imported & set(BENEATH) <= BENEATH[room] | {room}
    if room == "encoders" and not {"networks", "training"} & set(path.parts):
        assert not imported & set(HEAVY)
