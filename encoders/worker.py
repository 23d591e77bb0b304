"""Tasks in a process apart: what crashes or hangs there takes only that process along."""

import faulthandler
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from voxdex.encoders.machine import usable_cores

PATIENCE_SECONDS = 60.0
"""How long a task may go without a sign of life."""
HUNG = 1
"""Exit status of a process that ran out of patience."""
LEAST_WORKERS = 8
"""That threads may use at a time, on however small a machine."""
ITEM, END, ERROR = range(3)
"""What a process answers: something that its task yields, that the task is done, or what the task raised."""


class WorkerError(Exception):
    """A task that ended without an answer, as its process crashed or was stopped. The message is a clause for the user."""


class Worker:
    """A process that runs tasks one after another. It starts when it is first needed, and again after it has died.

    Signals of the terminal (Ctrl-C) do not reach it: it ends with the process that started it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def run(self, task: str, *arguments: object) -> Iterator[Any]:
        """What a generator function yields when the process calls it. Leaving the loop early ends the process.

        Args:
            task: "module:function"; the module is imported in the process alone.
            arguments: of the function; they, what it yields and what it raises are pickled.

        Raises:
            WorkerError: the process crashed, or PATIENCE_SECONDS passed without a sign of life.
            Exception: whatever the task raises.
        """
        process = self._process = self._process or self._start()
        is_over = False
        try:
            self._send(process, (task, arguments))
            while True:
                kind, value = self._receive(process)
                is_over = kind != ITEM
                if kind == ERROR:
                    raise value
                if is_over:
                    return
                yield value
        finally:
            if not is_over:
                self.close()

    def close(self) -> None:
        """End the process, whatever it does."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()

    @staticmethod
    def _start() -> subprocess.Popen:
        root = str(Path(__file__).parents[2])
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
            "OPENBLAS_NUM_THREADS": "1",  # its products are small, and waiting threads would starve the embedding
            # glibc is to keep what a clip needed for the next one; fetched page by page it takes a tenth of the time
            "MALLOC_MMAP_THRESHOLD_": str(1 << 26),
            "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
        }
        return subprocess.Popen(
            [sys.executable, "-P", "-c", "from voxdex.encoders.worker import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            process_group=0,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    def _send(self, process: subprocess.Popen, question: object) -> None:
        try:
            pickle.dump(question, process.stdin)
            process.stdin.flush()
        except OSError as error:
            raise self._death(process) from error

    def _receive(self, process: subprocess.Popen) -> tuple[int, Any]:
        try:
            return pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise self._death(process) from error

    @staticmethod
    def _death(process: subprocess.Popen) -> WorkerError:
        status = process.wait()
        if status == HUNG:
            return WorkerError(f"its decoder was stopped after {PATIENCE_SECONDS:.0f} s in which nothing came of it")
        return WorkerError(f"its decoder crashed on it (status {status})")


class Pool:
    """The workers that the threads of this process share.

    Args:
        most: workers in use at a time; who asks for more waits.
        kept: workers that stay for the next task.
    """

    def __init__(self, most: int, kept: int) -> None:
        self._free, self._lock, self._kept = threading.BoundedSemaphore(most), threading.Lock(), kept
        self._idle: list[Worker] = []

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """A worker that nobody else uses meanwhile.

        Raises:
            WorkerError: none became free in PATIENCE_SECONDS.
        """
        if not self._free.acquire(timeout=PATIENCE_SECONDS):
            raise WorkerError("all decoders are at work on other recordings; try again")
        try:
            with self._lock:
                worker = self._idle.pop() if self._idle else Worker()
            try:
                yield worker
            finally:
                with self._lock:
                    is_kept = len(self._idle) < self._kept
                    if is_kept:
                        self._idle.append(worker)
                if not is_kept:
                    worker.close()
        finally:
            self._free.release()


_pool: Pool


def _make_pool() -> None:
    """A pool for this process; a fork of it makes its own, as pipes are their owner's alone."""
    global _pool
    _pool = Pool(max(LEAST_WORKERS, 2 * usable_cores()), usable_cores())


_make_pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_make_pool)


def idle_worker() -> AbstractContextManager[Worker]:
    """A worker of this process's pool; see Pool.worker."""
    return _pool.worker()


class _Watchdog:
    """Ends this process when nothing has come of its task for too long; waiting for a reader of its answers is no work."""

    def __init__(self) -> None:
        self._nowhere, self._parent = os.open(os.devnull, os.O_WRONLY), os.getppid()
        self._renewed: float | None = None

    def renew(self) -> None:
        now = time.monotonic()
        if self._renewed is not None and now - self._renewed < PATIENCE_SECONDS / 6:
            return
        if os.getppid() != self._parent:
            os._exit(HUNG)
        faulthandler.dump_traceback_later(PATIENCE_SECONDS, exit=True, file=self._nowhere)
        self._renewed = now

    def rest(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._renewed = None


_watchdog: _Watchdog | None = None


def show_life() -> None:
    """Renew the patience of this process, where it runs a task."""
    if _watchdog:
        _watchdog.renew()


def serve() -> None:
    """Run tasks from standard input, each a function and its arguments, answering on standard output, until nobody listens."""
    global _watchdog
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    watchdog = _watchdog = _Watchdog()
    with suppress(EOFError, BrokenPipeError):
        while True:
            task, arguments = pickle.load(questions)
            task = resolve_name(task)  # imports, which may take their time
            watchdog.renew()
            for answer in _answers(task, arguments):
                watchdog.rest()
                answers.write(answer)
                answers.flush()
                watchdog.renew()
            watchdog.rest()


def _answers(task: Callable[..., Iterator], arguments: tuple) -> Iterator[bytes]:
    """What a task yields, and how it ends, pickled."""
    try:
        for item in task(*arguments):
            yield pickle.dumps((ITEM, item), pickle.HIGHEST_PROTOCOL)
        yield pickle.dumps((END, None))
    except Exception as error:
        error.add_note(traceback.format_exc())
        try:
            answer = pickle.dumps((ERROR, error))
            pickle.loads(answer)
        except Exception:  # an exception of somebody else's that cannot be pickled
            answer = pickle.dumps((ERROR, RuntimeError(repr(error))))
        yield answer
