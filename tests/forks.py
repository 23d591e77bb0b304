"""Commands in forks of a process that has imported the program, which start at once.

    python -P -m tests.forks SOCKET

listens at a socket for commands, each a line of JSON, and answers with the process id and then the exit status.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "cli.py"
READ_AT_START = ("PYTHON", "OMP_", "OPENBLAS_", "MKL_", "LC_", "LANG", "LD_", "TZ")
"""Prefixes of variables that Python and its libraries read at start, which a fork cannot change."""


class Forks:
    """Run commands like subprocess.run, in forks."""

    def __init__(self, environment: Mapping[str, str], imports: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forks-")
        self._place, self._fixed = f"{self._folder.name}/socket", fixed(environment)
        listening, ready = os.pipe()
        command = [sys.executable, "-P", __file__, self._place, str(ready), *imports]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, cwd=ROOT, pass_fds=[ready])
        os.close(ready)
        with os.fdopen(listening, "rb") as pipe:
            assert pipe.read(1) == b"!", "the process that forks did not start"

    def can_run(self, environment: Mapping[str, str]) -> bool:
        """Whether a fork in this environment equals a new process."""
        return fixed(environment) == self._fixed

    def run(
        self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess:
        """Run a command: its status and output."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, socket.socket(socket.AF_UNIX) as line:
            line.settimeout(timeout)
            line.connect(self._place)
            request = {"arguments": list(arguments), "cwd": str(cwd), "environment": dict(environment)}
            socket.send_fds(line, [b"!"], [out.fileno(), err.fileno()])
            line.sendall(json.dumps(request).encode() + b"\n")
            with line.makefile("r") as answers:
                process = int(answers.readline())
                try:
                    status = int(answers.readline())
                except TimeoutError:
                    os.kill(process, signal.SIGKILL)
                    raise
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode().replace("\r\n", "\n"))
        return subprocess.CompletedProcess([str(PROGRAM), *arguments], status, *texts)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()


def fixed(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


def requests(place: str, ready: int) -> Iterator[None]:
    """Yield in the fork of each command, never in this process, which ends with its parent."""
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(place)
        door.listen()
        os.write(ready, b"!")
        os.close(ready)
        door.settimeout(1.0)
        while os.getppid() == parent:
            try:
                line, _ = door.accept()
            except TimeoutError:
                continue
            line.setblocking(True)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if os.fork():
                line.close()
                continue
            door.close()
            yield from attend(line)
            os._exit(0)


def attend(line: socket.socket) -> Iterator[None]:
    """Yield in a fork, which becomes the command; in this process, report its exit status."""
    _, files, _, _ = socket.recv_fds(line, 1, 2)
    with line.makefile("r") as questions:
        request = json.loads(questions.readline())
    process = os.fork()
    if process:
        for file in files:
            os.close(file)
        line.sendall(f"{process}\n".encode())
        _, status = os.waitpid(process, 0)
        line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        return
    line.close()
    for file, target in zip(files, (1, 2), strict=True):
        os.dup2(file, target)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [str(PROGRAM), *request["arguments"]]
    yield


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    for module in ("cli", *sys.argv[3:]):
        import_module(module)
    assert len([*Path("/proc/self/task").iterdir()]) == 1, "a fork has one of its threads alone"
    for _ in requests(sys.argv[1], int(sys.argv[2])):
        import_module("voxdex.__main__").main()
