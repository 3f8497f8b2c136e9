import tarfile
from pathlib import Path

import pytest

from deployments.batch_server.indexing import ArchiveBroken, read_archive


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
    members, rejected = read_archive(path)
    content = path.read_bytes()
    assert rejected == []
    assert [content[member.offset :][: member.size].decode() for member in members] == names


def test_archive_without_its_end_marker_counts_as_cut(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(tarfile.TarInfo("a.jpg").tobuf())
    with pytest.raises(ArchiveBroken, match="cut at byte 512"):
        read_archive(path)
