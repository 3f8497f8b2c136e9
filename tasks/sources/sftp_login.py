"""Logging in to an SFTP server: where it is, whether it is the right one, who the user is, and what went wrong."""

from __future__ import annotations

import getpass
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import paramiko
from paramiko.ssh_exception import IncompatiblePeer, NoValidConnectionsError
from pydantic import SecretStr

from tasks.core.errors import BadInput, ConnectionFailed, DarkroomError
from tasks.sources.sftp_hosts import KnownServer

CONNECT_SECONDS = 20.0
LOGIN_SECONDS = 30.0
KEEPALIVE_SECONDS = 30
STANDARD_PORT = 22
_KINDS = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)

if logging.getLogger("paramiko").level == logging.NOTSET:
    # What it logs, with tracebacks, it raises as well.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Login:
    """Where to log in, as whom, and with what.

    Attributes:
        host: as the user wrote it; ``~/.ssh/config`` may know it under another name.
        port: ``None``: as ``~/.ssh/config`` has it, else 22.
        user: ``None``: as ``~/.ssh/config`` has it, else the user of this machine.
        password: of the user, or the passphrase of the key.
        key: file of a private key.
        known_hosts: file of the keys by which servers are known.
        identities: further files of private keys, as ``~/.ssh/config`` has them.
    """

    host: str
    port: int | None
    user: str | None
    password: SecretStr | None
    key: Path | None
    known_hosts: Path
    identities: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Host and port, as messages show them."""
        return self.host if self.port in (None, STANDARD_PORT) else f"{self.host}:{self.port}"

    @property
    def secret(self) -> str | None:
        """The password in the clear."""
        return self.password.get_secret_value() if self.password else None


def connect(login: Login) -> paramiko.SSHClient:
    """A connection to a server that is known, with the user logged in.

    Raises:
        BadInput: the host, its key, the user or the credentials are wrong.
        ConnectionFailed: the server cannot be reached just now.
    """
    login = _configured(login)
    port = login.port or STANDARD_PORT
    server = KnownServer(login.host, port, login.known_hosts)
    key = _load_key(login.key, login.secret) if login.key else None
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(server)
    try:
        client.connect(
            login.host,
            port,
            login.user,
            login.secret,
            key,
            list(login.identities),
            timeout=CONNECT_SECONDS,
            # More keys than were asked for may be more tries than the server allows.
            allow_agent=not (login.key or login.password),
            look_for_keys=not (login.key or login.password),
            banner_timeout=CONNECT_SECONDS,
            auth_timeout=LOGIN_SECONDS,
            channel_timeout=LOGIN_SECONDS,
            transport_factory=server.transport,
        )
        client.get_transport().set_keepalive(KEEPALIVE_SECONDS)
    except BadInput:
        client.close()
        raise
    except Exception as error:
        client.close()
        raise _failure(error, login) from error
    return client


def _configured(login: Login) -> Login:
    """The log-in with what ``~/.ssh/config`` adds, and a user in any case."""
    file = Path.home() / ".ssh/config"
    found = _look_up(file, login.host) if file.is_file() else {}
    for detour in ("proxyjump", "proxycommand"):
        if (found.get(detour) or "none").lower() != "none":
            target = f"{found['hostname']}:{found.get('port', STANDARD_PORT)}"
            raise BadInput(
                f"{file} has a {detour} for {login.host}, which is not supported: open a tunnel with "
                f"ssh -N -L 2222:{target} JUMPHOST and write sftp://USER@127.0.0.1:2222/FOLDER"
            )
    return replace(
        login,
        host=found.get("hostname", login.host),
        port=login.port or int(found.get("port", STANDARD_PORT)),
        user=login.user or found.get("user") or _local_user(),
        identities=() if login.key else tuple(name for name in found.get("identityfile", ()) if Path(name).is_file()),
    )


def _look_up(file: Path, host: str) -> dict[str, Any]:
    try:
        return dict(paramiko.SSHConfig.from_path(str(file)).lookup(host))
    except Exception as error:  # noqa: BLE001 - it is read by a parser with errors of every kind
        raise BadInput(f"{file} cannot be used to find {host}: {error}") from None


def _local_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise BadInput("this machine's user has no name: write sftp://USER@HOST/FOLDER") from None


def _load_key(file: Path, passphrase: str | None) -> paramiko.PKey:
    for kind in _KINDS:
        try:
            return kind.from_private_key_file(str(file), passphrase)
        except paramiko.PasswordRequiredException:
            raise BadInput(f"the private key {file} is locked: set DARKROOM_SFTP_PASSWORD to its passphrase") from None
        except OSError as error:
            raise BadInput(f"DARKROOM_SFTP_KEY: {file} cannot be read: {error.strerror}") from None
        except (paramiko.SSHException, ValueError):
            continue
    remedy = "; or DARKROOM_SFTP_PASSWORD is not its passphrase" if passphrase else ""
    raise BadInput(f"DARKROOM_SFTP_KEY: {file} holds no private key in the format of OpenSSH or PEM{remedy}")


def _failure(error: Exception, login: Login) -> DarkroomError:
    """Our error for what was raised while connecting."""
    if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
        return BadInput(f"there is no host {login.host}: check the name in the sftp:// URL")
    if isinstance(error, IncompatiblePeer):
        return BadInput(f"{login.place} offers only encryption that is not safe any more: {error}")
    if isinstance(error, paramiko.AuthenticationException) or "No authentication methods" in str(error):
        return _refusal(error, login)
    if isinstance(error, OSError) and error.filename:
        return BadInput(f"the private key {error.filename} cannot be read: {error.strerror}")
    for kind, explain in _EXPLANATIONS:
        if isinstance(error, kind):
            return ConnectionFailed(explain(login))
    return ConnectionFailed(f"the connection to {login.place} failed: {str(error) or type(error).__name__}")


_EXPLANATIONS: tuple[tuple[type[Exception], Callable[[Login], str]], ...] = (
    (socket.gaierror, lambda login: f"the name {login.host} cannot be looked up just now"),
    (TimeoutError, lambda login: f"{login.place} does not answer: check host and port, and firewalls in between"),
    (NoValidConnectionsError, lambda login: f"{login.place} takes no connections: check host and port"),
    (EOFError, lambda login: f"{login.place} ended the connection before the log-in"),
)


def _refusal(error: Exception, login: Login) -> DarkroomError:
    """Our error for a log-in that came to nothing."""
    if isinstance(error, paramiko.PasswordRequiredException):
        return BadInput(
            f"the private key for {login.place} is locked: set DARKROOM_SFTP_KEY to its file and "
            "DARKROOM_SFTP_PASSWORD to its passphrase, or add it to the SSH agent"
        )
    if "timeout" in str(error):
        return ConnectionFailed(f"{login.place} did not answer while {login.user} was logging in")
    tried = [("the key in DARKROOM_SFTP_KEY", login.key), ("the password in DARKROOM_SFTP_PASSWORD", login.password)]
    what = " or ".join(text for text, given in tried if given)
    allowed = ", ".join(getattr(error, "allowed_types", ()))
    return BadInput(
        f"{login.place} does not let {login.user} in with {what or 'any key of the SSH agent or ~/.ssh'}"
        f"{f' (it takes {allowed})' if allowed else ''}: check the user in the URL, "
        "DARKROOM_SFTP_KEY and DARKROOM_SFTP_PASSWORD"
    )
