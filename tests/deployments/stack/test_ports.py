from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.stack.__main__ import main
from deployments.stack.ports import Ports, check_free, choose_ports, holder_of
from tasks.core.errors import BadInput
from tests.commands import ROOT


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """What the command changes for its process."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_usual_ports_are_taken_where_nothing_is_asked_for(tmp_path: Path) -> None:
    assert choose_ports({"prefect": None, "server": None, "receiver": None}, tmp_path, is_up=False) == Ports()


def test_stack_that_is_up_keeps_its_ports(tmp_path: Path) -> None:
    chosen = choose_ports({"prefect": 4300}, tmp_path, is_up=False)
    assert choose_ports({"prefect": None}, tmp_path, is_up=True) == chosen
    with pytest.raises(BadInput, match=r"the stack is up with PREFECT_PORT=4300: `make down` first"):
        choose_ports({"prefect": 4301}, tmp_path, is_up=True)


def test_stack_that_is_down_forgets_its_ports(tmp_path: Path) -> None:
    choose_ports({"prefect": 4300}, tmp_path, is_up=False)
    assert choose_ports({}, tmp_path, is_up=False) == Ports()


def test_two_servers_cannot_share_a_port(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot share a port"):
        choose_ports({"prefect": 9001}, tmp_path, is_up=False)


def test_ports_of_a_stack_that_is_up_have_to_be_known(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"ports\.json is missing or damaged: `make down`"):
        choose_ports({}, tmp_path, is_up=True)


def test_who_has_taken_a_port_is_told_without_arguments(taken: int) -> None:
    command = Path("/proc/self/comm").read_text().strip()
    assert holder_of(taken) == f"process {os.getpid()} ({command})"
    with pytest.raises(BadInput) as refused:
        check_free(Ports(server=taken), ["server"])
    assert str(refused.value) == (
        f"port {taken} is taken by process {os.getpid()} ({command}): end that, "
        "or choose another port with SERVER_PORT=…"
    )


def test_free_port_is_held_by_nobody_that_is_known(taken: int) -> None:
    check_free(Ports(prefect=taken), ["server"])


def test_nothing_is_started_where_a_port_is_taken(
    taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path))
    assert main(["up", "--receiver-port", str(taken)]) == 2
    assert f"port {taken} is taken by process {os.getpid()}" in capsys.readouterr().err
    assert list(tmp_path.rglob("service.json")) == []


@pytest.mark.parametrize("wrong", ["0", "65536", "http", "-1"])
def test_port_that_is_none_is_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["up", f"--prefect-port={wrong}"])
    assert "give a number from 1 to 65535" in capsys.readouterr().err


def test_make_hands_over_the_ports_that_are_named() -> None:
    command = ["make", "-n", "--no-print-directory", "up", "RECEIVER_PORT=9102"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    given = asked.stdout.replace("\\\n", " ").strip().splitlines()[-1].split()
    assert given[-5:] == ["-m", "deployments.stack", "up", "--receiver-port", "9102"]
