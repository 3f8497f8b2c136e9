import pytest

from tasks.core.errors import (
    ConnectionFailed,
    LocalFault,
    NotFound,
    RequestRefused,
    ServiceBusy,
    UrlExpired,
)
from tasks.transfer.download import TransferError, part_path
from tests.tasks.transfer.file_store import CONTENT, DIGEST, cut_once, download, files_in


def test_download_of_a_whole_file(fetch, store, tmp_path):
    target = tmp_path / "deep" / "file.bin"
    done = download(fetch, store.url, target)
    assert (done.path, done.size, done.sha256) == (target, len(CONTENT), DIGEST)
    assert target.read_bytes() == CONTENT
    assert files_in(target.parent) == ["file.bin"]


def test_download_of_an_empty_file(fetch, store, tmp_path):
    store.content = b""
    assert download(fetch, store.url, tmp_path / "empty").size == 0
    assert (tmp_path / "empty").read_bytes() == b""


def test_cut_body_is_resumed_from_where_it_stopped(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    kept = part_path(target).stat().st_size
    assert 0 < kept <= 300_000
    done = download(fetch, store.url, target)
    assert store.requests[-1]["range"] == f"bytes={kept}-"
    assert store.requests[-1]["if-range"] == '"one"'
    assert done.sha256 == DIGEST
    assert files_in(tmp_path) == ["file.bin"]


def test_body_cut_again_and_again_arrives(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    for _ in range(4):
        cut_once(fetch, store, target, after=200_000)
    assert part_path(target).stat().st_size > 400_000
    assert download(fetch, store.url, target).sha256 == DIGEST


def test_service_that_ignores_range_restarts(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    store.ignore_range = True
    assert download(fetch, store.url, target).sha256 == DIGEST


def test_changed_etag_restarts_with_the_new_content(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    store.etag, store.content = '"two"', CONTENT[::-1]
    download(fetch, store.url, target)
    assert target.read_bytes() == CONTENT[::-1]


def test_part_without_a_validator_is_not_trusted(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    store.etag = None
    cut_once(fetch, store, target)
    download(fetch, store.url, target)
    assert "range" not in store.requests[-1]
    assert target.read_bytes() == CONTENT


def test_weak_etag_is_not_used_for_a_range(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    store.etag = 'W/"one"'
    cut_once(fetch, store, target)
    download(fetch, store.url, target)
    assert "range" not in store.requests[-1]


def test_damaged_note_restarts(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    (tmp_path / "file.bin.part.json").write_text('{"valid')
    assert download(fetch, store.url, target).sha256 == DIGEST


def test_range_other_than_asked_restarts(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    store.shift_range = 7
    assert download(fetch, store.url, target).sha256 == DIGEST
    assert "range" not in store.requests[-1]


def test_whole_part_of_a_killed_process_is_fetched_again(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    part_path(target).write_bytes(CONTENT)
    (tmp_path / "file.bin.part.json").write_text('{"validator": "\\"one\\""}')
    assert download(fetch, store.url, target).sha256 == DIGEST
    assert len(store.requests) == 2


def test_announced_length_too_long_is_a_cut(fetch, store, tmp_path):
    store.announce = len(CONTENT) + 10
    with pytest.raises(ConnectionFailed):
        download(fetch, store.url, tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()


def test_chunked_body_is_whole(fetch, store, tmp_path):
    store.chunked = True
    assert download(fetch, store.url, tmp_path / "a").sha256 == DIGEST


def test_chunked_body_that_is_cut_is_no_file(fetch, store, tmp_path):
    store.chunked, store.cut_after = True, 300_000
    with pytest.raises(ConnectionFailed):
        download(fetch, store.url, tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("etag", ['"a\x7f"', '"\xe9"'])
def test_validator_that_cannot_be_sent_back_is_not_used(fetch, store, tmp_path, etag):
    store.etag = etag
    cut_once(fetch, store, tmp_path / "file.bin")
    assert download(fetch, store.url, tmp_path / "file.bin").sha256 == DIGEST
    assert "range" not in store.requests[-1]


@pytest.mark.parametrize("claimed", [f"bytes {'9' * 5000}-1/2", "bytes 1-2/many", "pages 1-2/3", ""])
def test_range_that_cannot_be_read_restarts(fetch, store, tmp_path, claimed):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    store.content_range = claimed
    assert download(fetch, store.url, target).sha256 == DIGEST
    assert "range" not in store.requests[-1]


def test_damaged_content_encoding_is_transient(fetch, store, tmp_path):
    store.encoding = "gzip"
    with pytest.raises(TransferError, match="encoding"):
        download(fetch, store.url, tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, UrlExpired),
        (403, UrlExpired),
        (410, UrlExpired),
        (404, NotFound),
        (405, RequestRefused),
        (429, ServiceBusy),
        (500, ServiceBusy),
        (503, ServiceBusy),
    ],
)
def test_refusal_becomes_our_error_without_the_signature(fetch, store, tmp_path, status, error):
    store.status = status
    with pytest.raises(error) as caught:
        download(fetch, store.url, tmp_path / "file.bin")
    assert caught.value.status == status
    assert "s3cret" not in str(caught.value)
    assert "file.bin" in str(caught.value)


def test_refused_url_keeps_the_part(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    store.status = 403
    with pytest.raises(UrlExpired):
        download(fetch, store.url, target)
    store.status = None
    assert download(fetch, store.url, target).sha256 == DIGEST
    assert "range" in store.requests[-1]


def test_long_name_has_a_part_of_its_own(fetch, store, tmp_path):
    target = tmp_path / ("n" * 251 + ".bin")
    assert download(fetch, store.url, target).sha256 == DIGEST
    assert files_in(tmp_path) == [target.name]


def test_folder_that_cannot_be_made_is_a_local_fault(fetch, store, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocalFault):
        download(fetch, store.url, tmp_path / "file" / "below")
