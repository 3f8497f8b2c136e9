from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from deployments.batch_server.signing import SignatureRefused, UrlSigner


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_signature_is_good_until_its_expiry_and_not_after() -> None:
    clock = Clock()
    signer = UrlSigner(SecretStr("secret"), 60, clock)
    url = urlsplit(signer.sign("GET", "http://host/", "/blobs/files/1"))
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    clock.now = 1060
    signer.check("GET", url.path, **query)
    clock.now = 1061
    with pytest.raises(SignatureRefused, match="expired"):
        signer.check("GET", url.path, **query)


@pytest.mark.parametrize(
    ("method", "path", "expires"),
    [("PUT", "/a", "1060"), ("GET", "/b", "1060"), ("GET", "/a", "1061"), ("GET", "/a", "never")],
)
def test_signature_is_for_one_method_path_and_expiry(method: str, path: str, expires: str) -> None:
    signer = UrlSigner(SecretStr("secret"), 60, Clock())
    signature = signer.sign("GET", "http://host", "/a").rpartition("=")[2]
    signer.check("GET", "/a", "1060", signature)
    with pytest.raises(SignatureRefused, match="wrong"):
        signer.check(method, path, expires, signature)


def test_signature_depends_on_the_secret() -> None:
    signature = UrlSigner(SecretStr("one"), 60, Clock()).sign("GET", "http://host", "/a").rpartition("=")[2]
    with pytest.raises(SignatureRefused, match="wrong"):
        UrlSigner(SecretStr("two"), 60, Clock()).check("GET", "/a", "1060", signature)
