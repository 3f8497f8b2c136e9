from pathlib import Path

import pytest

from deployments.batch_server.archives import FAST, STORED, ArchiveMember, replacing, write_archive
from tests.deployments.batch_server.running import unpacked


@pytest.mark.parametrize("level", [FAST, STORED])
def test_archive_of_the_same_members_has_the_same_bytes(tmp_path: Path, level: int) -> None:
    (tmp_path / "file").write_bytes(bytes(3_000_000))
    members = [
        ArchiveMember("é/results.json", b"{}", 1.5),
        ArchiveMember("x" * 200 + "/y.jpg", tmp_path / "file", 2.5),
    ]
    contents = []
    for name in ("one.tar.gz", "two.tar.gz"):
        write_archive(tmp_path / name, members, level)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert unpacked(contents[0]) == {"é/results.json": b"{}", "x" * 200 + "/y.jpg": bytes(3_000_000)}


def test_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert not path.exists()
    with replacing(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
