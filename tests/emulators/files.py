"""The places whose objects are files: a local folder, and one behind an SFTP server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tasks.core.services import free_port
from tests.emulators.process import PYTHON, running, speaks_ssh

FOLDER = "photos"


class Local:
    """A folder."""

    kind = "local"

    def __init__(self, folder: Path) -> None:
        self.root = folder / FOLDER
        self.url = str(self.root)
        self.wrong_url = str(folder / "nowhere")
        self.environment: dict[str, str] = {}

    def put(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def delete(self, key: str) -> None:
        (self.root / key).unlink()

    def get(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def stored(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())

    def clear(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)


class Sftp(Local):
    """A folder behind asyncssh's server."""

    kind = "sftp"

    def __init__(self, folder: Path, port: int, environment: dict[str, str]) -> None:
        super().__init__(folder)
        host = f"sftp://photographer@127.0.0.1:{port}"
        self.url = f"{host}/{FOLDER}"
        self.wrong_url = f"{host}/nowhere"
        self.environment = environment


@contextmanager
def open_local(folder: Path) -> Iterator[Local]:
    """A folder below ``folder``."""
    place = Local(folder)
    place.clear()
    yield place


@contextmanager
def open_sftp(folder: Path) -> Iterator[Sftp]:
    """The same behind a server that one user key opens and whose own key is known."""
    port, served = free_port(), folder / "served"
    served.mkdir()
    known_hosts, host_public = folder / "known_hosts", _new_key(folder / "host_key")
    known_hosts.write_text(f"[127.0.0.1]:{port} {host_public}\n")
    authorized = folder / "authorized_keys"
    authorized.write_text(_new_key(folder / "user_key") + "\n")
    command = (PYTHON, Path(__file__).with_name("serve_sftp.py"), str(port), served, folder / "host_key", authorized)
    environment = {"DARKROOM_SFTP_KEY": str(folder / "user_key"), "DARKROOM_SFTP_KNOWN_HOSTS": str(known_hosts)}
    with running(command, lambda: speaks_ssh(port), folder / "sftp.log"):
        place = Sftp(served, port, environment)
        place.clear()
        yield place


def _new_key(path: Path) -> str:
    """Writes a private key and gives the line of its public half."""
    key = ed25519.Ed25519PrivateKey.generate()
    path.touch(0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode()
