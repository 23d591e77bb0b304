"""Tasks in a worker process: a crash or a hang ends that process only."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.fakes.sounds import voice, write_sound
from voxdex.encoders import worker
from voxdex.encoders.audio.container import AudioError, PassingAudioError
from voxdex.encoders.audio.reader import AudioReader
from voxdex.encoders.worker import Pool, Worker, WorkerError, renew_watchdog

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="another operating system: signals to kill with")


def count(to: int) -> Iterator[int]:
    yield from range(to)


def count_for_ever() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def process_id() -> Iterator[int]:
    yield os.getpid()


def refuse() -> Iterator[None]:
    raise AudioError("it is a test")
    yield


def raise_what_cannot_be_pickled() -> Iterator[None]:
    class Odd(Exception):
        pass

    raise Odd("here")
    yield


def crash(number: int) -> Iterator[int]:
    yield 1
    os.kill(os.getpid(), number)
    time.sleep(60)


def hang() -> Iterator[str]:
    yield "alive"
    worker.TASK_TIMEOUT_SECONDS = 0.1
    time.sleep(0.1)
    renew_watchdog()
    time.sleep(3600)


@pytest.fixture
def one() -> Iterator[Worker]:
    one = Worker()
    yield one
    one.close()


def run(one: Worker, task: str, *arguments: object) -> list:
    return list(one.run(f"tests.test_encoders.test_worker:{task}", *arguments))


def test_tasks_run_one_after_another_in_the_same_process(one):
    assert run(one, "count", 3) == [0, 1, 2] and run(one, "count", 0) == []
    assert run(one, "process_id") == run(one, "process_id") != [os.getpid()]


def test_exceptions_of_tasks_are_raised_and_the_process_stays(one):
    [before] = run(one, "process_id")
    with pytest.raises(AudioError, match="it is a test"):
        run(one, "refuse")
    with pytest.raises(RuntimeError, match=r"Odd.*here"):
        run(one, "raise_what_cannot_be_pickled")
    assert run(one, "process_id") == [before]


def test_leaving_a_loop_early_ends_the_process(one):
    [before] = run(one, "process_id")
    for number in one.run("tests.test_encoders.test_worker:count_for_ever"):
        if number == 3:
            break
    assert run(one, "process_id") != [before]


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_next_task_runs_after_a_crash(one, number):
    with pytest.raises(WorkerError, match=f"crashed on it .status -{int(number)}"):
        run(one, "crash", number)
    assert run(one, "count", 1) == [0]


def test_watchdog_ends_a_silent_task(one):
    with pytest.raises(WorkerError, match="stopped after 60 s in which nothing came of it"):
        run(one, "hang")
    assert run(one, "count", 1) == [0]


@needs_signals
def test_ctrl_c_does_not_reach_a_worker(one):
    [process] = run(one, "process_id")
    assert os.getpgid(process) != os.getpgid(0)


def test_pool_lends_a_worker_to_one_thread_at_a_time():
    pool, inside, most = Pool(most=2, kept=1), [], []
    gate = threading.Barrier(2)

    def use() -> None:
        with pool.worker() as mine:
            inside.append(mine)
            most.append(len(inside))
            gate.wait(60)
            assert list(mine.run("tests.test_encoders.test_worker:count", 2)) == [0, 1]
            inside.remove(mine)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 2
    with pool.worker() as first, pool.worker() as second:
        assert first is not second
        first.close()
        second.close()


@needs_signals
def test_reader_after_a_killed_decoder(one, tmp_path, monkeypatch):
    monkeypatch.setattr("voxdex.encoders.audio.reader.idle_worker", lambda: nullcontext(one))
    path = write_sound(tmp_path / "a.wav", voice(60.0))
    reader = iter(AudioReader(path))
    next(reader)
    one._process.kill()
    with pytest.raises(PassingAudioError, match="crashed on it"):
        list(reader)
    assert sum(map(len, AudioReader(path))) == 60 * 16_000


def test_modules_in_the_working_folder_are_not_imported(one, tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise RuntimeError('not the real one')")
    monkeypatch.chdir(tmp_path)
    path = write_sound(Path("a.wav"), voice(2.0))
    assert len(list(one.run("voxdex.encoders.audio.reader:_decode", path, 60.0))) > 1
