"""Starting, ending and looking at the stack: Prefect's server, a batch server, a receiver and a worker."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployments.batch_server.data_folder import DataFolderError
from deployments.stack.enlisting import enlist
from deployments.stack.flow_runs import Say, cancel_flow_runs, mark_dead_flow_runs
from deployments.stack.logs import last_lines
from deployments.stack.parts import PORTS, PREFECT, SERVER, WORKER, Part, Plan, known_parts, parts
from deployments.stack.ports import check_free, choose_ports
from tasks.core.errors import BadInput, LocalFault, ServiceFailed
from tasks.core.settings import Settings
from tasks.core.supervisor import READY, try_lock

DOWN = "down"


@dataclass(frozen=True)
class PartState:
    """How a part is now.

    Attributes:
        title: what it is called.
        status: its supervisor's word, or ``down``.
        url: where it answers; empty when it is down.
        pid: of its process; 0 when there is none.
        log: its log file.
    """

    title: str
    status: str
    url: str
    pid: int
    log: Path

    @property
    def is_up(self) -> bool:
        """Whether it answers as far as its supervisor knows."""
        return self.status == READY


@dataclass(frozen=True)
class Started:
    """What ``up`` has done.

    Attributes:
        plan: what the stack runs with.
        titles: the parts that were started; empty when all were up.
        enlisted: whether Prefect's server was told something new.
    """

    plan: Plan
    titles: tuple[str, ...]
    enlisted: bool


def stack_folder(settings: Settings) -> Path:
    """Where everything of the stack lies."""
    return settings.home.absolute() / "stack"


def up(settings: Settings, asked: dict[str, int | None], say: Say) -> Started:
    """Starts what is not up, and returns once all of it is healthy and Prefect knows the project.

    Args:
        settings: what the environment says.
        asked: ports by name, ``None`` for the usual ones.
        say: told what is being done.

    Raises:
        BadInput: a port is taken, or other ports are asked for than those of the stack that is up.
        ServiceFailed: a part does not start; those that were started now are ended, and the message ends with its log.
    """
    if not settings.engine_python.exists():
        raise BadInput(f"the engine's environment is missing ({settings.engine_python}): run `make setup`")
    folder = stack_folder(settings)
    with _held(folder):
        kept = {part.name for part in known_parts(folder) if part.is_kept()}
        ports = choose_ports(asked, folder, is_up=bool(kept))
        check_free(ports, [port for name, port in PORTS.items() if name not in kept])
        return _start(Plan(folder, ports, settings), kept, say)


def _start(plan: Plan, kept: set[str], say: Say) -> Started:
    try:
        everything = parts(plan)
    except DataFolderError as error:
        raise LocalFault(str(error)) from None
    missing = [part for part in everything if part.name not in kept]
    *servers, worker = everything
    with ended_on_failure(missing, say):
        for part in missing:
            if part.name in (PREFECT, SERVER):  # these take longest: side by side
                part.prestart()
        for part in servers:
            see_healthy(part, missing, say)
        enlisted = enlist(plan, say)
        if worker in missing:
            mark_dead_flow_runs(plan.ports.api_url, say)
        see_healthy(worker, missing, say)
    return Started(plan, tuple(part.title for part in missing), enlisted)


@contextmanager
def ended_on_failure(missing: list[Part], say: Say) -> Iterator[None]:
    """Ends these parts, the last one first, when the block does not get to its end, Ctrl-C included."""
    try:
        yield
    except BaseException:
        _end(missing, say)
        raise


def see_healthy(part: Part, missing: list[Part], say: Say) -> None:
    """Starts a part where it is missing, and returns when it is healthy.

    Raises:
        ServiceFailed: it does not start; the message ends with the last lines of its log.
    """
    if part in missing:
        say(f"starting {part.title}")
    try:
        with part.use():
            pass
    except ServiceFailed as error:
        raise ServiceFailed(f"{error}\n{last_lines(part.log)}") from None


def down(settings: Settings, say: Say) -> int:
    """Ends what :func:`up` has started, the worker first, each gently; flow runs under way are cancelled.

    Args:
        settings: what the environment says.
        say: told what is being done.

    Returns:
        How many parts were up.

    Raises:
        ServiceFailed: a part does not end; the others are ended all the same.
    """
    folder = stack_folder(settings)
    if not folder.is_dir():
        return 0
    with _held(folder):
        kept = [part for part in known_parts(folder) if part.is_kept()]
        _cancel_what_runs(kept, say)
        if left := _end(kept, say):
            raise ServiceFailed(f"{', '.join(part.title for part in left)} did not end: see {left[0].log}")
    return len(kept)


def _cancel_what_runs(kept: list[Part], say: Say) -> None:
    ready = {part.name: record for part in kept if (record := part.record()) and record.status == READY}
    if PREFECT in ready:
        cancel_flow_runs(f"{ready[PREFECT].url}/api", say, has_worker=WORKER in ready)


def _end(ending: list[Part], say: Say) -> list[Part]:
    """Ends parts, the last one first, and gives those that are still there."""
    left = []
    for part in reversed(ending):
        part.release()
        if part.state_dir.is_dir() and part.is_kept():
            say(f"ending {part.title}")
            if not part.end():
                left.append(part)
    return left


def status(settings: Settings) -> list[PartState]:
    """How every part is now, in the order of their start."""
    return [_state(part) for part in known_parts(stack_folder(settings))]


def _state(part: Part) -> PartState:
    record = part.record()
    if record is None or not part.is_kept():
        return PartState(part.title, DOWN, "", 0, part.log)
    return PartState(part.title, record.status, record.url, record.pid, part.log)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The stack's folder for this process alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not try_lock(handle, fcntl.LOCK_EX):
            raise BadInput("another `make up` or `make down` is at work: wait until it has ended")
        yield
    finally:
        os.close(handle)
