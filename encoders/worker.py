"""Worker processes: tasks that may crash or hang run in a process of their own."""

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

TASK_TIMEOUT_SECONDS = 60.0
"""Time after which a task without progress is killed."""
TIMED_OUT = 1
"""Exit status of a worker whose task was killed."""
MIN_WORKERS = 8
"""Least number of workers that may run at a time."""
ITEM, END, ERROR = range(3)
"""Kinds of answers: an item that the task yields, the end of the task, or the exception that it raised."""


class WorkerError(Exception):
    """A task whose worker crashed or was killed. The message is a clause for a Failure."""


class Worker:
    """A process that runs tasks one after another. It starts when it is first needed, and again after a crash.

    Terminal signals (Ctrl-C) do not reach it; it ends with the process that started it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, task: str, *arguments: object) -> Iterator[Any]:
        """Run a generator function in the process, and yield its items. Leaving the loop early ends the process.

        Args:
            task: "module:function"; the module is imported in the process only.
            arguments: arguments of the function; they, its items and its exceptions are pickled.

        Raises:
            WorkerError: the process crashed, or TASK_TIMEOUT_SECONDS passed without progress.
            Exception: any exception of the task.
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
        """Kill the process."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        root = str(Path(__file__).parents[2])
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
            "OPENBLAS_NUM_THREADS": "1",  # small matrix products; waiting threads would starve the embedding
            # keep freed memory for the next clip: page faults cost a tenth of the decoding time
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

    def _send(self, process: subprocess.Popen[bytes], request: object) -> None:
        assert process.stdin is not None
        try:
            pickle.dump(request, process.stdin)
            process.stdin.flush()
        except OSError as error:
            raise self._death(process) from error

    def _receive(self, process: subprocess.Popen[bytes]) -> tuple[int, Any]:
        assert process.stdout is not None
        try:
            return pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise self._death(process) from error

    @staticmethod
    def _death(process: subprocess.Popen[bytes]) -> WorkerError:
        status = process.wait()
        if status == TIMED_OUT:
            return WorkerError(f"its decoder was stopped after {TASK_TIMEOUT_SECONDS:.0f} s in which nothing came of it")
        return WorkerError(f"its decoder crashed on it (status {status})")


class Pool:
    """Workers shared by the threads of this process.

    Args:
        most: number of workers in use at a time; further callers wait.
        kept: number of idle workers that are kept for later tasks.
    """

    def __init__(self, most: int, kept: int) -> None:
        self._free, self._lock, self._kept = threading.BoundedSemaphore(most), threading.Lock(), kept
        self._idle: list[Worker] = []

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """Lend a worker exclusively.

        Raises:
            WorkerError: none became free within TASK_TIMEOUT_SECONDS.
        """
        if not self._free.acquire(timeout=TASK_TIMEOUT_SECONDS):
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
    """Create the pool of this process; a fork creates its own, since it must not use the pipes of its parent."""
    global _pool
    _pool = Pool(max(MIN_WORKERS, 2 * usable_cores()), usable_cores())


_make_pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_make_pool)


def idle_worker() -> AbstractContextManager[Worker]:
    """Lend a worker of this process's pool; see Pool.worker."""
    return _pool.worker()


class _Watchdog:
    """Kills this process if its task makes no progress; time that the reader of its answers takes does not count."""

    def __init__(self) -> None:
        self._devnull, self._parent = os.open(os.devnull, os.O_WRONLY), os.getppid()
        self._renewed: float | None = None

    def renew(self) -> None:
        now = time.monotonic()
        if self._renewed is not None and now - self._renewed < TASK_TIMEOUT_SECONDS / 6:
            return
        if os.getppid() != self._parent:
            os._exit(TIMED_OUT)
        faulthandler.dump_traceback_later(TASK_TIMEOUT_SECONDS, exit=True, file=self._devnull)
        self._renewed = now

    def pause(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._renewed = None


_watchdog: _Watchdog | None = None


def renew_watchdog() -> None:
    """Report progress of the task that this process runs, if any."""
    if _watchdog:
        _watchdog.renew()


def serve() -> None:
    """Run tasks (a function and its arguments) from standard input and answer on standard output, until either is closed."""
    global _watchdog
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    watchdog = _watchdog = _Watchdog()
    with suppress(EOFError, BrokenPipeError):
        while True:
            task, arguments = pickle.load(requests)
            task = resolve_name(task)  # may import slowly, before the watchdog starts
            watchdog.renew()
            for answer in _answers(task, arguments):
                watchdog.pause()
                answers.write(answer)
                answers.flush()
                watchdog.renew()
            watchdog.pause()


def _answers(task: Callable[..., Iterator[Any]], arguments: tuple[Any, ...]) -> Iterator[bytes]:
    """Yield the items of a task and its end, pickled."""
    try:
        for item in task(*arguments):
            yield pickle.dumps((ITEM, item), pickle.HIGHEST_PROTOCOL)
        yield pickle.dumps((END, None))
    except Exception as error:
        error.add_note(traceback.format_exc())
        try:
            answer = pickle.dumps((ERROR, error))
            pickle.loads(answer)
        except Exception:  # an exception that cannot be pickled
            answer = pickle.dumps((ERROR, RuntimeError(repr(error))))
        yield answer
