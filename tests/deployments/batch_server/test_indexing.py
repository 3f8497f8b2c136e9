import tarfile
from pathlib import Path

import pytest

from deployments.batch_server.indexing import ArchiveBroken, read_archive
from deployments.batch_server.store.uploads import UploadStore
from tests.deployments.batch_server.running import archive, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine


def test_archive_with_a_negative_size_ends(tmp_path: Path) -> None:
    info = tarfile.TarInfo("notification_config.json")
    info.size = -tarfile.BLOCKSIZE
    path = tmp_path / "evil.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2 * tarfile.BLOCKSIZE))
    with pytest.raises(ArchiveBroken, match="negative"):
        read_archive(path)


@pytest.mark.parametrize("layout", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_archive_in_every_layout_gives_where_images_lie(tmp_path: Path, layout: int) -> None:
    names = ["a.jpg"] if layout == tarfile.USTAR_FORMAT else ["a.jpg", "é" * 100 + ".jpg"]
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w", format=layout) as tar:
        for name in names:
            (tmp_path / "image").write_bytes(name.encode())
            tar.add(tmp_path / "image", name)
    found = read_archive(path)
    content = path.read_bytes()
    assert found.rejected == []
    assert [content[member.offset :][: member.size].decode() for member in found.members] == names


def test_archive_without_its_end_marker_counts_as_cut(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(tarfile.TarInfo("a.jpg").tobuf())
    with pytest.raises(ArchiveBroken, match="cut at byte 512"):
        read_archive(path)


def extended_header(size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("size", [100_000, 10**12])
def test_archive_with_an_endless_header_is_not_read_into_memory(tmp_path: Path, size: int) -> None:
    path = tmp_path / "evil.tar"
    path.write_bytes(extended_header(size) + b"1" * 100_000)
    with pytest.raises(ArchiveBroken, match=r"a header of \d+ bytes"):
        read_archive(path)


def test_archive_with_headers_for_headers_ends(tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    path.write_bytes(extended_header(0) * 5000 + bytes(2 * tarfile.BLOCKSIZE))
    with pytest.raises(ArchiveBroken, match="not a readable tar archive"):
        read_archive(path)


def test_index_that_could_not_be_recorded_is_recorded_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = UploadStore.record_index
    refused: list[object] = []

    def refuse_once(store: UploadStore, *args: object) -> None:
        if not refused:
            refused.append(args)
            raise OSError("database or disk is full")
        record(store, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(UploadStore, "record_index", refuse_once)
    monkeypatch.setattr("deployments.batch_server.indexing.RETRY_SECONDS", 0.01)
    with thread_server(settings_for(tmp_path / "data"), SmallEngine()) as server:
        server.put(server.allocate("b"), archive({"a.jpg": b"one"}))
        assert server.shards("b")[0]["statusType"] == "success"
    assert len(refused) == 1


def test_shard_that_a_stopped_server_left_unindexed_is_indexed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("database or disk is full")

    with monkeypatch.context() as patched, thread_server(settings_for(tmp_path / "data"), SmallEngine()) as first:
        patched.setattr(UploadStore, "record_index", refuse)
        first.put(first.allocate("b"), archive({"a.jpg": b"one"}))
        assert first.staging("GET", "/b/shards").json()["shards"][0]["statusType"] == "info"
    with thread_server(settings_for(tmp_path / "data"), SmallEngine()) as second:
        assert (second.shards("b")[0]["statusType"], second.count("b")) == ("success", 1)
