import asyncio
import io
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deployments.batch_server.remote.failures import FetchFailed, UnsafeUrl
from deployments.batch_server.remote.fetching import FetchLimits, Patience
from deployments.batch_server.remote.targets import parse_target
from tests.deployments.batch_server.media_host import Answer, MediaHost, media_host
from tests.deployments.batch_server.remote.fetch_client import SMALL, Client

GOOD = Answer(body=b"image")


@pytest.fixture
def media() -> Iterator[MediaHost]:
    with media_host() as running:
        yield running


def test_connection_is_used_again_after_any_whole_answer(media: MediaHost) -> None:
    media.answers = {"/a": GOOD, "/gone": Answer(404, b"no"), "/chunked": Answer(body=b"pieces", chunked=True)}
    found = Client().get(*(media.url(path) for path in ("/a", "/gone", "/chunked", "/a")))
    assert [found[0], found[2], found[3]] == [b"image", b"pieces", b"image"]
    assert len({request.connection for request in media.asked}) == 1


def test_connection_that_the_host_has_ended_is_replaced_at_once(media: MediaHost) -> None:
    media.answers = {"/a": Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")}
    client = Client()
    assert client.get(*[media.url("/a")] * 3) == [b"x"] * 3
    assert (len(media.asked), client.pauses) == (3, [])


def test_request_carries_no_credentials_and_the_name_as_host(media: MediaHost) -> None:
    media.answers = {"/a": GOOD}
    Client().get(media.url("/a?sig=s%2Fx", host="media.example"))
    (request,) = media.asked
    assert request.path == "/a?sig=s%2Fx"
    assert request.headers == {
        "host": f"media.example:{media.port}",
        "user-agent": "darkroom-batch-server",
        "accept-encoding": "identity",
    }


def test_name_is_looked_up_once_a_connection_and_never_by_anyone_else(media: MediaHost) -> None:
    looked_up: list[str] = []

    def lookup(host: str) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"] if len(looked_up) == 1 else ["127.0.0.2"]

    media.answers = {"/a": GOOD}
    url = media.url("/a", host="media.example")
    assert Client("127.0.0.1", lookup=lookup).get(url, url) == [b"image"] * 2
    assert looked_up == ["media.example"]


def test_second_address_is_tried_when_the_first_does_not_answer(media: MediaHost) -> None:
    media.answers = {"/a": GOOD}
    client = Client("127.0.0.0/8", lookup=lambda host: ["127.0.0.2", "127.0.0.1"])
    assert client.get(media.url("/a", host="media.example")) == [b"image"]
    assert client.pauses == []


def test_host_that_turns_to_loopback_between_two_lookups_is_not_connected_to(media: MediaHost) -> None:
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    client = Client("unused.example", lookup=lambda host: next(answers))

    async def rebind() -> None:
        target = parse_target("https://rebind.example/a?sig=secret")
        assert await client.pool.guard.addresses(target) == ["93.184.216.34"]
        await client.fetcher.fetch("https://rebind.example/a?sig=secret", io.BytesIO(), SMALL, Patience())

    with pytest.raises(UnsafeUrl, match=r"https://rebind.example/a \("):
        asyncio.run(rebind())
    assert media.asked == []


def test_redirects_are_followed_and_checked_anew(media: MediaHost) -> None:
    media.answers = {
        "/start": Answer(302, headers={"Location": "/next?sig=2"}),
        "/next": Answer(307, headers={"Location": f"http://127.0.0.1:{media.port}/a"}),
        "/a": GOOD,
        "/away": Answer(301, headers={"Location": f"http://127.0.0.2:{media.port}/a?sig=secret"}),
        "/scheme": Answer(302, headers={"Location": "file:///etc/passwd"}),
        "/broken": Answer(302, headers={"Location": "https://[bad"}),
    }
    client = Client()
    assert client.get(media.url("/start")) == [b"image"]
    for path, shown in (("/away", f"http://127.0.0.2:{media.port}/a"), ("/scheme", "file:///etc/passwd")):
        failed = client.failure(media.url(path))
        assert isinstance(failed, UnsafeUrl)
        assert str(failed).startswith(f"Untrusted domain found: {shown} (")
        assert "secret" not in str(failed)
    assert isinstance(client.failure(media.url("/broken")), UnsafeUrl)
    assert client.pauses == []


def test_redirect_from_an_allowed_host_to_loopback_is_unsafe(media: MediaHost) -> None:
    media.answers = {"/a": Answer(302, headers={"Location": f"http://127.0.0.1:{media.port}/secret"})}
    failed = Client("media.example").failure(media.url("/a", host="media.example"))
    assert isinstance(failed, UnsafeUrl)
    assert media.paths() == ["/a"]


def test_redirects_without_end_are_given_up(media: MediaHost) -> None:
    media.answers = {"/a": Answer(302, headers={"Location": "/a"})}
    assert "redirected more than 5 times" in str(Client().failure(media.url("/a")))
    assert len(media.asked) == 6


@pytest.mark.parametrize(
    ("status", "kind", "tries"),
    [
        (401, "reference-refused", 1),
        (403, "reference-refused", 1),
        (404, "reference-not-found", 1),
        (410, "reference-not-found", 1),
        (204, "reference-unreachable", 1),
        (206, "reference-unreachable", 1),
        (400, "reference-unreachable", 1),
        (302, "reference-unreachable", 1),
        (408, "reference-unreachable", 4),
        (429, "reference-unreachable", 4),
        (500, "reference-unreachable", 4),
        (503, "reference-unreachable", 4),
    ],
)
def test_status_tells_what_is_wrong_and_whether_to_try_again(
    media: MediaHost, status: int, kind: str, tries: int
) -> None:
    media.answers = {"/a": Answer(status)}
    failed = Client().failure(media.url("/a?sig=secret"))
    assert (failed.kind, len(media.asked)) == (kind, tries)
    assert str(status) in str(failed)
    assert "secret" not in str(failed)


def test_host_that_recovers_is_asked_again_when_it_wants_to_be(media: MediaHost) -> None:
    until = (datetime.fromtimestamp(1_000_030, UTC)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    media.answers = {
        "/a": [
            Answer(503, headers={"Retry-After": "7"}),
            Answer(429, headers={"Retry-After": until}),
            Answer(500, headers={"Retry-After": "soon"}),
            GOOD,
        ],
        "/far": [Answer(503, headers={"Retry-After": "9" * 400}), GOOD],
    }
    client = Client()
    assert client.get(media.url("/a"), media.url("/far")) == [b"image"] * 2
    assert client.pauses == [7.0, 30.0, 4.0, 60.0]


def test_body_that_is_cut_is_fetched_again_from_the_start(media: MediaHost) -> None:
    cut = Answer(body=b"half of", announced=100)
    media.answers = {"/a": [cut, Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal"), GOOD]}
    client = Client()
    assert client.get(media.url("/a")) == [b"image"]
    assert client.pauses == [1.0, 2.0]
    media.answers = {"/a": cut}
    failed = client.failure(media.url("/a?sig=secret"))
    assert str(failed).startswith(f"{media.url('/a')} did not answer whole")


@pytest.mark.parametrize("raw", [b"nonsense\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000])
def test_host_that_speaks_no_http_is_unreachable(media: MediaHost, raw: bytes) -> None:
    media.answers = {"/a": Answer(raw=raw)}
    assert Client().failure(media.url("/a")).kind == "reference-unreachable"


def test_garbage_is_not_repeated_in_the_reason(media: MediaHost) -> None:
    media.answers = {"/a": Answer(raw=b"\x80" * 60_000 + b"\r\n\r\n")}
    failed = Client(limits=FetchLimits(attempts=1)).failure(media.url("/a"))
    assert str(failed) == f"{media.url('/a')} did not answer whole: it is no proper HTTP answer"
    assert len(str(FetchFailed("x", "y" * 1000))) == 500


@pytest.mark.parametrize("encoding", ["", "Identity", "aws-chunked", "aws-chunked, identity,"])
def test_encoding_that_leaves_a_file_as_it_is_passes(media: MediaHost, encoding: str) -> None:
    media.answers = {"/a": Answer(body=b"image", headers={"Content-Encoding": encoding})}
    assert Client().get(media.url("/a")) == [b"image"]


def test_file_of_the_largest_size_passes_and_one_byte_more_does_not(media: MediaHost) -> None:
    media.answers = {
        "/largest": Answer(body=bytes(1000)),
        "/announced": Answer(body=b"", announced=1001),
        "/streamed": Answer(body=bytes(1001), chunked=True),
        "/endless": Answer(raw=b"HTTP/1.0 200 OK\r\n\r\n" + bytes(5000)),
    }
    client = Client()
    assert client.get(media.url("/largest")) == [bytes(1000)]
    for path in ("/announced", "/streamed", "/endless"):
        failed = client.failure(media.url(path))
        assert (failed.kind, str(failed)) == ("file-size-limit-exceeded", "Max size of single image is 1000B.")
    assert client.pauses == []


def test_file_that_is_packed_is_refused_rather_than_kept_packed(media: MediaHost) -> None:
    media.answers = {"/a": Answer(body=b"image", headers={"Content-Encoding": "gzip"})}
    failed = Client().failure(media.url("/a"))
    assert failed.kind == "reference-refused"
    assert "encoded as gzip" in str(failed)


@pytest.mark.parametrize(
    ("limits", "reason", "tries"),
    [
        (FetchLimits(whole=0.2), "did not come whole within 0.2 s", 0),
        (FetchLimits(read=0.001, attempts=2), "sent nothing for 0.001 s", 1),
    ],
)
def test_host_that_drips_or_stalls_is_given_up(media: MediaHost, limits: FetchLimits, reason: str, tries: int) -> None:
    media.answers = {"/a": Answer(drips=True)}
    client = Client(limits=limits)
    failed = client.failure(media.url("/a?sig=secret"))
    assert str(failed) == f"{media.url('/a')} {reason}"
    assert len(client.pauses) == tries


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate, with its key, for the name `media.example`; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "media.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("media.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "media.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, plain) + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[tuple[MediaHost, list[str | None]]]:
    """A host over TLS, and the names that clients asked for when they connected."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    names: list[str | None] = []

    def note(_socket: object, name: str | None, _context: object) -> None:
        names.append(name)

    context.sni_callback = note
    with media_host(context) as media:
        media.answers = {"/a": GOOD}
        yield media, names


Secure = tuple[MediaHost, list[str | None]]


def test_tls_goes_to_the_checked_address_and_verifies_the_name(
    secure: Secure, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    media, names = secure
    good, wrong = (media.url("/a", host, "https") for host in ("media.example", "other.example"))
    client = Client()
    assert client.get(good, good) == [b"image"] * 2
    assert names == ["media.example"]
    failed = client.failure(wrong)
    assert failed.kind == "reference-unreachable"
    assert "certificate" in str(failed)
    assert client.pauses == []


def test_tls_to_a_host_with_an_unknown_authority_is_refused(secure: Secure) -> None:
    media, _ = secure
    failed = Client().failure(media.url("/a", "media.example", "https"))
    assert "certificate" in str(failed)
    assert media.asked == []


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_proxy_of_the_environment_is_not_used(media: MediaHost, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    media.answers = {"/a": GOOD}
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert Client().get(media.url("/a")) == [b"image"]
