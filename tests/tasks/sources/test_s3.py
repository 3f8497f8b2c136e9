"""A bucket on S3: what only this backend does; what all do is in :mod:`tests.tasks.sources.test_every_source`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape

import pytest

from tasks.core.errors import BadInput, RequestRefused
from tasks.sources.base import MediaObject
from tasks.sources.s3 import open_s3
from tasks.sources.s3_listing import parse_page
from tests.scripted import Reply, Scripted, scripted_server
from tests.tasks.sources.s3_settings import KEYS, TOKEN, set_aws
from tests.waiting import wait_for

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
WHEN = "2026-09-15T12:00:00.000Z"
MODIFIED = datetime(2026, 9, 15, 12, tzinfo=UTC)
PART = 8 << 20


@pytest.fixture
def store(monkeypatch) -> Iterator[Scripted]:
    with scripted_server() as server:
        set_aws(monkeypatch, {**KEYS, "AWS_ENDPOINT_URL": server.url})
        yield server


def entry(key: str) -> str:
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>{WHEN}</LastModified><ETag>&quot;0f-2&quot;</ETag>"
        f"<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><Size>5</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def page(
    *keys: str, following: str = "", more: str = "<EncodingType>url</EncodingType>", space: str = NAMESPACE
) -> Reply:
    token = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    body = f"<ListBucketResult {space}>{''.join(map(entry, keys))}{more}{token}</ListBucketResult>"
    return Reply(
        body=f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode(), headers={"Content-Type": "application/xml"}
    )


# listing


@pytest.mark.parametrize("space", ["", NAMESPACE])
def test_page_gives_objects_as_they_are(space):
    found = parse_page(page("a+b%2Bc%20%25%0A%01/%C3%A9.jpg", space=space).body)
    assert found is not None
    assert found.objects == [MediaObject("a b+c %\n\x01/é.jpg", 5, "0f-2", MODIFIED)]
    assert found.following is None


def test_page_of_a_store_that_does_not_encode_is_left_as_it_is():
    found = parse_page(page("a+b%20&c.jpg", more="").body)
    assert found is not None
    assert [item.key for item in found.objects] == ["a+b%20&c.jpg"]


def test_page_invents_neither_etag_nor_time():
    found = parse_page(b"<ListBucketResult><Contents><Key>a</Key><Size>0</Size></Contents></ListBucketResult>")
    assert found is not None
    assert found.objects == [MediaObject("a", 0, None, None)]


def test_list_goes_on_where_a_page_ended(store):
    store.replies([page("a", "b", following="1/t+w="), page("c", following="three"), page("d")])
    assert [item.key for item in open_s3("photos").list("x y/")] == ["a", "b", "c", "d"]
    assert [seen.query.get("continuation-token") for seen in store.seen] == [None, "1/t+w=", "three"]
    assert {seen.query["prefix"] for seen in store.seen} == {"x y/"}
    assert {seen.query["encoding-type"] for seen in store.seen} == {"url"}
    assert len({seen.connection for seen in store.seen}) == 1


def test_list_asks_for_one_page_ahead_and_no_more(store):
    store.replies([page(f"{number}", following="more") for number in range(5)])
    listing = open_s3("photos").list("")
    assert store.seen == []
    next(listing)
    wait_for(lambda: len(store.seen) == 2, "the second page to be asked for")
    next(listing)
    wait_for(lambda: len(store.seen) == 3, "the third page to be asked for")
    assert len(store.script) == 2


def test_list_gives_what_came_before_an_error(store):
    store.replies([page("a", following="more"), Reply(409, b"")])
    listing = open_s3("photos").list("")
    assert next(listing).key == "a"
    with pytest.raises(RequestRefused):
        next(listing)


def test_folders_are_named_without_what_is_above(store):
    folders = "".join(f"<CommonPrefixes><Prefix>x%20y/{name}/</Prefix></CommonPrefixes>" for name in ("a+1", "b%2B/"))
    store.replies([page(more=f"{folders}<EncodingType>url</EncodingType>")])
    assert list(open_s3("photos").folders("x y/")) == ["a 1", "b+/"]
    assert store.seen[0].query["delimiter"] == "/"


def test_list_gives_what_botocore_s_own_parser_gives(s3):
    for key in ("a b/1+2%.jpg", "é\t/日本.jpg", "//x"):
        s3.put(key, key.encode())
    theirs = s3.client.list_objects_v2(Bucket="photos")["Contents"]
    assert [(item.key, item.size, item.etag, item.modified) for item in open_s3("photos").list("")] == [
        (entry["Key"], entry["Size"], entry["ETag"].strip('"'), entry["LastModified"]) for entry in theirs
    ]


# reading and writing


def test_open_asks_for_the_listed_version_from_the_offset_on(store):
    bucket, item = open_s3("photos"), MediaObject("a/b c.jpg", 5, "0f-2", None)
    store.replies([Reply(body=b"12345"), Reply(206, b"45"), Reply(416, b"")])
    with bucket.open(item) as whole, bucket.open(item, 3) as rest, bucket.open(item, 5) as nothing:
        assert (whole.read(), rest.read(), nothing.read()) == (b"12345", b"45", b"")
    assert [seen.headers.get("range") for seen in store.seen] == [None, "bytes=3-", "bytes=5-"]
    assert {seen.headers["if-match"] for seen in store.seen} == {'"0f-2"'}
    assert {seen.path for seen in store.seen} == {"/photos/a/b%20c.jpg"}


def test_upload_of_several_parts_arrives_whole(s3, tmp_path):
    data = bytes(range(256)) * ((2 * PART + 1000) // 256)
    (tmp_path / "file").write_bytes(data)
    open_s3("photos").upload("x/big.bin", tmp_path / "file")
    assert s3.get("x/big.bin") == data
    found = open_s3("photos").find("x/big.bin")
    assert found is not None
    assert found.etag is not None
    assert found.etag.endswith("-3")
    assert found.modified is not None
    assert found.modified.tzinfo is UTC


def test_upload_that_fails_half_way_leaves_nothing(store, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * (PART + 1))
    begun = b"<InitiateMultipartUploadResult><UploadId>42</UploadId></InitiateMultipartUploadResult>"
    denied = Reply(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
    store.replies([Reply(body=begun), denied, denied])
    with pytest.raises(BadInput, match="s3:PutObject"):
        open_s3("photos").upload("a", tmp_path / "file")
    assert [seen.method for seen in store.seen if "uploads" in seen.query] == ["POST"]
    assert "complete" not in "".join(seen.body[:100].decode() for seen in store.seen if seen.method == "POST").lower()


def test_upload_to_another_store_keeps_to_what_all_stores_know(store, tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    store.replies([Reply(body=b"")])
    open_s3("photos").upload("a", tmp_path / "file")
    (seen,) = store.seen
    assert (seen.method, seen.body) == ("PUT", b"abc")
    assert [name for name in seen.headers if "checksum" in name or name in ("content-encoding", "x-amz-trailer")] == []


# settings


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({}, "https://photos.s3.amazonaws.com"),
        ({"AWS_REGION": "cn-north-1"}, "https://photos.s3.cn-north-1.amazonaws.com.cn"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9000/x"}, "http://127.0.0.1:9000"),
        ({"AWS_ENDPOINT_URL": "https://me:secret@store.example.com:9000"}, "https://store.example.com:9000"),
        ({"AWS_ENDPOINT_URL_S3": "https://store.example.com"}, "https://store.example.com"),
    ],
)
def test_endpoint_follows_the_settings(monkeypatch, variables, endpoint):
    set_aws(monkeypatch, {**KEYS, **variables})
    assert open_s3("photos").endpoint() == endpoint


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({}, "us-east-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "auto", "AWS_ENDPOINT_URL": "https://0123.r2.cloudflarestorage.com"}, "auto"),
    ],
)
def test_region_follows_the_settings(monkeypatch, variables, region):
    set_aws(monkeypatch, {**KEYS, **variables})
    (url,) = open_s3("photos").presign([MediaObject("a", None, None, None)], 60)
    assert f"%2F{region}%2Fs3%2F" in url


def test_profile_gives_credentials_and_region(monkeypatch, tmp_path):
    (tmp_path / "config").write_text("[profile work]\nregion = eu-north-1\n")
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = WORKER\naws_secret_access_key = x\n")
    files = {"AWS_CONFIG_FILE": f"{tmp_path}/config", "AWS_SHARED_CREDENTIALS_FILE": f"{tmp_path}/credentials"}
    set_aws(monkeypatch, {**files, "AWS_PROFILE": "work"})
    (url,) = open_s3("photos").presign([MediaObject("a", None, None, None)], 60)
    assert "X-Amz-Credential=WORKER%2F" in url
    assert "%2Feu-north-1%2Fs3%2F" in url


# lifetime


def test_keys_without_an_end_have_none(monkeypatch):
    set_aws(monkeypatch, KEYS)
    assert open_s3("photos").longest_lifetime() is None
    set_aws(monkeypatch, {**KEYS, "AWS_SESSION_TOKEN": TOKEN})
    assert open_s3("photos").longest_lifetime() is None


def lifetime_left(bucket) -> timedelta:
    left = bucket.longest_lifetime()
    assert left is not None
    return timedelta(seconds=left)


def test_session_s_end_in_the_environment_is_known(monkeypatch):
    end = datetime.now(UTC) + timedelta(hours=5)
    set_aws(monkeypatch, {**KEYS, "AWS_SESSION_TOKEN": TOKEN, "AWS_CREDENTIAL_EXPIRATION": end.isoformat()})
    assert timedelta(hours=4.9) < lifetime_left(open_s3("photos")) <= timedelta(hours=5)


def test_end_of_credentials_that_a_process_gave_is_known(monkeypatch, tmp_path):
    end = datetime.now(UTC) + timedelta(hours=1)
    fields = {"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "s", "SessionToken": "t"}
    (tmp_path / "issued").write_text(json.dumps({**fields, "Expiration": end.isoformat()}))
    (tmp_path / "config").write_text(f"[default]\ncredential_process = cat {tmp_path}/issued\n")
    set_aws(monkeypatch, {"AWS_CONFIG_FILE": f"{tmp_path}/config"})
    assert timedelta(minutes=59) < lifetime_left(open_s3("photos")) <= timedelta(hours=1)


# imports


def test_amazon_s_library_is_imported_for_its_scheme_alone():
    code = "import sys, tasks.sources.registry; print([name for name in sys.modules if name.startswith('boto')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
