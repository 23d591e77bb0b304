"""The Python examples of the documentation run as they stand."""

import os
import re
import subprocess
import sys

from tests.conftest import ROOT


def test_searching_in_python(voxdex, demo_archive, tmp_path):
    assert voxdex("index", demo_archive).status == 0
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "searching.md").read_text(), re.S)
    assert len(blocks) == 4
    (tmp_path / "examples.py").write_text("\n".join(blocks))
    command, here = [sys.executable, tmp_path / "examples.py"], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=here)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10 + 3 + 1 + 1 + 1 + 1 + 1 + 1
