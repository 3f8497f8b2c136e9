import gzip
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from tasks.core.errors import LocalFault
from tasks.transfer.unpack import (
    DamagedArchive,
    UnpackLimits,
    UnsafeArchive,
    iter_tar_members,
    safe_name,
    unpack_tar,
)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def pack(path: Path, *members: tuple[tarfile.TarInfo | str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info, data in members:
            info = member(info) if isinstance(info, str) else info
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_unpack_takes_regular_files(tmp_path, mode):
    folder = member("a.jpg", tarfile.DIRTYPE)
    archive = pack(tmp_path / "x", (folder, b""), ("./a.jpg/annotated.jpg", b"123"), ("b", b""), mode=mode)
    unpacked = unpack_tar(archive, tmp_path / "out")
    assert [(file.name, file.size) for file in unpacked.files] == [("a.jpg/annotated.jpg", 3), ("b", 0)]
    assert unpacked.files[0].path.read_bytes() == b"123"
    assert unpacked.refused == []
    assert everything_below(tmp_path / "out") == ["a.jpg/annotated.jpg", "b"]


def test_unpack_again_overwrites(tmp_path):
    archive = pack(tmp_path / "x.tar.gz", ("a", b"123"))
    unpack_tar(archive, tmp_path / "out")
    (tmp_path / "out" / "a").write_bytes(b"half")
    assert unpack_tar(archive, tmp_path / "out").files[0].path.read_bytes() == b"123"


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        (member("../escaped"), "climbs out"),
        (member("a/../../escaped"), "climbs out"),
        (member("/etc/escaped"), "absolute"),
        (member("C:/escaped"), "drive"),
        (member("..\\escaped"), "backslash"),
        (member("link", tarfile.SYMTYPE, "/etc/passwd"), "link"),
        (member("link", tarfile.LNKTYPE, "/etc/passwd"), "link"),
        (member("device", tarfile.CHRTYPE), "regular"),
        (member("device", tarfile.BLKTYPE), "regular"),
        (member("pipe", tarfile.FIFOTYPE), "regular"),
        (member("n" * 256), "too long"),
        (member("/".join(["n" * 200] * 11)), "too long"),
        (member("good/below"), "below a file"),
        (member("good"), "twice"),
        (member("./"), "empty"),
        (member("caf\udce9.jpg"), "UTF-8"),
    ],
)
def test_hostile_member_is_refused_and_the_rest_kept(tmp_path, hostile, reason):
    archive = pack(tmp_path / "x.tar.gz", ("good", b"1"), (hostile, b""), ("later", b"2"))
    unpacked = unpack_tar(archive, tmp_path / "in" / "out")
    assert [file.name for file in unpacked.files] == ["good", "later"]
    assert [refused.name for refused in unpacked.refused] == [hostile.name]
    assert reason in unpacked.refused[0].reason
    assert everything_below(tmp_path / "in") == ["out/good", "out/later"]


def test_member_that_would_take_the_place_of_another_file_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "all.jsonl").write_bytes(b"fetched")
    members = [("all.jsonl", b"forged"), ("./all.jsonl/x", b"forged"), ("a.png/all.jsonl", b"own")]
    unpacked = unpack_tar(pack(tmp_path / "a.tar.gz", *members), tmp_path / "out", taken=["all.jsonl"])
    assert [file.name for file in unpacked.files] == ["a.png/all.jsonl"]
    assert (tmp_path / "out" / "all.jsonl").read_bytes() == b"fetched"
    assert len(unpacked.refused) == 2


def test_file_through_a_symlink_of_the_archive_does_not_escape(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    link = member("door", tarfile.SYMTYPE, str(outside))
    archive = pack(tmp_path / "x.tar.gz", (link, b""), ("door/file", b"1"))
    unpack_tar(archive, tmp_path / "out")
    assert everything_below(outside) == []


def test_file_through_a_symlink_that_was_there_is_refused(tmp_path):
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    out.mkdir()
    (out / "door").symlink_to(outside)
    (out / "name").symlink_to(outside / "target")
    archive = pack(tmp_path / "x.tar.gz", ("door/file", b"1"), ("name", b"2"))
    unpacked = unpack_tar(archive, out)
    assert [file.name for file in unpacked.files] == ["name"]
    assert not (out / "name").is_symlink()
    assert everything_below(outside) == []


def test_sparse_member_is_refused(tmp_path):
    info = member("sparse")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        data = b"0\n".ljust(512, b"\0")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    unpacked = unpack_tar(path, tmp_path / "out")
    assert unpacked.files == []
    assert unpacked.refused[0].reason == "not a regular file"


def test_bomb_is_refused_by_its_ratio(tmp_path):
    archive = tmp_path / "bomb.tar.gz"
    with gzip.open(archive, "wb", compresslevel=9) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        info = member("zeros")
        info.size = 200 << 20
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    assert archive.stat().st_size < 1 << 20
    with pytest.raises(UnsafeArchive, match="unpacks to more than"):
        unpack_tar(archive, tmp_path / "out")
    assert everything_below(tmp_path / "out") == []


@pytest.mark.parametrize(
    "limits",
    [
        UnpackLimits(max_files=2),
        UnpackLimits(max_total_bytes=3000),
        UnpackLimits(max_ratio=1.0, ratio_from_bytes=100),
    ],
)
def test_archive_beyond_the_limits_is_refused(tmp_path, limits):
    archive = pack(tmp_path / "x.tar.gz", *[(str(i), bytes(2000)) for i in range(3)])
    with pytest.raises(UnsafeArchive):
        unpack_tar(archive, tmp_path / "out", limits)


def test_member_beyond_the_size_limit_is_refused_alone(tmp_path):
    archive = pack(tmp_path / "x.tar.gz", ("big", bytes(11)), ("small", bytes(10)))
    unpacked = unpack_tar(archive, tmp_path / "out", UnpackLimits(max_file_bytes=10))
    assert [file.name for file in unpacked.files] == ["small"]


def test_huge_header_is_refused_before_it_is_read(tmp_path):
    header = member("long", tarfile.GNUTYPE_LONGNAME)
    header.size = 1 << 33
    path = tmp_path / "x.tar"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(UnsafeArchive, match="header"):
        unpack_tar(path, tmp_path / "out")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_cut_archive_is_never_taken_for_a_whole_one(tmp_path, mode):
    path = pack(tmp_path / "x", *[(str(i), os.urandom(700)) for i in range(4)], mode=mode)
    whole = path.read_bytes()
    ends = range(0, 4 * 1536, 512) if mode == "w" else range(0, len(whole) - 1, 397)
    for end in ends:
        path.write_bytes(whole[:end])
        with pytest.raises(DamagedArchive):
            unpack_tar(path, tmp_path / "out")
        with pytest.raises(DamagedArchive):
            list(iter_tar_members(path))


def test_wrong_gzip_checksum_is_damage(tmp_path):
    path = pack(tmp_path / "x.tar.gz", ("a", b"1"))
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedArchive):
        unpack_tar(path, tmp_path / "out")


def test_text_file_is_damage(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_text("<html>sorry</html>" * 100)
    with pytest.raises(DamagedArchive, match="not a whole archive"):
        unpack_tar(path, tmp_path / "out")


def test_folder_that_cannot_be_made_is_a_local_fault(tmp_path):
    path = pack(tmp_path / "x.tar.gz", ("a", b"1"))
    with pytest.raises(LocalFault):
        unpack_tar(path, path / "below")


def test_iter_tar_members_gives_contents_and_tells_refusals(tmp_path):
    archive = pack(
        tmp_path / "x.tar.gz",
        ("a.jpg/results.json", b"{}"),
        ("../b", b"1"),
        ("c", bytes(100)),
        ("d", b"2"),
    )
    refused: list[str] = []
    limits = UnpackLimits(max_memory_bytes=50)
    members = list(iter_tar_members(archive, limits, lambda member: refused.append(member.name)))
    assert members == [("a.jpg/results.json", b"{}"), ("d", b"2")]
    assert refused == ["../b", "c"]


def test_memory_does_not_grow_with_the_archive(tmp_path):
    def peak(count: int) -> int:
        archive = pack(tmp_path / f"{count}.tar.gz", *[(f"{i}/results.json", b"{}") for i in range(count)])
        tracemalloc.start()
        try:
            assert sum(1 for _ in iter_tar_members(archive)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(3000) < peak(100) + 1_000_000


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", "C:a", "a\\b", "a\0b", "n" * 256, "\udce9"])
def test_safe_name_refuses(name):
    with pytest.raises(UnsafeArchive):
        safe_name(name)


def test_safe_name_keeps_what_is_harmless():
    assert safe_name("part 1//фото\n1.jpg/results.json") == "part 1/фото\n1.jpg/results.json"
