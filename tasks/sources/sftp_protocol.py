"""What reading needs of the SFTP protocol (version 3, draft-ietf-secsh-filexfer-02), over a channel of paramiko's.

paramiko's own SFTP client is not used: it cannot list a folder that holds a single name which is not UTF-8, and it
reads ahead in a thread for each file, which waits for ever where the file has become shorter.
"""

from __future__ import annotations

import errno
import io
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import paramiko

from tasks.core.errors import ConnectionFailed

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PIECE_BYTES = 32 * 1024
"""The most that every server gives in one answer."""
PIECES_AHEAD = 64
"""As many as fill the two megabytes that paramiko lets a server send ahead."""
MOST_ANSWER_BYTES = 1 << 20
UNKNOWN_BYTES = 1 << 62
"""Stands for the size of a file that the server does not tell."""

_INIT, _VERSION, _OPEN, _CLOSE, _READ, _FSTAT, _OPENDIR, _READDIR, _REALPATH, _STAT = 1, 2, 3, 4, 5, 8, 11, 12, 16, 17
_STATUS = 101
_END_OF_FILE = 1
_ERRNO = {2: errno.ENOENT, 3: errno.EACCES}
_REASON = {2: "No such file", 3: "Permission denied"}
_FOR_READING = struct.pack(">II", 1, 0)


class Facts(NamedTuple):
    """What a server tells of a file; a field is ``None`` where it does not say."""

    size: int | None
    mode: int | None
    modified: int | None
    """Seconds since 1970."""

    def is_folder(self) -> bool:
        """Whether it can be listed."""
        return stat.S_ISDIR(self.mode or 0)

    def is_link(self) -> bool:
        """Whether it leads elsewhere."""
        return stat.S_ISLNK(self.mode or 0)

    def is_file(self) -> bool:
        """Whether it is a regular file; of a server that does not tell kinds apart everything is."""
        return self.mode is None or stat.S_ISREG(self.mode)


class Entry(NamedTuple):
    """One name in a folder; bytes that are not UTF-8 become lone surrogates, as with ``os.listdir``."""

    name: str
    facts: Facts


class _Answer:
    """One answer of the server; its fields are read one after the other."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._place = 0
        (self.kind, self.request) = self._unpack(">BI")

    def number(self) -> int:
        number: int = self._unpack(">I")[0]
        return number

    def blob(self) -> bytes:
        length = self.number()
        self._place += length
        return self._body[self._place - length : self._place]

    def facts(self) -> Facts:
        flags = self.number()
        size = self._unpack(">Q")[0] if flags & 1 else None
        if flags & 2:
            self._unpack(">II")  # the owner
        mode = self.number() if flags & 4 else None
        modified = self._unpack(">II")[1] if flags & 8 else None
        if flags & 0x80000000:
            for _ in range(2 * self.number()):
                self.blob()
        return Facts(size, mode, modified)

    def check(self) -> _Answer:
        """Itself, unless it says no.

        Raises:
            EOFError: there is nothing more to read.
            OSError: the server refused.
        """
        if self.kind != _STATUS:
            return self
        code = self.number()
        if code == _END_OF_FILE:
            raise EOFError
        reason = _REASON.get(code) or self.blob().decode("utf-8", "replace") or f"status {code}"
        raise OSError(_ERRNO.get(code, errno.EIO), reason)

    def _unpack(self, fields: str) -> tuple[int, ...]:
        try:
            values = struct.unpack_from(fields, self._body, self._place)
        except struct.error as error:
            raise ConnectionFailed("an answer of the SFTP server is cut short") from error
        self._place += struct.calcsize(fields)
        return values


class Session:
    """An SFTP session, for one thread at a time.

    Its methods raise ``OSError`` for what the server refuses and ``ConnectionFailed`` where it does not answer; the
    session is of no use any more then.

    Args:
        channel: an open one with the subsystem ``sftp`` and a time-out.
        host: its name in messages.
    """

    def __init__(self, channel: paramiko.Channel, host: str) -> None:
        self._channel = channel
        self._host = host
        self._number = 0
        self._send(struct.pack(">BI", _INIT, 3))
        if self._receive()[0] != _VERSION:
            raise self._lost("what it sends is not SFTP: does its log-in print a text?")

    @property
    def is_open(self) -> bool:
        """Whether it can still be used, as far as this side knows."""
        return not self._channel.closed

    def entries(self, path: str) -> list[Entry]:
        """All names in a folder, in no order; links are told as links."""
        handle = self._call(_OPENDIR, _packed(path)).blob()
        found: list[Entry] = []
        try:
            while True:
                answer = self._call(_READDIR, _packed(handle))
                for _ in range(answer.number()):
                    name, _long_name, facts = answer.blob(), answer.blob(), answer.facts()
                    if name not in (b".", b".."):
                        found.append(Entry(name.decode("utf-8", "surrogateescape"), facts))
        except EOFError:
            return found
        finally:
            self.forget(handle)

    def stat(self, path: str) -> Facts:
        """What is known of the file that ``path`` leads to, links followed."""
        return self._call(_STAT, _packed(path)).facts()

    def real_path(self, path: str) -> str:
        """``path`` without links, as far as the server resolves them."""
        answer = self._call(_REALPATH, _packed(path))
        answer.number()  # always one
        return answer.blob().decode("utf-8", "surrogateescape")

    def open(self, path: str, closed: Callable[[], None]) -> RemoteFile:
        """A file to read; it has the session to itself until it calls ``closed``."""
        handle = self._call(_OPEN, _packed(path) + _FOR_READING).blob()
        return RemoteFile(self, handle, self._call(_FSTAT, _packed(handle)).facts(), closed)

    def forget(self, handle: bytes) -> None:
        """Closes a file or folder on the server, whose answer nobody needs to wait for."""
        if self.is_open:
            self._ask(_CLOSE, _packed(handle))

    def ask_piece(self, handle: bytes, offset: int, length: int) -> int:
        """Asks for bytes of a file; gives the number that the answer will have."""
        return self._ask(_READ, _packed(handle) + struct.pack(">QI", offset, length))

    def take(self) -> _Answer:
        """The next answer, to whatever request."""
        return _Answer(self._receive())

    def _call(self, kind: int, fields: bytes) -> _Answer:
        wanted = self._ask(kind, fields)
        while (answer := self.take()).request != wanted:
            pass  # an answer that was given up
        return answer.check()

    def _ask(self, kind: int, fields: bytes) -> int:
        self._number = (self._number + 1) % (1 << 32)
        self._send(struct.pack(">BI", kind, self._number) + fields)
        return self._number

    def _send(self, body: bytes) -> None:
        try:
            self._channel.sendall(struct.pack(">I", len(body)) + body)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(_cause(error)) from error

    def _receive(self) -> bytes:
        (length,) = struct.unpack(">I", self._exactly(4))
        if not 0 < length <= MOST_ANSWER_BYTES:
            raise self._lost("what it sends is not SFTP: does its log-in print a text?")
        return self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        data = bytearray()
        try:
            while len(data) < length:
                block = self._channel.recv(length - len(data))
                if not block:
                    raise EOFError
                data += block
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(_cause(error)) from error
        return bytes(data)

    def _lost(self, why: str) -> ConnectionFailed:
        with suppress(paramiko.SSHException, EOFError, OSError):  # the good-bye cannot be sent any more
            self._channel.close()
        return ConnectionFailed(f"the SFTP connection to {self._host} failed: {why}")


class RemoteFile(io.RawIOBase):
    """A file on the server; from the first read on the bytes that follow are asked for ahead.

    Attributes:
        facts: size and time as they were when it was opened.
    """

    def __init__(self, session: Session, handle: bytes, facts: Facts, closed: Callable[[], None]) -> None:
        self.facts = facts
        self._session = session
        self._handle = handle
        self._on_close = closed
        self._end = UNKNOWN_BYTES if facts.size is None else facts.size
        self._place = self._asked = 0
        self._asked_for: dict[int, tuple[int, int]] = {}
        """Offset and length by the number of the request."""
        self._pieces: dict[int, bytes] = {}
        """What came, by its offset."""

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Takes the next bytes; at most one piece a call."""
        room = memoryview(buffer).cast("B")
        self._ask_ahead()
        while self._place < self._end and self._place not in self._pieces:
            self._take()
            self._ask_ahead()
        piece = self._pieces.pop(self._place, b"") if self._place < self._end else b""
        used = min(len(piece), len(room))
        room[:used] = piece[:used]
        self._place += used
        if used < len(piece):
            self._pieces[self._place] = piece[used:]
        return used

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves; what was read ahead is given up unless it is the same place."""
        place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._end}[whence]
        if place != self._place:
            self._place = self._asked = place
            self._asked_for.clear()
            self._pieces.clear()
        return place

    def close(self) -> None:
        """Gives the session back."""
        if self.closed:
            return
        super().close()
        try:
            self._session.forget(self._handle)
        except ConnectionFailed:
            return
        finally:
            self._on_close()

    def _ask_ahead(self) -> None:
        while self._asked < self._end and len(self._asked_for) + len(self._pieces) < PIECES_AHEAD:
            length = min(PIECE_BYTES, self._end - self._asked)
            self._ask(self._asked, length)
            self._asked += length

    def _ask(self, offset: int, length: int) -> None:
        self._asked_for[self._session.ask_piece(self._handle, offset, length)] = offset, length

    def _take(self) -> None:
        answer = self._session.take()
        offset, length = self._asked_for.pop(answer.request, (0, 0))
        if not length:
            return  # asked for before a seek, or in an earlier file
        try:
            piece = answer.check().blob()
        except EOFError:
            piece = b""
        if not piece:
            self._end = min(self._end, offset)
            return
        self._pieces[offset] = piece
        if len(piece) < length:
            self._ask(offset + len(piece), length - len(piece))


def _packed(text: str | bytes) -> bytes:
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return struct.pack(">I", len(data)) + data


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return "it was closed" if isinstance(error, EOFError) else str(error)
