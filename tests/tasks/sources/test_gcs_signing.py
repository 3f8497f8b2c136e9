"""Signed URLs of Google Cloud Storage: byte for byte the vendor's, in order, and few ahead."""

import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import compute_engine
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import Request
from google.oauth2 import credentials as user
from google.oauth2 import service_account

from tasks.core.errors import BadInput, ConnectionFailed, ServiceBusy
from tasks.sources.base import MediaObject
from tasks.sources.gcs_library import storage
from tasks.sources.gcs_signing import MOST_SECONDS, Signer, sign_urls, signer_of, signs_remotely
from tests.scripted import Reply, Scripted, scripted_server
from tests.tasks.sources.contents import HOSTILE, HOSTILE_IN_CLOUDS

NOW = datetime(2026, 9, 15, 23, 59, 58, tzinfo=UTC)
PLACE = ("https://storage.googleapis.com", "photos")
EMAIL = "darkroom@project.iam.gserviceaccount.com"
KEYS = ["plain.jpg", *HOSTILE, *HOSTILE_IN_CLOUDS]


@pytest.fixture(scope="module")
def account() -> service_account.Credentials:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    info = {"client_email": EMAIL, "token_uri": "http://127.0.0.1:1/token", "private_key": pem.decode()}
    return service_account.Credentials.from_service_account_info(info)  # type: ignore[no-untyped-call,no-any-return]


def item(key: str, generation: str | None = "1700000000000001") -> MediaObject:
    return MediaObject(key, 1, generation, None)


@pytest.mark.parametrize("endpoint", [PLACE[0], "http://127.0.0.1:9023"])
@pytest.mark.parametrize("generation", ["1700000000000001", None])
def test_urls_are_the_vendors_byte_for_byte(account, monkeypatch, endpoint, generation) -> None:
    monkeypatch.setattr("google.cloud.storage._signing._NOW", lambda zone: NOW)
    bucket = storage.Client(project=None, credentials=account).bucket("photos")
    vendors = [
        bucket.blob(key).generate_signed_url(
            timedelta(hours=24),
            endpoint,
            version="v4",
            query_parameters={"generation": generation} if generation else None,
        )
        for key in KEYS
    ]
    items = [item(key, generation) for key in KEYS]
    ours = sign_urls(items, (endpoint, "photos"), signer_of(account, None), 86400, lambda: NOW)
    assert list(ours) == vendors
    assert all(("&generation=1700000000000001&" in url) is bool(generation) for url in vendors)


def test_urls_come_in_order_whichever_batch_is_signed_first() -> None:
    late = threading.Event()

    def sign(message: bytes) -> bytes:
        if threading.current_thread().name.endswith("_0"):
            late.wait(10)
        else:
            late.set()
        return b"\x01"

    items = [item(f"{number:04}.jpg") for number in range(500)]
    urls = list(sign_urls(items, PLACE, Signer(EMAIL, sign, 3), 60, lambda: NOW))
    assert [url.partition("?")[0][-8:] for url in urls] == [media.key for media in items]


def test_only_a_few_items_are_taken_ahead() -> None:
    taken = []

    def items() -> Iterator[MediaObject]:
        for number in range(100_000):
            taken.append(number)
            yield item(f"{number}.jpg")

    urls = sign_urls(items(), PLACE, Signer(EMAIL, lambda message: b"\x01", 2), 60)
    next(urls)
    assert 1 <= len(taken) <= 300
    urls.close()  # type: ignore[attr-defined]


def test_each_batch_is_dated_when_it_is_signed() -> None:
    times = iter(NOW + timedelta(hours=hour) for hour in range(100))
    items = [item(f"{number}.jpg") for number in range(200)]
    urls = list(sign_urls(items, PLACE, Signer(EMAIL, lambda message: b"\x01", 1), 60, lambda: next(times)))
    assert "X-Goog-Date=20260915T235958Z" in urls[0]
    assert "X-Goog-Date=20260916T" in urls[-1]


def test_more_than_seven_days_are_refused(account) -> None:
    with pytest.raises(BadInput, match="7 days"):
        sign_urls([], PLACE, signer_of(account, None), MOST_SECONDS + 1)
    assert list(sign_urls([], PLACE, signer_of(account, None), MOST_SECONDS)) == []


@pytest.mark.parametrize("credentials", [user.Credentials("token"), AnonymousCredentials()])  # type: ignore[no-untyped-call]
def test_credentials_without_a_key_cannot_sign(credentials) -> None:
    with pytest.raises(BadInput, match=r"GOOGLE_APPLICATION_CREDENTIALS.*--transfer upload"):
        signer_of(credentials, None)
    assert not signs_remotely(credentials)


class _Redirected(Request):
    """Google's transport, with every request sent to the scripted server."""

    def __init__(self, server: Scripted) -> None:
        super().__init__()
        self._server = server

    def __call__(self, url, *args, **kwargs):
        path = "/" + url.split("/", 3)[3]
        return super().__call__(self._server.url + path, *args, **kwargs)  # type: ignore[no-untyped-call]


def _json(value: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", "Metadata-Flavor": "Google"})


def _on_a_machine(server: Scripted, *answers: Reply) -> Signer:
    """What signs on a machine of Google's, whose metadata server knows one service account."""
    server.replies([_json({"email": EMAIL, "scopes": ["cloud-platform"]})])
    server.replies([_json({"access_token": "secret-token", "expires_in": 3600, "token_type": "Bearer"}), *answers])
    credentials = compute_engine.Credentials(universe_domain="universe.test")  # type: ignore[no-untyped-call]
    assert signs_remotely(credentials)
    return signer_of(credentials, _Redirected(server))


def test_machines_account_signs_through_googles_service() -> None:
    with scripted_server() as server:
        signer = _on_a_machine(server, _json({"signedBlob": base64.b64encode(b"\xab\xcd").decode()}))
        (url,) = sign_urls([item("a b.jpg")], PLACE, signer, 60, lambda: NOW)
    (asked,) = (seen for seen in server.seen if seen.path == f"/v1/projects/-/serviceAccounts/{EMAIL}:signBlob")
    assert asked.headers["authorization"] == "Bearer secret-token"
    assert base64.b64decode(asked.json()["payload"]).startswith(b"GOOG4-RSA-SHA256\n20260915T235958Z\n20260915/auto/")
    assert url.endswith("&X-Goog-Signature=abcd")
    assert f"X-Goog-Credential={EMAIL.replace('@', '%40')}%2F20260915%2Fauto%2Fstorage%2Fgoog4_request" in url


def test_machines_account_that_may_not_sign_is_told_the_role() -> None:
    refused = _json({"error": {"code": 403, "message": "Permission 'iam.serviceAccounts.signBlob' denied"}}, 403)
    with scripted_server() as server:
        signer = _on_a_machine(server, refused)
        with pytest.raises(BadInput, match=r"roles/iam\.serviceAccountTokenCreator"):
            list(sign_urls([item("a.jpg")], PLACE, signer, 60))


@pytest.mark.parametrize(("answer", "kind"), [(Reply(reset=True), ConnectionFailed), (_json({}, 503), ServiceBusy)])
def test_signing_service_that_fails_is_transient(monkeypatch, answer, kind) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # Google's own pauses between tries
    with scripted_server() as server:
        signer = _on_a_machine(server, *[answer] * 10)
        with pytest.raises(kind):
            list(sign_urls([item("a.jpg")], PLACE, signer, 60))
