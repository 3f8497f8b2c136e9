import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path

import pytest

from deployments.batch_server.engine.interface import Chunk, EngineFailure
from deployments.batch_server.engine.pool import EnginePool

from .conftest import (
    ENGINE_PYTHON,
    ROOT,
    ends_within,
    engine_processes,
    jpeg,
    misbehaving,
    read_lines,
    workflow,
)

pytestmark = pytest.mark.engine

SERVER = """
import sys
from pathlib import Path
from threading import Semaphore
from deployments.batch_server.engine.interface import Chunk, ImageSlice
from deployments.batch_server.engine.pool import EnginePool
from tests.deployments.batch_server.engine.conftest import jpeg, misbehaving
python, folder, moment = sys.argv[1:]
pool = EnginePool(Path(python), 2, Path(folder, "engine.log"))
pool.start()
busy = Semaphore(0)
for name in ("one", "two") if moment == "working" else ():
    output_dir, images = Path(folder, name), []
    output_dir.mkdir()
    for width in (50, 17):
        path = output_dir / f"{width}.jpg"
        path.write_bytes(jpeg(width))
        images.append(ImageSlice(path.name, path, 0, path.stat().st_size))
    chunk = Chunk(name, tuple(images), misbehaving(), {}, None, False, None, output_dir)
    pool.submit(chunk, lambda done: busy.release())
for _ in range(2 if moment == "working" else 0):
    busy.acquire()
print("up", flush=True)
sys.stdin.read()
"""
"""A server that is importing the engine, or has two workers hanging on an image."""


def names_in(chunk: Chunk, file: str) -> list[str]:
    return [line["image"] for line in read_lines(chunk.output_dir / file)]


def test_progress_counts_images_up_to_all_of_them(pool, make_chunk):
    seen: list[int] = []
    chunk = make_chunk([(f"{n}.jpg", jpeg()) for n in range(5)] + [("bad", b"x")], workflow("minimal"))
    result = pool.submit(chunk, seen.append).result(60)
    assert seen == [0, 1, 2, 3, 4, 5, 6]
    assert (result.chunk_id, result.processed, result.failed) == (chunk.chunk_id, 5, 1)
    assert result.seconds > 0
    assert result.crashes == ()


def test_a_chunk_without_images_is_done_at_once(pool, make_chunk):
    result = pool.submit(make_chunk([], workflow("minimal")), lambda done: None).result(60)
    assert (result.processed, result.failed) == (0, 0)


def test_a_killed_worker_costs_a_retry_and_no_image(pool, make_chunk):
    # So large that a worker is killed long before it is through.
    images = [(f"{n}.jpg", jpeg(1600, 1200)) for n in range(14)]
    chunk = make_chunk(images, workflow("photo-audit"))
    due = [2, 6]
    killed: set[int] = set()

    def kill_at_some(done):
        # What a worker said before it was killed may still be on its way, and no other is there yet.
        alive = set(engine_processes()[1]) - killed
        if due and done >= due[0] and alive:
            due.pop(0)
            killed.add(worker := alive.pop())
            os.kill(worker, signal.SIGKILL)

    result = pool.submit(chunk, kill_at_some).result(60)
    assert (result.processed, result.failed) == (len(images), 0)
    assert names_in(chunk, "results.jsonl") == [name for name, _ in images]
    assert len(result.crashes) == 2
    for crash in result.crashes:
        assert re.fullmatch(r"a worker died \(killed by SIGKILL\) on image '\d+\.jpg' and was replaced", crash)


def test_a_worker_killed_while_idle_is_replaced(pool, make_chunk):
    pool.submit(make_chunk([("a", jpeg())], workflow("minimal")), lambda done: None).result(60)
    os.kill(engine_processes()[1][0], signal.SIGKILL)
    result = pool.submit(make_chunk([("a", jpeg())], workflow("minimal")), lambda done: None).result(60)
    assert result.processed == 1


def test_a_poisoned_image_costs_that_image_alone(pool, make_chunk):
    widths = [50, 13, 51, 13, 13, 52, 13]
    chunk = make_chunk([(f"{n}-{width}", jpeg(width)) for n, width in enumerate(widths)], misbehaving())
    seen: list[int] = []
    result = pool.submit(chunk, seen.append).result(60)
    assert (result.processed, result.failed) == (3, 4)
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7]
    assert names_in(chunk, "results.jsonl") == ["0-50", "2-51", "5-52"]
    assert names_in(chunk, "failures.jsonl") == ["1-13", "3-13", "4-13", "6-13"]
    reasons = {line["reason"] for line in read_lines(chunk.output_dir / "failures.jsonl")}
    assert reasons == {"the worker died on this image (killed by SIGKILL)"}


def test_the_engines_process_is_started_again_when_it_is_killed(pool, make_chunk):
    chunk = make_chunk([(f"{n}.jpg", jpeg()) for n in range(10)], workflow("photo-audit"))

    def kill_parent(done):
        if done == 4:
            os.kill(engine_processes()[0], signal.SIGKILL)

    result = pool.submit(chunk, kill_parent).result(60)
    assert (result.processed, result.failed) == (10, 0)
    assert len(names_in(chunk, "results.jsonl")) == 10


def test_an_answer_of_the_engines_process_that_comes_late_is_not_taken_for_another(pool, make_chunk, monkeypatch):
    monkeypatch.setattr("deployments.batch_server.engine.process.CONTROL_TIMEOUT", 1.0)
    pool.submit(make_chunk([("a", jpeg())], workflow("minimal")), lambda done: None).result(60)
    parent, (worker,) = engine_processes()
    os.kill(parent, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)

    def go_on():
        with suppress(ProcessLookupError):  # by then it is to be gone
            os.kill(parent, signal.SIGCONT)

    late = threading.Timer(1.5, go_on)  # one question went unanswered
    late.start()
    result = pool.submit(make_chunk([("a", jpeg())], workflow("minimal")), lambda done: None).result(60)
    late.join()
    assert result.processed == 1


def test_an_error_in_the_callback_ends_its_chunk_only(pool, make_chunk):
    def fail(done):
        if done == 2:
            raise LookupError("no such task")

    images = [(f"{n}.jpg", jpeg()) for n in range(3)]
    with pytest.raises(LookupError):
        pool.submit(make_chunk(images, workflow("minimal")), fail).result(60)
    result = pool.submit(make_chunk(images, workflow("minimal")), lambda done: None).result(60)
    assert result.processed == 3


def test_a_cancelled_chunk_is_not_run(pool, make_chunk):
    running = pool.submit(
        make_chunk([(f"{n}.jpg", jpeg(900, 900)) for n in range(4)], workflow("photo-audit")),
        lambda done: None,
    )
    waiting_chunk = make_chunk([("a", jpeg())], workflow("minimal"))
    waiting = pool.submit(waiting_chunk, lambda done: None)
    assert waiting.cancel()
    assert running.result(60).processed == 4
    with pytest.raises(CancelledError):
        waiting.result(0)
    pool.submit(make_chunk([("a", jpeg())], workflow("minimal")), lambda done: None).result(60)
    assert list(waiting_chunk.output_dir.iterdir()) == []


def test_a_hung_image_fails_and_stopping_takes_less_than_two_seconds(tmp_path, make_chunk):
    pool = EnginePool(ENGINE_PYTHON, 2, tmp_path / "engine.log", image_timeout=3)
    pool.start()
    chunk = make_chunk([("a", jpeg()), ("hangs", jpeg(17)), ("b", jpeg())], misbehaving())
    result = pool.submit(chunk, lambda done: None).result(60)
    assert (result.processed, result.failed) == (2, 1)
    assert read_lines(chunk.output_dir / "failures.jsonl") == [{"image": "hangs", "reason": "took longer than 3 s"}]
    assert result.crashes == ("a worker took longer than 3 s on image 'hangs' and was replaced",)

    unfinished = [pool.submit(make_chunk([("hangs", jpeg(17))], misbehaving()), lambda done: None) for _ in range(4)]
    parent, workers = engine_processes()
    begin = time.monotonic()
    pool.stop()
    assert time.monotonic() - begin < 2
    for future in unfinished:
        with pytest.raises(EngineFailure, match="the engine was stopped"):
            future.result(1)
    with pytest.raises(EngineFailure, match="the engine was stopped"):
        pool.submit(chunk, lambda done: None).result(1)
    assert all(ends_within(pid, 1) for pid in (parent, *workers))
    pool.stop()


def test_chunks_of_a_pool_that_never_started_are_refused_when_it_stops(tmp_path, make_chunk):
    pool = EnginePool(ENGINE_PYTHON, 2, tmp_path / "engine.log")
    future = pool.submit(make_chunk([("a", jpeg())], workflow("minimal")), lambda done: None)
    pool.stop()
    with pytest.raises(EngineFailure, match="the engine was stopped"):
        future.result(1)


@pytest.mark.parametrize("moment", ["importing", "working"])
def test_nothing_outlives_a_killed_server(tmp_path, moment):
    command = [sys.executable, "-c", SERVER, ENGINE_PYTHON, tmp_path, moment]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline() == b"up\n"
        parent, workers = engine_processes(server.pid)
        assert len(workers) == (2 if moment == "working" else 0)
        server.kill()
        assert all(ends_within(pid, 3) for pid in (parent, *workers))


@pytest.mark.parametrize(
    ("python", "message"),
    [
        (Path("/nonexistent/bin/python"), "No such file or directory"),
        (Path(sys.executable), "No module named"),
        (Path("/bin/false"), "its process ended"),
    ],
)
def test_an_engine_that_does_not_start_says_why_in_one_line(tmp_path, make_chunk, python, message):
    pool = EnginePool(python, 1, tmp_path / "engine.log")
    pool.start()
    with pytest.raises(EngineFailure) as failure:
        pool.submit(make_chunk([("a", jpeg())], workflow("minimal")), lambda done: None).result(60)
    pool.stop()
    assert message in str(failure.value)
    assert str(python) in str(failure.value)
    assert "\n" not in str(failure.value)


def test_the_servers_key_and_the_engines_noise_stay_apart(tmp_path, make_chunk, monkeypatch, capfd):
    monkeypatch.setenv("ROBOFLOW_API_KEY", "rf-secret-key")
    pool = EnginePool(ENGINE_PYTHON, 1, tmp_path / "engine.log")
    pool.start()
    chunk = make_chunk([("a.jpg", jpeg()), ("b", jpeg(23))], misbehaving())
    pool.submit(chunk, lambda done: None).result(60)
    environment = Path(f"/proc/{engine_processes()[0]}/environ").read_bytes()
    pool.stop()
    assert b"rf-secret-key" not in environment
    assert "luck" in (tmp_path / "engine.log").read_text()
    assert capfd.readouterr() == ("", "")
