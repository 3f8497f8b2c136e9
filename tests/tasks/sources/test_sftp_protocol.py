"""What a server may do that the one in the other tests does not: answer late, in pieces, or nonsense."""

import errno
import io
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.core.errors import ConnectionFailed
from tasks.sources.sftp_protocol import PIECE_BYTES, Session

PHOTO = os.urandom(2 * PIECE_BYTES + 99)
FIRST, SECOND, THIRD = PHOTO[:PIECE_BYTES], PHOTO[PIECE_BYTES : 2 * PIECE_BYTES], PHOTO[2 * PIECE_BYTES :]
VERSION, STATUS, HANDLE, DATA, NAME, ATTRS = 2, 101, 102, 103, 104, 105
END_OF_FILE, FAILURE = 1, 4


class Channel:
    """A socket with the four members of a channel that a session uses."""

    closed = False

    def __init__(self, end: socket.socket) -> None:
        self.sendall, self.recv, self._end = end.sendall, end.recv, end

    def close(self) -> None:
        self.closed = True
        self._end.close()


class Server:
    """Says everything in advance, for the numbers that requests get are known."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.settimeout(5)
        self.channel: Any = Channel(theirs)
        self.say(VERSION, 3)

    def say(self, kind: int, number: int, *fields: bytes) -> None:
        body = struct.pack(">BI", kind, number) + b"".join(fields)
        self.ours.sendall(struct.pack(">I", len(body)) + body)

    def let_open(self, size: int | None = len(PHOTO)) -> None:
        """Answers of the first two requests, those that open a file."""
        self.say(HANDLE, 1, text(b"handle"))
        self.say(ATTRS, 2, struct.pack(">I", 0) if size is None else struct.pack(">IQ", 1, size))

    def session(self) -> Session:
        return Session(self.channel, "host")

    def file(self) -> io.BufferedReader:
        return io.BufferedReader(self.session().open("/a.jpg", lambda: None))


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.channel.close()
    server.ours.close()


def text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def status(code: int, reason: bytes = b"") -> bytes:
    return struct.pack(">I", code) + text(reason) + text(b"en")


def test_pieces_may_come_in_any_order(server: Server) -> None:
    server.let_open()
    for number, piece in ((5, THIRD), (3, FIRST), (4, SECOND)):
        server.say(DATA, number, text(piece))
    assert server.file().read() == PHOTO


def test_pieces_may_be_smaller_than_asked_for(server: Server) -> None:
    server.let_open()
    for number, piece in ((3, FIRST[:1000]), (4, SECOND), (5, THIRD), (6, FIRST[1000:2000]), (7, FIRST[2000:])):
        server.say(DATA, number, text(piece))
    assert server.file().read() == PHOTO


def test_file_may_become_shorter(server: Server) -> None:
    server.let_open()
    server.say(DATA, 3, text(FIRST))
    server.say(DATA, 4, text(b""))
    server.say(STATUS, 5, status(END_OF_FILE))
    assert server.file().read() == FIRST


def test_size_may_be_unknown(server: Server) -> None:
    server.let_open(size=None)
    server.say(DATA, 3, text(FIRST))
    server.say(STATUS, 4, status(END_OF_FILE))
    assert server.file().read() == FIRST


def test_answers_to_what_was_given_up_are_left_out(server: Server) -> None:
    server.let_open()
    for number, piece in ((3, FIRST), (4, SECOND), (5, THIRD), (6, THIRD[-9:])):
        server.say(DATA, number, text(piece))
    file = server.file()
    assert file.read(5) == FIRST[:5]
    file.seek(len(PHOTO) - 9)
    assert file.read() == THIRD[-9:]


def test_refusal_is_told_with_its_reason(server: Server) -> None:
    server.let_open()
    server.say(STATUS, 3, status(FAILURE, "Gerät fehlt".encode("latin-1")))
    with pytest.raises(OSError, match=r"Ger.t fehlt") as caught:
        server.file().read()
    assert caught.value.errno == errno.EIO


def test_folder_is_listed_as_servers_tell_it(server: Server) -> None:
    facts = struct.pack(">IQIIIIII", 0x8000000F, 5, 0, 0, 0o100644, 7, 8, 1) + text(b"kind") + text(b"value")
    entries = [(b".", facts), (b"\xff.jpg", facts), (b"b", struct.pack(">I", 0))]
    names = b"".join(text(name) + text(b"-rw-r--r-- Dom\xe4ne") + known for name, known in entries)
    server.say(HANDLE, 1, text(b"handle"))
    server.say(NAME, 2, struct.pack(">I", len(entries)), names)
    server.say(STATUS, 3, status(END_OF_FILE))
    odd, bare = server.session().entries("/")
    assert (odd.name, *odd.facts) == ("\udcff.jpg", 5, 0o100644, 8)
    assert (bare.name, *bare.facts) == ("b", None, None, None)
    assert bare.facts.is_file()


def test_log_in_that_prints_a_text_is_told(server: Server) -> None:
    server.session()
    server.ours.sendall(b"Welcome to this host\n")
    with pytest.raises(ConnectionFailed, match="host failed: what it sends is not SFTP"):
        server.session()
    assert server.channel.closed


def test_answer_that_is_cut_short_is_transient(server: Server) -> None:
    server.say(HANDLE, 1, text(b"handle"))
    server.say(ATTRS, 2, struct.pack(">I", 1))
    with pytest.raises(ConnectionFailed, match="cut short"):
        server.file()


def test_connection_that_ends_is_transient(server: Server) -> None:
    server.let_open()
    server.ours.shutdown(socket.SHUT_WR)
    session = server.session()
    file = session.open("/a.jpg", lambda: None)
    with pytest.raises(ConnectionFailed, match="host failed: it was closed"):
        file.read(1)
    assert not session.is_open
    file.close()


def test_loss_is_told_where_not_even_the_good_bye_can_be_sent() -> None:
    server = Server()
    session = server.session()
    close = server.channel.close

    def close_on_a_dead_line() -> None:
        close()
        raise EOFError

    server.channel.close = close_on_a_dead_line
    server.ours.close()
    with pytest.raises(ConnectionFailed, match="the SFTP connection to host failed"):
        session.stat("/a.jpg")
    assert not session.is_open
