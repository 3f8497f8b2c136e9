from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tasks.core import services
from tasks.core.errors import ServiceFailed, Terminal
from tasks.core.services import ManagedService
from tasks.core.supervisor import READY, RESTARTING, Limits, Record, is_healthy, last_meaningful_line
from tests.waiting import is_alive, wait_for

SERVER = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

USER = """
import sys
from pathlib import Path
from tests.tasks.core.test_services import make_service

with make_service(Path(sys.argv[1])).use() as url:
    print(url, flush=True)
    sys.stdin.read()
"""

ROOT = Path(__file__).parents[3]


def serve(port: int) -> list[str]:
    return [sys.executable, "-S", "-c", SERVER, str(port)]


def make_service(folder: Path, command: Callable[[int], Sequence[str]] = serve, **options) -> ManagedService:
    limits = Limits(**{"linger": 0.0, "start_timeout": 20.0, "max_deaths": 3} | options)
    return ManagedService("demo", command, env=os.environ, state_dir=folder, health_path="/health", limits=limits)


def pid_at(url: str) -> int:
    with urllib.request.urlopen(f"{url}/pid", timeout=5) as answer:
        return int(answer.read())


def record_of(service: ManagedService) -> Record:
    record = service.record()
    assert record is not None
    return record


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ManagedService]:
    managed = make_service(tmp_path)
    yield managed
    managed.release()
    assert managed.stop()


@contextmanager
def user_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Callable[[], str]]]:
    """A process that uses the service until its standard input ends, and what gives the URL it has got."""
    with subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, lambda: process.stdout.readline().strip()  # type: ignore[union-attr]
        finally:
            process.kill()


def test_service_answers_while_used_and_is_gone_afterwards(service: ManagedService) -> None:
    with service.use() as url:
        pid = pid_at(url)
        assert record_of(service).pid == pid
    assert service.wait_until_gone()
    assert not is_alive(pid)
    assert record_of(service).status == "stopped"


def test_second_user_gets_the_same_service_and_keeps_it_up(service: ManagedService) -> None:
    with ExitStack() as second:
        with service.use() as url:
            other = make_service(service.state_dir)
            assert second.enter_context(other.use()) == url
            pid = pid_at(url)
        assert not service.wait_until_gone(timeout=0.5)
        assert pid_at(url) == pid
    assert service.wait_until_gone()


def test_prestart_returns_before_the_service_is_up(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.02)\n"
    slow = make_service(tmp_path, lambda port: [sys.executable, "-S", "-c", waits + SERVER, str(port)])
    slow.prestart()
    assert record_of(slow).status != READY
    gate.touch()
    with slow.use() as url:
        assert pid_at(url)
    assert slow.stop()


def test_released_prestart_ends_the_service(service: ManagedService) -> None:
    service.prestart()
    wait_for(lambda: record_of(service).status == READY, "the service")
    service.release()
    assert service.wait_until_gone()


def test_two_processes_starting_at_once_share_one_service(tmp_path: Path) -> None:
    with user_process(tmp_path) as (_, first), user_process(tmp_path) as (_, second):
        assert first() == second() != ""
    assert make_service(tmp_path).wait_until_gone()


def test_many_threads_starting_at_once_share_one_service(service: ManagedService) -> None:
    urls: list[str] = []
    all_in = threading.Barrier(8)

    def use() -> None:
        with make_service(service.state_dir).use() as url:
            urls.append(url)
            all_in.wait(timeout=20)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(urls) == 8
    assert len(set(urls)) == 1


def test_killed_user_frees_the_service(tmp_path: Path) -> None:
    with user_process(tmp_path) as (process, url):
        pid = pid_at(url())
        process.kill()
        process.wait(timeout=10)
        wait_for(lambda: not is_alive(pid), "the service's end")
    assert make_service(tmp_path).wait_until_gone()


def test_killed_service_comes_back_on_its_port(service: ManagedService) -> None:
    with service.use() as url:
        pid = pid_at(url)
        os.kill(pid, signal.SIGKILL)
        port = record_of(service).port
        wait_for(lambda: record_of(service).pid not in (0, pid), "a new process")
        wait_for(lambda: is_healthy(port, "/health"), "the service")
        assert pid_at(url) != pid
    assert "ended with signal 9; starting it again on port" in service.log.read_text()


def test_user_coming_during_a_restart_waits_for_it(service: ManagedService) -> None:
    with service.use() as url:
        os.kill(pid_at(url), signal.SIGKILL)
        wait_for(lambda: record_of(service).status == RESTARTING, "the restart")
        with make_service(service.state_dir).use() as again:
            assert again == url
            assert pid_at(again)


def test_service_that_keeps_dying_is_given_up(service: ManagedService) -> None:
    with service.use() as url:
        killed = {pid_at(url)}
        os.kill(min(killed), signal.SIGKILL)
        while record_of(service).status != "failed":
            pid = wait_for(lambda: record_of(service).status == "failed" or record_of(service).pid, "a restart")
            if pid not in killed and pid is not True:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
    assert "giving up" in service.log.read_text()
    assert "died 4 times within 60 s" in record_of(service).reason


def test_killed_supervisor_takes_the_service_along_and_the_next_use_starts_afresh(
    service: ManagedService,
) -> None:
    with service.use() as url:
        pid = pid_at(url)
        os.kill(record_of(service).supervisor, signal.SIGKILL)
        wait_for(lambda: not is_alive(pid), "the service's end")
        with make_service(service.state_dir).use() as new:
            assert pid_at(new) != pid


def test_service_ignores_an_interrupt_of_its_users_terminal(tmp_path: Path) -> None:
    with user_process(tmp_path) as (_, url):
        assert url()
        record = record_of(make_service(tmp_path))
        assert os.getsid(record.pid) != os.getsid(0)
        assert os.getsid(record.supervisor) != os.getsid(0)
    assert make_service(tmp_path).wait_until_gone()


def test_stop_ends_a_service_in_use(service: ManagedService) -> None:
    with service.use() as url:
        pid = pid_at(url)
        assert service.stop()
        assert not is_alive(pid)


def test_stubborn_service_is_killed_with_its_children(tmp_path: Path) -> None:
    stubborn = """
import signal, subprocess, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
print("child", child.pid, flush=True)
"""
    service = make_service(
        tmp_path,
        lambda port: [sys.executable, "-S", "-c", stubborn + SERVER, str(port)],
        stop_seconds=(0.2, 0.2, 5.0),
    )
    with service.use() as url:
        pid = pid_at(url)
        child = int(service.log.read_text().partition("child ")[2].split()[0])
        assert is_alive(child)
    assert service.wait_until_gone()
    assert not is_alive(pid)
    wait_for(lambda: not is_alive(child), "the child's end")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise RuntimeError('no database')", "ended with status 1: RuntimeError: no database"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with signal 9"),
    ],
)
def test_failing_command_is_one_clear_line(tmp_path: Path, script: str, reason: str) -> None:
    service = make_service(tmp_path, lambda _: [sys.executable, "-S", "-c", script])
    with pytest.raises(ServiceFailed) as failure, service.use():
        pass
    assert isinstance(failure.value, Terminal)
    assert str(failure.value) == f"demo does not start: {reason} (log: {service.log})"


def test_missing_command_is_one_clear_line(tmp_path: Path) -> None:
    service = make_service(tmp_path, lambda _: ["no-such-program"])
    with (
        pytest.raises(ServiceFailed, match=r"demo does not start: .*no-such-program") as failure,
        service.use(),
    ):
        pass
    assert "\n" not in str(failure.value)


def test_service_that_never_gets_healthy_is_reported_and_ended(tmp_path: Path) -> None:
    mute = "import os, signal\nprint('pid', os.getpid(), flush=True)\nsignal.pause()"
    service = make_service(tmp_path, lambda _: [sys.executable, "-S", "-c", mute], start_timeout=0.5)
    with pytest.raises(ServiceFailed, match=r"not healthy within 0\.5 s"), service.use():
        pass
    pid = int(service.log.read_text().split()[1])
    wait_for(lambda: not is_alive(pid), "the process's end")


def test_failed_service_is_tried_again_by_the_next_user(tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed), make_service(tmp_path, lambda _: [sys.executable, "-c", "1/0"]).use():
        pass
    service = make_service(tmp_path)
    with service.use() as url:
        assert pid_at(url)
    assert service.stop()


def test_port_taken_in_between_is_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = services.free_port()
        ports = iter([taken.getsockname()[1], free])
        monkeypatch.setattr(services, "free_port", lambda: next(ports))
        service = make_service(tmp_path)
        with service.use() as url:
            assert url.endswith(f":{free}")
    assert service.stop()


def test_big_log_is_set_aside_at_a_start(service: ManagedService) -> None:
    service.log.write_bytes(b"x" * 5_000_001)
    with service.use():
        assert service.log.read_bytes() == b""
    assert service.log.with_name("demo.log.1").stat().st_size == 5_000_001


def test_environment_is_the_one_given_and_not_written_down(tmp_path: Path) -> None:
    code = "import os; print('secret length', len(os.environ['SECRET']), 'HOME' in os.environ, flush=True)\n"
    service = ManagedService(
        "demo",
        lambda port: [sys.executable, "-S", "-c", code + SERVER, str(port)],
        env={"SECRET": "hush-hush"},
        state_dir=tmp_path,
        health_path="/",
        limits=Limits(linger=0.0),
    )
    with service.use():
        assert "secret length 9 False" in service.log.read_text()
    assert service.stop()
    assert all(b"hush" not in file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("one\n\x1b[31mtwo\x1b[0m\n\n", "two"),
        ("KeyError: 'x'\nINFO shutting down\n", "KeyError: 'x'"),
        ("last words\n2026-01-01 supervisor: error in something\n", "last words"),
    ],
)
def test_last_meaningful_line_prefers_trouble(tmp_path: Path, text: str, line: str) -> None:
    log = tmp_path / "log"
    log.write_text("old error\n" + text)
    assert last_meaningful_line(log, len("old error\n")) == line
