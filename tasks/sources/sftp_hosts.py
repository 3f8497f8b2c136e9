"""Whether an SFTP server is the right one: its key against a ``known_hosts`` file, always."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from tasks.core.errors import BadInput

_RSA = {"rsa-sha2-512", "rsa-sha2-256"}
"""Ways to sign with a key of the kind ``ssh-rsa``."""


class KnownServer:
    """A policy for missing host keys that accepts a server by the keys which ``known_hosts`` has for it.

    paramiko's own reader stops at the lines of certificate authorities, knows no wildcards, and takes one key of each
    kind. So it is given none, and asks here about every server.

    Args:
        host: name or address.
        port: its port.
        file: the ``known_hosts`` file.

    Raises:
        BadInput: the file cannot be read.
    """

    def __init__(self, host: str, port: int, file: Path) -> None:
        self._host, self._port, self._file = host, port, file
        self._name = host.lower() if port == 22 else f"[{host.lower()}]:{port}"
        lines = _lines(file)
        revoked = [key for fields in lines if fields[0] == "@revoked" for key in _keys(fields[1:], self._name)]
        self._keys = [key for fields in lines for key in _keys(fields, self._name) if key not in revoked]

    def transport(self, *args: Any, **kwargs: Any) -> paramiko.Transport:
        """A transport that asks for the server's key of a kind that is known, if there is one."""
        transport = paramiko.Transport(*args, **kwargs)
        kinds = {key.get_name() for key in self._keys}
        kinds |= _RSA if "ssh-rsa" in kinds else set()
        options = transport.get_security_options()
        options.key_types = sorted(options.key_types, key=lambda kind: kind not in kinds)
        return transport

    def missing_host_key(self, _client: paramiko.SSHClient, _name: str, key: paramiko.PKey) -> None:
        """Refuses a key that is not known.

        Raises:
            BadInput: with the command that makes it known.
        """
        if key in self._keys:
            return
        scan = f"ssh-keyscan -p {self._port} {self._host} >> {self._file}"
        if self._keys:
            raise BadInput(
                f"{self._host} shows another key than the one in {self._file}: somebody may be listening in. If it was "
                f"set up anew: ssh-keygen -R '{self._name}' -f {self._file}; {scan}"
            )
        raise BadInput(
            f"{self._host} shows a key that is not in {self._file} ({key.fingerprint}). If that is the server's: "
            f"{scan} - or set DARKROOM_SFTP_KNOWN_HOSTS to the file that has it"
        )


def _lines(file: Path) -> list[list[str]]:
    """The fields of each line that has any."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput(f"DARKROOM_SFTP_KNOWN_HOSTS: {file} cannot be read: {error.strerror}") from None
    return [fields for line in text.splitlines() if (fields := line.split())]


def _keys(fields: list[str], name: str) -> list[paramiko.PKey]:
    """The key of a line if it is one of ``name``; none for comments, and for marked lines such as ``@revoked``."""
    if len(fields) < 3 or fields[0][0] in "#@" or not _is_named(name, fields[0].split(",")):
        return []
    try:
        entry = HostKeyEntry.from_line(" ".join(fields))
    except (InvalidHostKey, paramiko.SSHException):
        return []
    return [entry.key] if entry else []


def _is_named(name: str, patterns: list[str]) -> bool:
    refused = any(pattern[:1] == "!" and fnmatchcase(name, _literal(pattern[1:])) for pattern in patterns)
    return not refused and any(_matches(name, pattern) for pattern in patterns)


def _matches(name: str, pattern: str) -> bool:
    if not pattern.startswith("|1|"):
        return fnmatchcase(name, _literal(pattern.lower()))
    try:
        return bool(paramiko.HostKeys.hash_host(name, pattern) == pattern)
    except (AssertionError, IndexError, ValueError):
        return False


def _literal(pattern: str) -> str:
    """The pattern without meaning for brackets, which stand around a host that has a port."""
    return pattern.replace("[", "[[]")
