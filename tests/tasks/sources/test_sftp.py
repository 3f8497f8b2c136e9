import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime

import paramiko
import pytest

from tasks.core.errors import BadInput, ConnectionFailed
from tasks.core.services import free_port
from tasks.sources import sftp_login, sftp_sessions
from tasks.sources.base import ReferenceSource, SourceChanged
from tasks.sources.sftp import open_sftp
from tasks.sources.sftp_protocol import Entry, Session
from tests.tasks.sources.sftp_host import *  # noqa: F403
from tests.tasks.sources.sftp_host import Host, first

MEGABYTE = 1 << 20


def test_list_gives_every_file_in_order(host: Host) -> None:
    host.fill("p/b.jpg", "p/a/z.jpg", "p/a/b/c.txt", "p/c", "p/.hidden/x", "q.jpg")
    assert host.keys("/p") == host.keys("/p/") == [".hidden/x", "a/b/c.txt", "a/z.jpg", "b.jpg", "c"]
    assert host.keys("/") == ["p/.hidden/x", "p/a/b/c.txt", "p/a/z.jpg", "p/b.jpg", "p/c", "q.jpg"]


def test_list_tells_size_and_time(host: Host) -> None:
    host.fill("a.jpg")
    os.utime(host.root / "a.jpg", (0, 1_757_937_600))
    source = open_sftp(host.url("/"))
    (item,) = source.list()
    assert (item.size, item.modified, item.etag) == (5, datetime(2025, 9, 15, 12, tzinfo=UTC), None)
    assert (source.is_local, source.by_extension, isinstance(source, ReferenceSource)) == (False, True, False)


def test_list_takes_any_name(host: Host) -> None:
    names = ["a b%20+#?.jpg", "ä/ü.jpg", "\\.jpg", "new\nline.jpg"]
    host.fill(*names)
    (host.root / "\udcff").mkdir()
    (host.root / "\udcff/\udce9.jpg").touch()
    assert host.keys("/") == sorted([*names, "\udcff/\udce9.jpg"])
    assert host.keys("/a b%20+*") == ["a b%20+#?.jpg"]


def test_list_ends_in_loops_of_links(host: Host) -> None:
    host.fill("a/b/1.jpg", "c/2.jpg")
    (host.root / "a/b/up").symlink_to("../..")
    (host.root / "a/self").symlink_to(".")
    (host.root / "a/circle").symlink_to("circle")
    (host.root / "c/across").symlink_to("../a")
    assert host.keys("/") == ["a/b/1.jpg", "c/2.jpg", "c/across/b/1.jpg"]


def test_list_follows_linked_files_and_takes_regular_ones_only(host: Host) -> None:
    host.fill("a.jpg", "folder.jpg/b.jpg")
    (host.root / "c.jpg").symlink_to("a.jpg")
    (host.root / "d.jpg").symlink_to("nowhere")
    os.mkfifo(host.root / "pipe.jpg")
    assert host.keys("/") == ["a.jpg", "c.jpg", "folder.jpg/b.jpg"]


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/p/*.jpg", ["1.jpg"]),
        ("/p/**/*.jpg", ["1.jpg", "day 1/raw/2.jpg", "day 2/3.jpg", "x/raw/deep/5.jpg"]),
        ("/p/day */*", ["day 2/3.jpg", "day 2/4.txt"]),
        ("/p/{day 1,x}/raw", ["day 1/raw/2.jpg", "x/raw/deep/5.jpg"]),
        ("/p/{day 1/raw,day 2}/*", ["day 1/raw/2.jpg", "day 2/3.jpg", "day 2/4.txt"]),
        ("/p/d*/", ["day 1/raw/2.jpg", "day 2/3.jpg", "day 2/4.txt"]),
        ("/p/1.jpg", ["1.jpg"]),
        ("/[p]/?.jpg", ["p/1.jpg"]),
        ("/p/*.png", []),
    ],
)
def test_pattern_selects(host: Host, path: str, keys: list[str]) -> None:
    host.fill("p/1.jpg", "p/day 1/raw/2.jpg", "p/day 2/3.jpg", "p/day 2/4.txt", "p/x/raw/deep/5.jpg", "o.jpg")
    assert host.keys(path) == keys


def test_folders_that_cannot_match_are_not_listed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.fill("p/2024-1/img/a/1.jpg", "p/2024-1/raw/2.jpg", "p/2023-1/img/3.jpg", "p/2024-2/img/4.jpg")
    listed: list[str] = []
    entries = Session.entries

    def noted(self: Session, path: str) -> list[Entry]:
        listed.append(path)
        return entries(self, path)

    monkeypatch.setattr(Session, "entries", noted)
    assert host.keys("/p/2024-*/img/*.jpg") == ["2024-2/img/4.jpg"]
    assert listed == ["/p", "/p/2024-1", "/p/2024-1/img", "/p/2024-2", "/p/2024-2/img"]


def test_open_reads_from_an_offset(host: Host) -> None:
    host.fill("a/b.jpg")
    source = open_sftp(host.url("/a"))
    (item,) = source.list()
    with source.open(item) as whole, source.open(item, 3) as rest, source.open(item, 99) as nothing:
        assert (whole.read(), rest.read(), nothing.read()) == (b"a/b.jpg", b".jpg", b"")


def test_open_reads_large_files_however_they_are_read(host: Host) -> None:
    photo = os.urandom(5 * MEGABYTE + 1)
    (host.root / "a.jpg").write_bytes(photo)
    source = open_sftp(host.url("/"))
    (item,) = source.list()
    with source.open(item) as file:
        assert b"".join(iter(lambda: file.read(70_001), b"")) == photo
        file.seek(-9, os.SEEK_END)
        assert file.read() == photo[-9:]
        file.seek(MEGABYTE)
        assert (file.read(MEGABYTE), file.tell()) == (photo[MEGABYTE : 2 * MEGABYTE], 2 * MEGABYTE)
        file.seek(-5, os.SEEK_CUR)
        assert file.read(3) == photo[2 * MEGABYTE - 5 : 2 * MEGABYTE - 2]
    with source.open(item, 4 * MEGABYTE) as file:
        assert file.read() == photo[4 * MEGABYTE :]


def test_open_works_in_several_threads_over_one_connection(host: Host) -> None:
    for number in range(4):
        (host.root / f"{number}.jpg").write_bytes(bytes([number]) * MEGABYTE)
    source = open_sftp(host.url("/"))
    items = list(source.list())
    found: list[bytes] = []

    def work(turn: int) -> None:
        for item in items[turn:] + items[:turn]:
            with source.open(item) as file:
                found.append(file.read())

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == [bytes([number]) * MEGABYTE for number in range(4) for _ in range(4)]
    assert len(source._sessions._clients) == 1
    assert len(source._sessions._idle) <= 4


def test_open_refuses_what_has_changed(host: Host) -> None:
    host.fill("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    source = open_sftp(host.url("/"))
    longer, newer, gone, folder = source.list()
    (host.root / "a.jpg").write_bytes(b"longer than before")
    os.utime(host.root / "b.jpg", (0, 0))
    (host.root / "c.jpg").unlink()
    (host.root / "d.jpg").unlink()
    (host.root / "d.jpg").mkdir()
    for item, reason in ((longer, "changed"), (newer, "changed"), (gone, "No such file"), (folder, "read|changed")):
        with pytest.raises(SourceChanged, match=reason):
            source.open(item)
    assert len(source._sessions._idle) == 1


@pytest.mark.parametrize(
    ("path", "says"), [("/nowhere", "there is no folder sftp://ann@.*/nowhere/"), ("/f", "is no folder")]
)
def test_path_that_is_no_folder_is_bad_input(host: Host, path: str, says: str) -> None:
    host.fill("f")
    with pytest.raises(BadInput, match=says):
        host.keys(path)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sftp://ann:secret@host/p", "DARKROOM_SFTP_PASSWORD"),
        ("sftp://ann:se/cret@host/p", "sftp://USER@HOST"),
        ("sftp://ann:@host/p", "DARKROOM_SFTP_PASSWORD"),
        ("sftp://host", "sftp://USER@HOST"),
        ("sftp:///p", "sftp://USER@HOST"),
        ("sftp://host:0/p", "sftp://USER@HOST"),
        ("sftp://host:65536/p", "sftp://USER@HOST"),
        ("sftp://host/~/p", "whole path"),
        ("sftp://host/p/{a", "not closed"),
    ],
)
def test_url_that_cannot_be_used_is_bad_input(url: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        open_sftp(url)
    assert "se" not in str(caught.value).split() and "secret" not in str(caught.value)


def test_library_that_is_missing_is_named() -> None:
    code = (
        "import sys; sys.modules['paramiko'] = None\n"
        "from tasks.sources.sftp import open_sftp\n"
        "try: open_sftp('sftp://h/p')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("BadInput sftp:// needs one more library: pip install 'darkroom[sftp]'")


def test_host_that_does_not_exist_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"there is no host no-such-host.invalid"):
        first(open_sftp("sftp://no-such-host.invalid/p"))


def test_port_that_is_closed_is_transient() -> None:
    with pytest.raises(ConnectionFailed, match="takes no connections"):
        first(open_sftp(f"sftp://127.0.0.1:{free_port()}/p"))


def test_server_that_is_silent_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sftp_login, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = open_sftp(f"sftp://127.0.0.1:{silent.getsockname()[1]}/p")
        with pytest.raises(ConnectionFailed, match=r"the connection to 127.0.0.1:\d+ failed"):
            first(source)


def test_server_without_sftp_is_bad_input(own_host: Host) -> None:
    with own_host.serve(sftp=False), pytest.raises(BadInput, match="SSH server without SFTP"):
        own_host.keys("/")


def test_server_that_limits_sessions_gets_more_connections(own_host: Host) -> None:
    own_host.fill("a.jpg", "b.jpg", "c.jpg")
    with own_host.serve(sessions=2):
        source = open_sftp(own_host.url("/"))
        a, b, c = source.list()
        with source.open(a) as one, source.open(b) as two, source.open(c) as three:
            assert (one.read(), two.read(), three.read()) == (b"a.jpg", b"b.jpg", b"c.jpg")
        assert len(source._sessions._clients) == 2


def test_server_that_opens_no_session_is_transient(own_host: Host) -> None:
    with own_host.serve(sessions=0), pytest.raises(ConnectionFailed, match="opens no session"):
        own_host.keys("/")


def test_connection_that_is_lost_is_made_anew(own_host: Host) -> None:
    photo = os.urandom(8 * MEGABYTE)
    (own_host.root / "a.jpg").write_bytes(photo)
    with own_host.serve():
        source = open_sftp(own_host.url("/"))
        (item,) = source.list()
        file = source.open(item)
        assert file.read(10) == photo[:10]
    with pytest.raises(ConnectionFailed, match=f"127.0.0.1:{own_host.port}"):
        file.read()
    file.close()
    with pytest.raises(ConnectionFailed, match="takes no connections"):
        source.open(item)
    with own_host.serve(), source.open(item) as again:
        assert again.read() == photo
        assert len(source._sessions._clients) == 1


def test_server_that_hangs_is_transient(own_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    own_host.fill("a.jpg")
    monkeypatch.setattr(sftp_sessions, "ANSWER_SECONDS", 0.2)
    with own_host.serve():
        source = open_sftp(own_host.url("/"))
        (item,) = source.list()
        os.kill(own_host.process, signal.SIGSTOP)
        with pytest.raises(ConnectionFailed, match="no answer in time"):
            source.open(item)
        os.kill(own_host.process, signal.SIGCONT)
        source.open(item).close()


def of_paramiko() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, paramiko.Transport)]


def test_connection_ends_with_its_source(host: Host) -> None:
    host.fill("a.jpg")
    gc.collect()
    before = of_paramiko()
    source = open_sftp(host.url("/"))
    (item,) = source.list()
    file = source.open(item)
    (transport,) = [thread for thread in of_paramiko() if thread not in before]
    del source
    assert file.read() == b"a.jpg"
    del file
    transport.join(30)
    assert not transport.is_alive()
