"""The ports of the stack: which they are, and who has taken one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tasks.core.errors import BadInput
from tasks.core.files import write_text
from tasks.core.supervisor import port_is_free

FILE = "ports.json"
_LISTENING = "0A"


@dataclass(frozen=True)
class Ports:
    """Where the servers of the stack listen, on loopback."""

    prefect: int = 4200
    server: int = 9001
    receiver: int = 9002

    @property
    def prefect_url(self) -> str:
        """Address of Prefect's UI."""
        return f"http://127.0.0.1:{self.prefect}"

    @property
    def api_url(self) -> str:
        """Address of Prefect's API."""
        return f"{self.prefect_url}/api"

    @property
    def server_url(self) -> str:
        """Address of the batch server."""
        return f"http://127.0.0.1:{self.server}"

    @property
    def receiver_url(self) -> str:
        """Address of the receiver of notifications."""
        return f"http://127.0.0.1:{self.receiver}"


VARIABLES = {field.name: f"{field.name.upper()}_PORT" for field in fields(Ports)}
"""How a port is named to ``make up``."""


def port(text: str) -> int:
    """A port from the command line."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 1 to 65535")
    return int(text)


def choose_ports(asked: dict[str, int | None], folder: Path, *, is_up: bool) -> Ports:
    """The ports to use: those of a stack that is up, else those asked for, else the usual ones.

    Args:
        asked: by name; ``None`` where nothing was asked for.
        folder: the stack's folder, which remembers the ports.
        is_up: whether anything of the stack is up: it was told the others' ports when it started.

    Raises:
        BadInput: other ports than those in use are asked for, or one for two servers.
    """
    wanted = {name: number for name, number in asked.items() if number is not None}
    if not is_up:
        ports = Ports(**wanted)
        if len(set(asdict(ports).values())) < len(VARIABLES):
            raise BadInput(f"two servers cannot share a port: choose others with {', '.join(VARIABLES.values())}")
        write_text(folder / FILE, json.dumps(asdict(ports)))
        return ports
    ports = _remembered(folder)
    for name, number in wanted.items():
        if number != getattr(ports, name):
            raise BadInput(f"the stack is up with {VARIABLES[name]}={getattr(ports, name)}: `make down` first")
    return ports


def _remembered(folder: Path) -> Ports:
    try:
        return Ports(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise BadInput(f"{folder / FILE} is missing or damaged: `make down`, then `make up`") from None


def check_free(ports: Ports, names: Iterable[str]) -> None:
    """Sees that nobody listens on these ports.

    Raises:
        BadInput: somebody does; the message says who, and how to choose another port.
    """
    taken = [name for name in names if not port_is_free(getattr(ports, name))]
    if taken:
        raise BadInput("; ".join(_taken(getattr(ports, name), VARIABLES[name]) for name in taken))


def _taken(number: int, variable: str) -> str:
    return f"port {number} is taken by {holder_of(number)}: end that, or choose another port with {variable}=…"


def holder_of(number: int) -> str:
    """Who listens on a port, as far as this user may know: the number and name of a process, never its arguments."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(number)}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(handle.readlink()) in sockets for handle in (process / "fd").iterdir()):
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    return "a process of another user or container"


def _inodes(number: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTENING and int(words[1].rpartition(":")[2], 16) == number:
                    yield words[9]
