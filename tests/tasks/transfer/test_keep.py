"""What is received is checked, and what is kept is on disk."""

import gzip
import os
from pathlib import Path

import pytest

from tasks.core.errors import ConnectionFailed
from tasks.transfer.download import TransferError, keep, part_path, receive
from tests.tasks.transfer.file_store import CONTENT, DIGEST, cut_once, download, files_in, repr_digest


def test_announced_length_too_short_fails_the_checksum(fetch, store, tmp_path):
    store.announce = len(CONTENT) - 10
    store.headers = {"Repr-Digest": repr_digest(CONTENT)}
    with pytest.raises(TransferError, match="checksum"):
        download(fetch, store.url, tmp_path / "file.bin")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("size", [100, len(CONTENT)])
def test_wrong_checksum_throws_the_part_away(fetch, store, tmp_path, size):
    store.content = CONTENT[:size]
    store.headers = {"Repr-Digest": repr_digest(b"other")}
    with pytest.raises(TransferError, match=r"'file.bin' from 127.0.0.1: the checksum does not match \(sha-256\)"):
        download(fetch, store.url, tmp_path / "file.bin")
    assert files_in(tmp_path) == []


def test_checksum_of_a_resumed_file_is_that_of_the_whole(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    store.headers = {"Repr-Digest": repr_digest(CONTENT)}
    cut_once(fetch, store, target)
    with part_path(target).open("r+b") as part:
        part.write(b"spoiled")
    with pytest.raises(TransferError, match="checksum"):
        download(fetch, store.url, target)
    assert "range" in store.requests[-1]
    cut_once(fetch, store, target)
    assert download(fetch, store.url, target).sha256 == DIGEST
    assert "range" in store.requests[-1]


def test_checksum_of_the_packed_file_is_not_asked_of_the_unpacked(fetch, store, tmp_path):
    store.content, store.encoding = gzip.compress(CONTENT), "gzip"
    store.headers = {"Repr-Digest": repr_digest(store.content)}
    assert download(fetch, store.url, tmp_path / "file.bin").sha256 == DIGEST


def test_small_file_leaves_no_trace_of_a_larger_one_before_it(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    store.etag, store.content = '"two"', b"small"
    receive(fetch, store.url, target)
    assert files_in(tmp_path) == ["file.bin.part"]
    assert part_path(target).read_bytes() == b"small"


def test_small_file_is_cut(fetch, store, tmp_path):
    store.content = b"0123456789"
    cut_once(fetch, store, tmp_path / "file.bin", after=5)
    assert download(fetch, store.url, tmp_path / "file.bin").size == 10
    assert "range" not in store.requests[-1]


def test_nothing_is_there_before_it_is_kept(fetch, store, tmp_path):
    received = receive(fetch, store.url, tmp_path / "file.bin")
    assert (received.size, files_in(tmp_path)) == (len(CONTENT), ["file.bin.part", "file.bin.part.json"])


def test_kept_files_are_flushed_before_they_have_their_names_and_then_their_folders(
    fetch, store, tmp_path, monkeypatch
):
    store.content = b"small"
    received = [receive(fetch, store.url, tmp_path / folder / name) for folder in "ab" for name in "xyz"]
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flushed(handle: int) -> None:
        done.append(f"fsync {Path(f'/proc/self/fd/{handle}').readlink().relative_to(tmp_path)}")
        fsync(handle)

    def named(source: Path, target: Path) -> None:
        done.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", named)
    keep(received)
    assert done[:6] == [f"fsync {folder}/{name}.part" for folder in "ab" for name in "xyz"]
    assert done[6:12] == ["replace"] * 6
    assert sorted(done[12:]) == ["fsync a", "fsync b"]


def test_existing_file_stays_until_the_new_one_is_whole(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")
    store.cut_after = 1000
    with pytest.raises(ConnectionFailed):
        download(fetch, store.url, target)
    assert target.read_bytes() == b"old"
