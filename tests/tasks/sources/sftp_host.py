"""SFTP servers for tests, each with a folder, a key of its own and a user's key, and the fixtures that give them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tasks.core.services import free_port
from tasks.sources.sftp import SftpSource, open_sftp
from tests.emulators.process import PYTHON, running, speaks_ssh

__all__ = ["clean", "host", "own_host", "shared"]

SERVER = Path(__file__).with_name("serve_sftp.py")


def first(source: SftpSource) -> object:
    """What the source lists first; it has to log in for that."""
    return next(iter(source.list()), None)


def new_key(path: Path, passphrase: str = "") -> str:
    """Writes a private key and gives the line of its public half."""
    key = ed25519.Ed25519PrivateKey.generate()
    locked = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, locked))
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode()


@dataclass
class Host:
    """A server's folder and keys; ``serve`` runs it."""

    folder: Path
    port: int
    host_public: str
    process: int = 0

    @property
    def root(self) -> Path:
        return self.folder / "served"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def url(self, path: str, user: str = "ann@") -> str:
        return f"sftp://{user}127.0.0.1:{self.port}{path}"

    def fill(self, *keys: str) -> None:
        for key in keys:
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(key.encode())

    def keys(self, path: str) -> list[str]:
        return [item.key for item in open_sftp(self.url(path)).list()]

    @contextmanager
    def serve(self, passwords: dict[str, str] | None = None, sessions: int = 99, sftp: bool = True) -> Iterator[None]:
        settings = {
            "port": self.port,
            "host_key": str(self.folder / "host_key"),
            "authorized": str(self.folder / "authorized_keys"),
            "folder": str(self.root) if sftp else "",
            "passwords": passwords or {},
            "sessions": sessions,
        }
        command = (PYTHON, SERVER, json.dumps(settings))
        with running(command, lambda: speaks_ssh(self.port), self.folder / "log") as self.process:
            yield


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DARKROOM_SFTP_PASSWORD", "DARKROOM_SFTP_KEY", "DARKROOM_SFTP_KNOWN_HOSTS", "SSH_AUTH_SOCK"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def make_host(folder: Path) -> Host:
    (folder / "served").mkdir(parents=True)
    host = Host(folder, free_port(), new_key(folder / "host_key"))
    host.known_hosts.write_text(f"[127.0.0.1]:{host.port} {host.host_public}\n")
    (folder / "authorized_keys").write_text(new_key(folder / "user_key") + "\n")
    return host


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = make_host(tmp_path_factory.mktemp("sftp") / "host")
    with host.serve({"ann": "geheim", "ann@acme": "geheim"}):
        yield host


def use_key(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_SFTP_KEY", str(host.folder / "user_key"))
    monkeypatch.setenv("DARKROOM_SFTP_KNOWN_HOSTS", str(host.known_hosts))


@pytest.fixture
def host(shared: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The shared server with an empty folder, and a user who may log in."""
    use_key(shared, monkeypatch)
    shared.root.rename(tmp_path / "before")
    shared.root.mkdir()
    return shared


@pytest.fixture
def own_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A server that the test starts and stops itself."""
    host = make_host(tmp_path / "own")
    use_key(host, monkeypatch)
    return host
