"""A container of Azure against a scripted server: what is asked, what comes back, and which error."""

import base64
import inspect
import logging
import socket
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from azure.core import exceptions as azure_errors
from azure.storage.blob import BlobClient, ExponentialRetry, generate_blob_sas
from pydantic import SecretStr

from tasks.core.errors import BadInput, ConnectionFailed, DarkroomError, LocalFault, RequestRefused, ServiceBusy
from tasks.sources.azure import AzureContainer, open_azure
from tasks.sources.azure_errors import LIBRARY_ERRORS, Asked, azure_error
from tasks.sources.azure_settings import AzureLogin, SasToken
from tasks.sources.base import MediaObject, SourceChanged
from tasks.sources.bucket import Bucket
from tests.scripted import Reply, Scripted, scripted_server
from tests.tasks.sources.contents import HOSTILE, HOSTILE_IN_CLOUDS, NOT_THERE

NOW = datetime(2026, 9, 15, 12, 0, 0, 500, tzinfo=UTC)
MD5 = bytes(range(16))
KEY = base64.b64encode(b"key-of-the-account").decode()
SIGNATURE = "c2VjcmV0LXNpZ25hdHVyZQ%3D%3D"
LISTED = MediaObject("a b/ü.jpg", 5, "0x8DC0001", datetime(2026, 9, 15, 11, tzinfo=UTC), f"md5:{MD5.hex()}")
ONCE = ExponentialRetry(retry_total=0)
AT_ONCE = ExponentialRetry(initial_backoff=0, increment_base=0, retry_total=3, random_jitter_range=0)
KEYS = ["plain.jpg", *(key for key in (*HOSTILE, *HOSTILE_IN_CLOUDS) if NOT_THERE["azure"] not in key)]


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as running:
        yield running


@pytest.fixture
def container(server) -> AzureContainer:
    """The container by key, which tries everything once."""
    return AzureContainer("photos", by_key(server.url), ONCE, lambda: NOW)


def by_key(url: str) -> AzureLogin:
    return AzureLogin("account1", f"{url}/account1", key=SecretStr(KEY))


def by_sas(url: str, permissions: str | None = "rl", ends: datetime | None = NOW + timedelta(hours=6)) -> AzureLogin:
    sas = SasToken(f"sv=2026-02-06&sr=c&sp={permissions}&sig={SIGNATURE}", permissions, ends)
    return AzureLogin("account1", f"{url}/account1", sas=sas)


def page(*blobs: str, more: str = "", prefix: str = "") -> Reply:
    asked = f"<Prefix>{prefix}</Prefix><MaxResults>5000</MaxResults>"
    body = f"{asked}<Blobs>{''.join(blobs)}</Blobs><NextMarker>{more}</NextMarker>"
    return xml(200, f"<EnumerationResults ContainerName='photos'>{body}</EnumerationResults>")


def blob(name: str = LISTED.key, properties: str = "", metadata: str = "", encoded: str = "") -> str:
    return (
        f"<Blob><Name{encoded}>{name}</Name><Properties><Last-Modified>Tue, 15 Sep 2026 11:00:00 GMT</Last-Modified>"
        f"<Etag>0x8DC0001</Etag><Content-Length>5</Content-Length><BlobType>BlockBlob</BlobType>{properties}</Properties>"
        f"<Metadata>{metadata}</Metadata><OrMetadata /></Blob>"
    )


def xml(status: int, body: str, **headers: str) -> Reply:
    return Reply(
        status, ("\ufeff<?xml version='1.0'?>" + body).encode(), {"Content-Type": "application/xml", **headers}
    )


def refusal(status: int, code: str) -> Reply:
    body = f"<Error><Code>{code}</Code><Message>The MAC {SIGNATURE} and {KEY} are wrong.</Message></Error>"
    return xml(status, body, **{"x-ms-error-code": code, "Retry-After": "7"})


def content(start: int, body: bytes, whole: int = 5) -> Reply:
    told = f"bytes {start}-{start + len(body) - 1}/{whole}"
    return Reply(206, body, {"Content-Range": told, "ETag": '"0x8DC0001"', "Content-Type": "image/jpeg"})


def test_container_is_one_of_ours(container, server) -> None:
    as_protocol: Bucket = container
    assert (as_protocol.scheme, as_protocol.name, as_protocol.pins_versions) == ("az", "photos", False)
    assert as_protocol.longest_lifetime() is None
    assert as_protocol.endpoint() == server.url


def test_list_streams_pages(container, server) -> None:
    md5 = f"<Content-MD5>{base64.b64encode(MD5).decode()}</Content-MD5>"
    server.replies([page(blob(properties=md5), more="next", prefix="a b/"), page(blob("b.jpg"), blob("c.jpg"))])
    found = container.list("a b/")
    assert next(found) == LISTED
    assert len(server.seen) == 1
    assert [(item.key, item.checksum) for item in found] == [("b.jpg", None), ("c.jpg", None)]
    assert [asked.query.get("marker") for asked in server.seen] == [None, "next"]
    assert {(asked.query["prefix"], asked.query["maxresults"]) for asked in server.seen} == {("a b/", "5000")}


def test_markers_of_folders_are_left_out(container, server) -> None:
    folder = blob("folder", properties="<ResourceType>directory</ResourceType>")
    marked = blob("marked", metadata="<hdi_isfolder>true</hdi_isfolder>")
    kept = blob("kept", properties="<ResourceType>file</ResourceType>", metadata="<owner>me</owner>")
    server.replies([page(folder, marked, kept)])
    assert [item.key for item in container.list("")] == ["kept"]


def test_name_that_xml_cannot_hold_is_decoded_and_others_are_not(container, server) -> None:
    server.replies([page(blob("a%01b.jpg", encoded=' Encoded="true"'), blob("a%01b.jpg"))])
    assert [item.key for item in container.list("")] == ["a\x01b.jpg", "a%01b.jpg"]


def test_empty_container_lists_nothing(container, server) -> None:
    server.replies([page()])
    assert list(container.list("")) == []


def test_folders_are_asked_for_by_delimiter(container, server) -> None:
    folders = "<BlobPrefix><Name>2024/a b/</Name></BlobPrefix><BlobPrefix><Name>2024/ü/</Name></BlobPrefix>"
    server.replies([page(folders, blob("2024/x.jpg"))])
    assert list(container.folders("2024/")) == ["a b", "ü"]
    assert (server.seen[0].query["delimiter"], server.seen[0].query["prefix"]) == ("/", "2024/")


@pytest.mark.parametrize("offset", [0, 2])
def test_open_asks_for_the_version_that_was_listed(container, server, offset) -> None:
    server.replies([content(offset, b"hello"[offset:])])
    with container.open(LISTED, offset) as file:
        assert file.read() == b"hello"[offset:]
    (asked,) = server.seen
    assert asked.headers["if-match"] == '"0x8DC0001"'
    assert asked.headers["x-ms-range"] == f"bytes={offset}-4"


def test_upload_sends_the_file_in_one_request(container, server, tmp_path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b"content")
    server.replies([Reply(201, b"", {"ETag": '"1"'})])
    container.upload("out/a.json", file)
    (asked,) = server.seen
    assert (asked.method, asked.path, asked.body) == ("PUT", "/account1/photos/out/a.json", b"content")
    assert asked.headers["x-ms-blob-content-type"] == "application/json"
    assert "if-none-match" not in asked.headers


def test_upload_of_a_file_that_is_not_there_is_a_local_fault(container, tmp_path) -> None:
    with pytest.raises(LocalFault):
        container.upload("a", tmp_path / "missing")


@pytest.mark.parametrize(
    ("endpoint", "protocol"),
    [("https://account1.blob.core.windows.net", "https"), ("http://127.0.0.1:10000/account1", None)],
)
def test_urls_of_a_key_are_the_vendors_byte_for_byte(endpoint, protocol) -> None:
    container = AzureContainer("photos", AzureLogin("account1", endpoint, key=SecretStr(KEY)), ONCE, now=lambda: NOW)
    asked = {"account_key": KEY, "permission": "r", "expiry": NOW + timedelta(hours=24), "protocol": protocol}
    vendors = [
        f"{BlobClient(endpoint, 'photos', key).url}?{generate_blob_sas('account1', 'photos', key, **asked)}"
        for key in KEYS
    ]
    assert list(container.presign((MediaObject(key, 1, "1", None) for key in KEYS), 86400)) == vendors
    assert all("se=2026-09-16T12%3A00%3A00Z&sp=r&" in url and "sr=b" in url for url in vendors)


def test_urls_of_a_token_carry_it_and_end_with_it(server) -> None:
    login = by_sas(server.url)
    container = AzureContainer("$web", login, ONCE, lambda: NOW)
    assert login.sas is not None
    assert list(container.presign([LISTED], 60)) == [f"{server.url}/account1/%24web/a%20b/%C3%BC.jpg?{login.sas.text}"]
    assert container.longest_lifetime() == 6 * 3600
    assert AzureContainer("photos", by_sas(server.url, ends=None), ONCE, lambda: NOW).longest_lifetime() is None
    later = AzureContainer("photos", login, ONCE, lambda: NOW + timedelta(days=1))
    assert later.longest_lifetime() == 0


def test_token_goes_with_every_request_and_into_no_log(server, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    server.replies([page(blob(), more="next"), page()])
    assert list(AzureContainer("photos", by_sas(server.url), ONCE).list(""))
    assert {asked.query["sig"] for asked in server.seen} == {"c2VjcmV0LXNpZ25hdHVyZQ=="}
    assert "urllib3.connectionpool" in {record.name for record in caplog.records}
    assert "c2VjcmV0" not in caplog.text


def test_token_that_does_not_allow_it_is_refused_before_anything_is_sent(server, tmp_path) -> None:
    container = AzureContainer("photos", by_sas(server.url, "a"), ONCE)
    for attempt in (
        lambda: list(container.list("")),
        lambda: list(container.folders("")),
        lambda: container.open(LISTED),
        lambda: container.presign([LISTED], 60),
        lambda: container.upload("a", tmp_path / "a"),
    ):
        with pytest.raises(BadInput, match=r"AZURE_STORAGE_SAS_TOKEN does not allow .*sp=a"):
            attempt()
    assert server.seen == []


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (refusal(404, "ContainerNotFound"), BadInput, "no container az://photos in account account1"),
        (refusal(409, "ContainerBeingDeleted"), BadInput, "no container az://photos"),
        (refusal(404, "ResourceNotFound"), BadInput, "no container az://photos"),
        (Reply(404, b"<html>"), BadInput, "no container az://photos"),
        (refusal(403, "AuthenticationFailed"), BadInput, "AZURE_STORAGE_ACCOUNT_KEY: it is not a key of account acc"),
        (refusal(401, "InvalidAuthenticationInfo"), BadInput, "AZURE_STORAGE_ACCOUNT_KEY"),
        (refusal(403, "AuthorizationFailure"), BadInput, r"ACCOUNT_KEY .*AuthorizationFailure\): .*network rules"),
        (Reply(403, b"<html>"), BadInput, "refused AZURE_STORAGE_ACCOUNT_KEY"),
        (refusal(401, "NoAuthenticationInformation"), BadInput, "refused AZURE_STORAGE_ACCOUNT_KEY for az://photos"),
        (refusal(409, "PublicAccessNotPermitted"), BadInput, "refused AZURE_STORAGE_ACCOUNT_KEY for az://photos"),
        (refusal(403, "KeyBasedAuthenticationNotPermitted"), BadInput, "takes no keys: set AZURE_STORAGE_SAS_TOKEN"),
        (refusal(403, "AccountIsDisabled"), BadInput, "account1 is disabled"),
        (refusal(400, "InvalidResourceName"), BadInput, "no such name"),
        (refusal(400, "InvalidQueryParameterValue"), RequestRefused, "400 InvalidQueryParameterValue"),
        (refusal(408, "OperationTimedOut"), ServiceBusy, "408"),
        (refusal(429, "TooManyRequests"), ServiceBusy, "429"),
        (refusal(500, "InternalError"), ServiceBusy, "500"),
        (refusal(503, "ServerBusy"), ServiceBusy, "503"),
        (xml(200, "<html>log in"), BadInput, "is not Azure storage: check AZURE_STORAGE_SERVICE_ENDPOINT"),
        (Reply(502, b"<html>bad gateway</html>"), ServiceBusy, "502"),
        (Reply(reset=True), ConnectionFailed, "check the network"),
        (Reply(200, b"x" * 50, cut=10), ConnectionFailed, "check the network"),
    ],
)
def test_refused_listing_says_why_without_a_secret(container, server, answer, kind, told) -> None:
    server.replies([answer])
    with pytest.raises(DarkroomError, match=told) as caught:
        list(container.list(""))
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert_silent(caught.value)
    if kind is ServiceBusy and "Retry-After" in answer.headers:
        assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (refusal(404, "BlobNotFound"), SourceChanged, "not there any more"),
        (refusal(412, "ConditionNotMet"), SourceChanged, "changed"),
        (refusal(416, "InvalidRange"), SourceChanged, "changed"),
        (refusal(409, "BlobArchived"), SourceChanged, "archive tier"),
        (refusal(404, "ContainerNotFound"), BadInput, "no container"),
        (refusal(403, "AuthorizationPermissionMismatch"), BadInput, "refused AZURE_STORAGE_ACCOUNT_KEY"),
        (refusal(503, "ServerBusy"), ServiceBusy, "503"),
        (Reply(reset=True), ConnectionFailed, "network"),
    ],
)
def test_refused_object_says_why(container, server, answer, kind, told) -> None:
    server.replies([answer])
    with pytest.raises(DarkroomError, match=told) as caught:
        container.open(LISTED)
    assert type(caught.value) is kind
    assert_silent(caught.value)


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        (datetime(2020, 1, 1, tzinfo=UTC), "expired at 2020-01-01 00:00 UTC"),
        (datetime(2200, 1, 1, tzinfo=UTC), "refused AZURE_STORAGE_SAS_TOKEN for az://photos"),
        (None, "refused AZURE_STORAGE_SAS_TOKEN for az://photos"),
    ],
)
def test_refused_token_is_told_from_an_expired_one(server, ends, told) -> None:
    server.replies([refusal(403, "AuthenticationFailed"), Reply(reset=True)])
    container = AzureContainer("photos", by_sas(server.url, ends=ends), ONCE)
    with pytest.raises(BadInput, match=told) as caught:
        list(container.list(""))
    assert_silent(caught.value)
    with pytest.raises(ConnectionFailed) as lost:
        list(container.list(""))
    assert_silent(lost.value)


@pytest.mark.parametrize("code", ["AuthorizationPermissionMismatch", "AuthorizationResourceTypeMismatch"])
def test_token_that_allows_too_little_is_told_what_it_needs(server, code) -> None:
    server.replies([refusal(403, code)])
    with pytest.raises(BadInput, match=rf"SAS_TOKEN .*{code}.* r and l .*containers and objects") as caught:
        list(AzureContainer("photos", by_sas(server.url, None), ONCE).list(""))
    assert_silent(caught.value)


def test_busy_service_is_asked_again(server) -> None:
    container = AzureContainer("photos", by_key(server.url), AT_ONCE)
    server.replies([refusal(503, "ServerBusy"), Reply(reset=True), refusal(500, "InternalError"), page(blob())])
    assert [item.key for item in container.list("")] == [LISTED.key]


def test_retries_have_an_end(server) -> None:
    container = AzureContainer("photos", by_key(server.url), AT_ONCE)
    server.replies([refusal(503, "ServerBusy")] * 20)
    with pytest.raises(ServiceBusy):
        list(container.list(""))
    assert len(server.seen) == 4


@pytest.mark.parametrize(
    ("number", "kind", "told"),
    [
        (socket.EAI_NONAME, BadInput, r"account1 does not exist: check AZURE_STORAGE_ACCOUNT_NAME"),
        (socket.EAI_AGAIN, ConnectionFailed, "check the network"),
    ],
)
def test_account_that_does_not_resolve_is_told_from_a_lost_network(monkeypatch, number, kind, told) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(number, "no")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    container = AzureContainer("photos", by_key("http://nowhere.invalid"), ONCE)
    with pytest.raises(kind, match=told):
        list(container.list(""))


@pytest.mark.parametrize("name", ["Photos", "ab", "a--b", "-ab", "ab-", "a_b", "a" * 64, "$other", "photos/x"])
def test_name_that_no_container_can_have_is_refused_at_once(name) -> None:
    with pytest.raises(BadInput, match="is no container"):
        open_azure(name)


@pytest.mark.parametrize("name", ["abc", "a-b", "2024-photos", "a" * 63, "$root", "$web"])
def test_container_is_opened_as_the_environment_says(monkeypatch, name) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "account1")
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    for variable in ("ACCOUNT_NAME", "ACCOUNT_KEY", "SAS_TOKEN", "SERVICE_ENDPOINT"):
        monkeypatch.delenv(f"AZURE_STORAGE_{variable}", raising=False)
    assert open_azure(name).endpoint() == "https://account1.blob.core.windows.net"
    assert open_azure(name, "archive1").endpoint() == "https://archive1.blob.core.windows.net"


def test_no_class_of_the_library_is_unmapped() -> None:
    found = [
        kind
        for _, kind in inspect.getmembers(azure_errors, inspect.isclass)
        if kind.__module__ == azure_errors.__name__ and issubclass(kind, Exception)
    ]
    assert len(found) > 15
    assert [kind for kind in found if not issubclass(kind, LIBRARY_ERRORS)] == []
    asked = Asked("photos", by_key("http://127.0.0.1:1"))
    assert [kind for kind in found if not isinstance(azure_error(made(kind), asked), DarkroomError)] == []


def made(kind: type[Exception]) -> Exception:
    """An instance, whatever its constructor wants."""
    for arguments in (("text",), (None,), (None, None)):
        try:
            return kind(*arguments)
        except (TypeError, AttributeError):
            continue
    return kind.__new__(kind)


def assert_silent(error: BaseException) -> None:
    """Neither key nor token shows, not even in a traceback's chain."""
    shown = "".join(traceback.format_exception(error))
    assert KEY not in shown
    assert "c2VjcmV0" not in shown
