"""A bucket of Google Cloud Storage against a scripted server: what is asked, what comes back, and which error."""

import base64
import inspect
import json
import socket
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import google.auth.exceptions
import pytest
import requests
import urllib3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tasks.core.errors import BadInput, ConnectionFailed, DarkroomError, LocalFault, RequestRefused, ServiceBusy
from tasks.sources.base import MediaObject, SourceChanged
from tasks.sources.bucket import Bucket
from tasks.sources.gcs import RETRY, GcsBucket, open_gcs
from tasks.sources.gcs_errors import LIBRARY_ERRORS, Asked, gcs_error
from tasks.sources.gcs_library import InvalidResponse, Retry, api_errors
from tests.scripted import Reply, Scripted, scripted_server

MD5 = bytes(range(16))
LISTED = MediaObject("a b/ü.jpg", 5, "1700000000000001", datetime(2026, 9, 15, 12, tzinfo=UTC), f"md5:{MD5.hex()}")
NO_BUCKET = "The specified bucket does not exist."
DENIED = (
    "sa@p.iam.gserviceaccount.com does not have storage.objects.list access to the Google Cloud Storage bucket. "
    "Permission 'storage.objects.list' denied on resource (or it may not exist)."
)


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch, tmp_path) -> None:
    """Nothing of this machine's own, and no metadata server."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no-gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as running:
        yield running


@pytest.fixture
def bucket(server, monkeypatch) -> GcsBucket:
    """The bucket on the scripted server, which tries everything once."""
    return opened(server, monkeypatch, None)


def opened(server: Scripted, monkeypatch, retry: Retry | None) -> GcsBucket:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    found = open_gcs("photos")
    return GcsBucket(found._client, "photos", found._credentials, retry)


def refusal(status: int, message: str) -> Reply:
    body = json.dumps({"error": {"code": status, "message": message}}).encode()
    return Reply(status, body, {"Content-Type": "application/json", "Retry-After": "7"})


def entry(**changed: object) -> dict[str, object]:
    told = {
        "name": LISTED.key,
        "size": "5",
        "generation": LISTED.etag,
        "updated": "2026-09-15T12:00:00.000Z",
        "md5Hash": base64.b64encode(MD5).decode(),
        "crc32c": "AAAAAQ==",
    }
    return {name: value for name, value in {**told, **changed}.items() if value is not None}


def test_bucket_is_one_of_ours(bucket) -> None:
    assert isinstance(bucket, GcsBucket)
    as_protocol: Bucket = bucket
    assert (as_protocol.scheme, as_protocol.name, as_protocol.pins_versions) == ("gs", "photos", True)
    assert as_protocol.longest_lifetime() is None


def test_list_streams_pages_of_the_fields_that_are_needed(bucket, server) -> None:
    server.answers(
        {"items": [entry()], "nextPageToken": "more"},
        {"items": [entry(name="b.jpg", md5Hash=None), entry(name="c.jpg", md5Hash=None, crc32c=None)]},
    )
    found = bucket.list("a b/")
    assert next(found) == LISTED
    assert len(server.seen) == 1
    assert [(item.key, item.checksum) for item in found] == [("b.jpg", "crc32c:00000001"), ("c.jpg", None)]
    assert [asked.query.get("pageToken") for asked in server.seen] == [None, "more"]
    assert {asked.query["prefix"] for asked in server.seen} == {"a b/"}
    assert server.seen[0].query["fields"] == "items(name,size,generation,updated,md5Hash,crc32c),nextPageToken"
    assert "authorization" not in server.seen[0].headers


def test_empty_bucket_lists_nothing(bucket, server) -> None:
    server.answers({"kind": "storage#objects"})
    assert list(bucket.list("")) == []


def test_folders_are_asked_for_by_delimiter(bucket, server) -> None:
    server.answers({"prefixes": ["2024/a b/", "2024/ü/"], "nextPageToken": "more"}, {"prefixes": ["2024/z/"]})
    assert list(bucket.folders("2024/")) == ["a b", "ü", "z"]
    assert {(asked.query["delimiter"], asked.query["prefix"]) for asked in server.seen} == {("/", "2024/")}


@pytest.mark.parametrize("offset", [0, 2])
def test_open_asks_for_the_generation_that_was_listed(bucket, server, offset) -> None:
    server.replies([Reply(206, b"hello"[offset:])])
    with bucket.open(LISTED, offset) as file:
        assert file.read() == b"hello"[offset:]
    (asked,) = server.seen
    assert asked.query["generation"] == LISTED.etag
    assert asked.headers["range"] == f"bytes={offset}-4"


def test_empty_object_is_opened_without_a_range(bucket, server) -> None:
    server.replies([Reply(200, b"")])
    with bucket.open(MediaObject("empty.jpg", 0, "1", None)) as file:
        assert file.read() == b""
    assert "range" not in server.seen[0].headers


def test_find_tells_the_object_or_none(bucket, server) -> None:
    server.answers(entry())
    server.replies([refusal(404, "No such object: photos/a b/ü.jpg")])
    assert bucket.find(LISTED.key) == LISTED
    assert bucket.find(LISTED.key) is None


def test_find_in_a_bucket_that_is_not_there_is_no_missing_object(bucket, server) -> None:
    server.replies([refusal(404, NO_BUCKET)])
    with pytest.raises(BadInput, match="no bucket gs://photos"):
        bucket.find("a.jpg")


def test_upload_sends_the_file_as_one_object(bucket, server, tmp_path) -> None:
    file = tmp_path / "a.parquet"
    file.write_bytes(b"content")
    server.answers({"name": "out/a.parquet"})
    bucket.upload("out/a.parquet", file)
    (asked,) = server.seen
    assert asked.path == "/upload/storage/v1/b/photos/o"
    assert b'"name": "out/a.parquet"' in asked.body
    assert b"content" in asked.body


def test_upload_of_a_file_that_is_not_there_is_a_local_fault(bucket, tmp_path) -> None:
    with pytest.raises(LocalFault):
        bucket.upload("a", tmp_path / "missing")


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (refusal(404, NO_BUCKET), BadInput, "no bucket gs://photos"),
        (refusal(404, "Not Found"), BadInput, "no bucket gs://photos"),
        (refusal(403, DENIED), BadInput, r"storage\.objects\.list .*Storage Object Viewer"),
        (refusal(403, "The billing account is disabled in state closed"), BadInput, "billing account is disabled"),
        (refusal(401, "Anonymous caller does not have storage.objects.list access"), BadInput, "gcloud auth"),
        (refusal(400, "Bucket is a requester pays bucket but no user project provided."), BadInput, "requester pays"),
        (refusal(412, "conditionNotMet"), SourceChanged, "changed"),
        (refusal(408, "slow"), ServiceBusy, "408"),
        (refusal(429, "rate"), ServiceBusy, "429"),
        (refusal(503, "unavailable"), ServiceBusy, "503"),
        (refusal(410, "gone"), RequestRefused, "410"),
        (Reply(200, b"<html>log in</html>"), BadInput, "is not Google Cloud Storage"),
        (Reply(502, b"<html>bad gateway</html>"), ServiceBusy, "502"),
        (Reply(503, b'{"error": "upstream"}'), ServiceBusy, "not Google's"),
        (Reply(reset=True), ConnectionFailed, "check the network"),
        (Reply(200, b"x" * 50, cut=10), ConnectionFailed, "check the network"),
    ],
)
def test_refused_listing_says_why(bucket, server, answer, kind, told) -> None:
    server.replies([answer])
    with pytest.raises(DarkroomError, match=told) as caught:
        list(bucket.list(""))
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    if kind is ServiceBusy and answer.headers:
        assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(404, "No such object: photos/a b/ü.jpg"), SourceChanged),
        (Reply(404, b""), SourceChanged),
        (refusal(404, NO_BUCKET), BadInput),
        (refusal(412, "conditionNotMet"), SourceChanged),
        (refusal(416, "requested range not satisfiable"), SourceChanged),
        (refusal(403, DENIED.replace("list", "get")), BadInput),
        (refusal(503, "unavailable"), ServiceBusy),
        (Reply(206, b"hello", cut=2), ConnectionFailed),
        (Reply(reset=True), ConnectionFailed),
    ],
)
def test_refused_object_says_why(bucket, server, answer, kind) -> None:
    server.replies([answer])
    with pytest.raises(DarkroomError) as caught:
        bucket.open(LISTED)
    assert type(caught.value) is kind


def test_upload_that_may_not_write_names_the_role(bucket, server, tmp_path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    server.replies([refusal(403, DENIED.replace("objects.list", "objects.create"))])
    with pytest.raises(BadInput, match=r"storage\.objects\.create .*Storage Object User"):
        bucket.upload("a", tmp_path / "a")


def test_busy_service_is_asked_again(server, monkeypatch) -> None:
    bucket = opened(server, monkeypatch, RETRY.with_delay(initial=0.001, maximum=0.001))
    server.replies([refusal(503, "unavailable"), refusal(429, "rate"), Reply(reset=True)])
    server.answers({"items": [entry()]})
    assert list(bucket.list("")) == [LISTED]


def test_retries_have_an_end(server, monkeypatch) -> None:
    bucket = opened(server, monkeypatch, RETRY.with_delay(initial=0.001, maximum=0.001).with_timeout(0.05))
    server.replies([refusal(503, "unavailable")] * 1000)
    with pytest.raises(ServiceBusy):
        list(bucket.list(""))
    assert server.script


@pytest.mark.parametrize("name", ["Photos", "a", "a/b", "-photos", "ph otos", "photos-"])
def test_name_that_no_bucket_can_have_is_refused_at_once(name) -> None:
    with pytest.raises(BadInput, match="is no bucket"):
        open_gcs(name)


def test_missing_credentials_name_the_variable_and_the_login() -> None:
    with pytest.raises(BadInput, match=r"GOOGLE_APPLICATION_CREDENTIALS.*gcloud auth application-default login"):
        open_gcs("photos")


def test_credentials_file_that_is_not_there_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(BadInput, match=r"none\.json, which does not exist"):
        open_gcs("photos")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"[]", b"{}", b'{"type": "service_account"}', b'{"type": "authorized_user"}']
)
def test_damaged_credentials_file_is_named(monkeypatch, tmp_path, content) -> None:
    file = tmp_path / "damaged.json"
    file.write_bytes(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(BadInput, match=r"damaged\.json, which cannot be used"):
        open_gcs("photos")


def test_key_file_whose_private_key_is_damaged_is_named(monkeypatch, tmp_path, server) -> None:
    file = service_account(tmp_path, server, private_key="-----BEGIN PRIVATE KEY-----\nsecret\n")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(BadInput, match="cannot be used") as caught:
        open_gcs("photos")
    assert "secret" not in shown(caught.value)


def test_revoked_credentials_say_so(monkeypatch, tmp_path, server) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path, server)))
    body = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    server.replies([Reply(400, json.dumps(body).encode(), {"Content-Type": "application/json"})])
    with pytest.raises(BadInput, match=r"refused the credentials .*expired or revoked"):
        list(open_gcs("photos").list(""))
    assert server.seen[0].path == "/token"


def test_users_own_login_cannot_sign(monkeypatch, tmp_path) -> None:
    file = tmp_path / "user.json"
    file.write_text(
        json.dumps({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"})
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(BadInput, match="--transfer upload"):
        open_gcs("photos").presign([LISTED], 60)


def test_emulator_is_asked_without_a_token_and_the_key_file_signs(monkeypatch, tmp_path, server) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path, server)))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url.removeprefix("http://") + "/")
    bucket = open_gcs("photos")
    server.answers({"items": [entry()]})
    (url,) = bucket.presign(bucket.list(""), 60)
    assert [asked.path for asked in server.seen] == ["/storage/v1/b/photos/o"]
    assert url.startswith(f"{server.url}/photos/a%20b/%C3%BC.jpg?X-Goog-Algorithm=")
    assert bucket.endpoint() == server.url


def test_no_class_of_the_libraries_is_unmapped() -> None:
    storage_errors = sys.modules[InvalidResponse.__module__]
    modules = (api_errors, google.auth.exceptions, storage_errors, requests.exceptions)
    found = [
        kind
        for module in (*modules, urllib3.exceptions)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and issubclass(kind, Exception)
        if not issubclass(kind, Warning | NotImplementedError)
    ]
    found.remove(storage_errors.InvalidPathError)  # of many downloads to files at once, unused here
    found.remove(urllib3.exceptions.ProxySchemeUnsupported)  # of a Python without TLS contexts
    assert len(found) > 60
    assert [kind for kind in found if not issubclass(kind, LIBRARY_ERRORS)] == []
    assert [kind for kind in found if not isinstance(gcs_error(made(kind), Asked("photos")), DarkroomError)] == []


def test_unknown_host_of_google_is_no_connection(monkeypatch) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://nowhere.invalid")
    found = open_gcs("photos")
    with pytest.raises(ConnectionFailed):
        list(GcsBucket(found._client, "photos", None, None).list(""))


def made(kind: type[Exception]) -> Exception:
    """An instance, whatever its constructor wants."""
    for count in (1, 2, 3):
        try:
            return kind(*["text"] * count)
        except (TypeError, AttributeError):
            continue
    return kind.__new__(kind)


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def service_account(folder: Path, server: Scripted, **changed: str) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    told = {
        "type": "service_account",
        "project_id": "project",
        "private_key": pem.decode(),
        "client_email": "darkroom@project.iam.gserviceaccount.com",
        "token_uri": f"{server.url}/token",
    }
    file = folder / "account.json"
    file.write_text(json.dumps(told | changed))
    return file
