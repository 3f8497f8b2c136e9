"""Connections of streamed GETs: kept, through proxies, and to servers that prove who they are."""

from __future__ import annotations

import base64
import logging
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from tasks.core.errors import BadInput, ConnectionFailed
from tasks.roboflow_api.retrying import RetryPolicy
from tasks.roboflow_api.transport import Limits, Transport
from tests.fake_time import FakeTime
from tests.scripted import Reply, Scripted

ELSEWHERE = "http://platform.example"
"""A platform that is not on this machine, so that the environment counts; nobody calls it."""
NOBODY = "http://127.0.0.1:9"


def fetched(url: str, platform: str = ELSEWHERE) -> bytes:
    once = RetryPolicy(attempts=1)
    with Transport(platform, SecretStr("key"), once) as transport, transport.fetch(url, {}) as answer:
        return bytes(answer.read())


def test_connections_are_kept_and_no_more_than_allowed(server: Scripted, time: FakeTime) -> None:
    server.replies([Reply(body=b"content")] * 24)
    with Transport(server.url, SecretStr("key"), limits=Limits(connections=2), timing=time.timing()) as transport:

        def fetch(_: int) -> bytes:
            with transport.fetch(f"{server.url}/file", {}) as answer:
                return bytes(answer.read())

        with ThreadPoolExecutor(6) as threads:
            assert set(threads.map(fetch, range(24))) == {b"content"}
    assert len({seen.connection for seen in server.seen}) <= 2


def test_slow_answer_is_asked_for_again(server: Scripted, time: FakeTime) -> None:
    silence = threading.Event()
    server.replies([Reply(hold=silence), Reply(body=b"content")])
    hasty = Transport(server.url, SecretStr("key"), limits=Limits(read=0.05), timing=time.timing())
    with hasty, hasty.fetch(f"{server.url}/file", {}) as answer:
        assert answer.read() == b"content"
    silence.set()
    assert len(time.pauses) == 1


def test_signature_shows_in_no_log(server: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.replies([Reply(body=b"content")])
    fetched(f"{server.url}/blobs/one?expires=1&signature=abcdef0123", server.url)
    assert "/blobs/one" in caplog.text
    assert "abcdef0123" not in caplog.text


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_proxy_of_the_environment_is_used_with_its_login(
    server: Scripted, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, server.url.replace("http://", "http://user:pa%3Ass@"))
    server.replies([Reply(body=b"through")])
    assert fetched("http://store.example/file?signature=1") == b"through"
    (seen,) = server.seen
    assert seen.headers["host"] == "store.example"
    assert base64.b64decode(seen.headers["proxy-authorization"].removeprefix("Basic ")) == b"user:pa:ss"


def test_proxy_may_be_named_without_a_scheme(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url.removeprefix("http://"))
    server.replies([Reply(body=b"through")])
    assert fetched("http://store.example/file") == b"through"


def test_proxy_is_passed_by_for_hosts_that_are_excepted(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", NOBODY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.replies([Reply(body=b"direct")])
    assert fetched(f"{server.url}/file") == b"direct"


def test_proxy_is_not_used_with_a_platform_on_this_machine(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", NOBODY)
    server.replies([Reply(body=b"direct")])
    assert fetched(f"{server.url}/file", server.url) == b"direct"


@pytest.mark.parametrize("url", ["ftp://host/x?sig=abc", "no url", "", "http:///x?sig=abc", "http://[::1/x?sig=abc"])
def test_url_that_is_none_is_final(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        fetched(url)
    assert "abc" not in str(caught.value)


def test_server_that_cannot_prove_itself_is_not_trusted(tmp_path: Path) -> None:
    with tls_server(tmp_path) as url, pytest.raises(ConnectionFailed, match="certificate"):
        fetched(url)


def test_authority_of_the_environment_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tls_server(tmp_path) as url:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        assert fetched(url) == b"proven"


class Proven(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"proven")

    def log_message(self, *args: object) -> None:
        pass


class Patient(HTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust it hangs up."""


@contextmanager
def tls_server(folder: Path) -> Iterator[str]:
    """A server whose certificate, ``certificate.pem``, nobody has signed but itself."""
    make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    with Patient(("127.0.0.1", 0), Proven) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}/file"
        finally:
            server.shutdown()
            thread.join()


def make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    start = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
