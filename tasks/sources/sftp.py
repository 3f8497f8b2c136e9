"""A folder behind an SFTP server: ``sftp://[USER@]HOST[:PORT]/FOLDER``, or a pattern in place of the folder."""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.core.errors import BadInput
from tasks.sources.base import MediaObject, SourceChanged
from tasks.sources.patterns import Selection, parse_selection

if TYPE_CHECKING:
    from tasks.sources.sftp_protocol import Entry, Facts
    from tasks.sources.sftp_sessions import Sessions

READ_BYTES = 256 * 1024
_SCHEME = "sftp://"
_AUTHORITY = re.compile(
    r"(?:(?P<user>.*)@)?(?:\[(?P<v6>[0-9a-fA-F:.%]+)\]|(?P<host>[^:@\[\]]+))(?::(?P<port>\d{1,5}))?"
)


class SftpSettings(BaseSettings):
    """What the environment says about ``sftp://`` sources."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    password: SecretStr | None = Field(
        default=None,
        validation_alias="DARKROOM_SFTP_PASSWORD",
        description="Password for `sftp://` sources, or the passphrase of the private key.",
    )
    key: Path | None = Field(
        default=None,
        validation_alias="DARKROOM_SFTP_KEY",
        description="File of the private key for `sftp://` sources. Without it and without a password, the SSH agent "
        "and the keys in `~/.ssh` are tried.",
    )
    known_hosts: Path = Field(
        default=Path("~/.ssh/known_hosts"),
        validation_alias="DARKROOM_SFTP_KNOWN_HOSTS",
        description="File of the keys by which SFTP servers are known. A server that is not in it is refused.",
    )


def open_sftp(url: str) -> SftpSource:
    """The source at ``url``; the server is not asked before something is listed or opened.

    The path is plain text, as in ``s3://`` URLs: ``%20`` is no space. In the user's name ``%40`` is an ``@``.

    Raises:
        BadInput: the URL cannot be understood or holds a password, or the SFTP library is not installed.
    """
    authority, slash, path = url[len(_SCHEME) :].partition("/")
    parts = _AUTHORITY.fullmatch(authority)
    if ":" in (parts["user"] or "" if parts else authority.rpartition("@")[0]):
        raise BadInput("a password in an sftp:// URL would be stored and shown: set DARKROOM_SFTP_PASSWORD instead")
    if not parts or not slash or int(parts["port"] or 22) not in range(1, 65536):
        raise BadInput("this is no place on an SFTP server: write sftp://USER@HOST:PORT/FOLDER")
    if path == "~" or path.startswith("~/"):
        raise BadInput("an sftp:// URL holds the whole path of the folder: write it out in place of ~")
    try:
        from tasks.sources.sftp_login import Login
        from tasks.sources.sftp_sessions import Sessions
    except ModuleNotFoundError as error:
        if error.name != "paramiko":
            raise
        raise BadInput("sftp:// needs one more library: pip install 'darkroom[sftp]'") from None
    settings = SftpSettings()
    login = Login(
        host=parts["v6"] or parts["host"],
        port=int(parts["port"]) if parts["port"] else None,
        user=unquote(parts["user"]) if parts["user"] else None,
        password=settings.password,
        key=settings.key.expanduser() if settings.key else None,
        known_hosts=settings.known_hosts.expanduser(),
    )
    return SftpSource(Sessions(login), _SCHEME + authority, parse_selection("/" + path))


@dataclass(frozen=True)
class _Folder:
    """A folder on the way down: what the keys of its files begin with, and its real path below those above it."""

    key: str
    real: tuple[str, ...]


class SftpSource:
    """The files on an SFTP server that a path or pattern selects; links are followed, and one that leads back up ends.

    Args:
        sessions: with the server.
        server: scheme, user and host, as the user wrote them.
        selection: of whole paths; keys are relative to its root.
    """

    is_local = False

    def __init__(self, sessions: Sessions, server: str, selection: Selection) -> None:
        self.url = server + selection.text
        self.by_extension = selection.by_extension
        self._server = server
        self._sessions = sessions
        self._selection = selection

    def check(self) -> None:
        """Logs in, and looks whether the folder is there."""
        self._root()

    def list(self) -> Iterator[MediaObject]:
        """Every regular file selected, in the order of the names within each folder.

        What vanishes meanwhile, a folder below the root that may not be read, and a link that leads nowhere are left
        out.

        Raises:
            BadInput: the folder is not there or may not be read, or the server cannot be used as things are set.
            ConnectionFailed: the server cannot be reached, or not any more.
        """
        walk = [self._inside(self._root())]
        while walk:
            found = next(walk[-1], None)
            if found is None:
                walk.pop()
            elif isinstance(found, _Folder):
                walk.append(self._inside(found))
            else:
                yield found

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:
        """The file's bytes from ``offset`` on, fetched from the first read on.

        Raises:
            SourceChanged: it vanished, or its size or time differ from what was listed.
            ConnectionFailed: the server cannot be reached; reading may raise it as well.
        """
        session = self._sessions.take()
        try:
            file = session.open(self._selection.root + item.key, lambda: self._sessions.give(session))
        except OSError as error:
            self._sessions.give(session)
            raise SourceChanged(f"cannot be read any more: {error.strerror}") from error
        listed_and_now = ((item.size, file.facts.size), (item.modified, _time(file.facts)))
        if any(listed not in (None, now) for listed, now in listed_and_now):
            file.close()
            raise SourceChanged("changed after it was staged")
        file.seek(offset)
        return io.BufferedReader(file, READ_BYTES)

    def _root(self) -> _Folder:
        path = self._selection.root.rstrip("/") or "/"
        try:
            with self._sessions.borrowed() as session:
                if not session.stat(path).is_folder():
                    raise BadInput(f"{self._server}{path} is no folder: name the folder that holds the files")
                return _Folder("", (session.real_path(path),))
        except OSError as error:
            raise self._unreadable(error) from error

    def _inside(self, folder: _Folder) -> Iterator[MediaObject | _Folder]:
        path = self._selection.root + folder.key
        try:
            with self._sessions.borrowed() as session:
                entries = session.entries(path.rstrip("/") or "/")
        except OSError as error:
            if not folder.key:
                raise self._unreadable(error) from error
            return
        entries.sort(key=itemgetter(0), reverse=True)
        while entries:  # and so a large folder takes less and less memory
            found = self._look(folder, path, entries.pop())
            if found:
                yield found

    def _look(self, folder: _Folder, path: str, entry: Entry) -> MediaObject | _Folder | None:
        """What an entry is to the source."""
        name, facts = entry
        selected, leads_on = self._selection.matches(path + name), self._selection.leads_into(f"{path}{name}/")
        real = f"{folder.real[-1].rstrip('/')}/{name}"
        if facts.is_link() and (selected or leads_on):
            try:
                with self._sessions.borrowed() as session:
                    facts = session.stat(path + name)
                    real = session.real_path(path + name) if facts.is_folder() else real
            except OSError:
                return None
        if facts.is_folder():
            enter = leads_on and real not in folder.real
            return _Folder(f"{folder.key}{name}/", (*folder.real, real)) if enter else None
        return MediaObject(folder.key + name, facts.size, None, _time(facts)) if selected and facts.is_file() else None

    def _unreadable(self, error: OSError) -> BadInput:
        place = self._server + self._selection.root
        if error.errno == errno.ENOENT:
            return BadInput(f"there is no folder {place}: check the path, which begins at the server's root")
        if error.errno == errno.EACCES:
            return BadInput(f"{place} may not be read by this user: name another in the URL, or have it allowed")
        return BadInput(f"{place} cannot be listed: {error.strerror}")


def _time(facts: Facts) -> datetime | None:
    return None if facts.modified is None else datetime.fromtimestamp(facts.modified, UTC)
