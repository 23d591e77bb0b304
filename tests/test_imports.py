"""Imports: no torch at run time, one direction between packages, and the names that `voxdex` itself exports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import voxdex

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "torchaudio", "transformers", "onnx", "onnxscript")
BENEATH = {
    "encoders": set(),
    "export": {"encoders"},
    "indexer": {"encoders"},
    "search": {"encoders", "indexer"},
    "web": {"encoders", "indexer", "search"},
    "commands": {"encoders", "export", "indexer", "search", "web"},
}
"""Packages that each package may import."""


def run(code: str, *arguments: str) -> str:
    """Output of a Python program that runs in the source tree."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["voxdex", "cli", *(f"voxdex.{room}" for room in BENEATH if room != "export")])
def test_run_time_packages_do_not_import_torch(module):
    assert run(f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_decoder_imports():
    modules = "voxdex.encoders.worker, voxdex.indexer.pipeline.decoder_worker, voxdex.search.clip_audio"
    imported = set(run(f"import sys, {modules}; print(*sys.modules)").split())
    assert {"av", "numpy"} < imported
    assert not {"onnxruntime", "tokenizers", "qdrant_edge", "click", "rich"} & imported


def test_public_names():
    tree = ast.parse((ROOT / "voxdex" / "__init__.py").read_text())
    [declared] = [node.body for node in tree.body if isinstance(node, ast.If)]
    checked = {alias.name: f"voxdex.{module}" for node in declared for alias, module in names_of(node)}
    assert checked == {name: f"voxdex.{module}" for name, module in voxdex.NAMES.items()}
    assert set(voxdex.__all__) == {*checked, "__version__"}
    assert all(getattr(voxdex, name) is not None for name in voxdex.__all__)
    assert (ROOT / "voxdex" / "py.typed").exists()
    with pytest.raises(AttributeError, match="no attribute 'find'"):
        voxdex.find  # noqa: B018


def names_of(node: ast.stmt) -> list[tuple[ast.alias, str]]:
    """(name, module below voxdex) of a from-import."""
    assert isinstance(node, ast.ImportFrom) and node.module
    return [(alias, node.module.removeprefix("voxdex.")) for alias in node.names]


@pytest.mark.usefixtures("home")
def test_index_and_search_without_torch(demo_archive):
    code = f"import sys\nsys.modules.update(dict.fromkeys({HEAVY}))\nfrom cli import main\nmain(sys.argv[1:])"
    run(code, "index", str(demo_archive / "anna-1.wav"))
    assert "anna-1.wav" in run(code, "search", "a woman", "--json")


def modules():
    for room in BENEATH:
        yield from [(room, path) for path in (ROOT / room).rglob("*.py")]


def imports(tree: ast.AST) -> set[str]:
    """Full names of the modules that a module imports, at any depth."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"voxdex.{alias.name}" for alias in node.names} if node.module == "voxdex" else {str(node.module)}
    return found


@pytest.mark.parametrize(("room", "path"), list(modules()), ids=lambda value: str(getattr(value, "name", value)))
def test_import_direction_of_packages(room, path):
    imported = imports(ast.parse(path.read_text()))
    tops = {name.split(".")[0] for name in imported}
    assert not tops & {*BENEATH, "cli", "tests", "demo", "benchmarks"}, "packages are imported as voxdex.NAME"
    assert {name.split(".")[1] for name in imported if name.startswith("voxdex.")} <= BENEATH[room] | {room, "__version__"}
    if room == "encoders" and not {"networks", "training"} & set(path.parts):
        assert not tops & set(HEAVY)
