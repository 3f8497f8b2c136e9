"""Whether signed URLs would pass the real services, whose emulators take any signature."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

UNRESERVED = "-._~"


def check_amazon(url: str, secret: str) -> None:
    """Signature version 4 in a query, computed from what the service reads out of the URL.

    Raises:
        AssertionError: the service would refuse it.
    """
    query = dict(parse_qsl(urlsplit(url).query))
    _, day, region, service, ending = query["X-Amz-Credential"].split("/")
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, ending):
        key = hmac.digest(key, part.encode(), "sha256")
    signed = _to_sign(url, "X-Amz", "AWS4-HMAC-SHA256", f"{day}/{region}/{service}/{ending}")
    made = hmac.new(key, signed, "sha256").hexdigest()
    assert hmac.compare_digest(made, query["X-Amz-Signature"]), f"{urlsplit(url).path} is signed otherwise"


def check_google(url: str, public_key: rsa.RSAPublicKey) -> None:
    """The same scheme with an RSA key.

    Raises:
        AssertionError: the service would refuse it.
    """
    query = dict(parse_qsl(urlsplit(url).query))
    scope = query["X-Goog-Credential"].partition("/")[2]
    signed = _to_sign(url, "X-Goog", "GOOG4-RSA-SHA256", scope)
    try:
        public_key.verify(bytes.fromhex(query["X-Goog-Signature"]), signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature as error:
        raise AssertionError(f"{urlsplit(url).path} is signed otherwise") from error


def _to_sign(url: str, prefix: str, algorithm: str, scope: str) -> bytes:
    parts = urlsplit(url)
    fields = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    query = dict(fields)
    assert len(query) == len(fields)
    assert (query[f"{prefix}-Algorithm"], query[f"{prefix}-SignedHeaders"]) == (algorithm, "host")
    pairs = sorted((quote(name, UNRESERVED), quote(value, UNRESERVED)) for name, value in fields)
    canonical = "\n".join(
        (
            "GET",
            quote(unquote(parts.path, errors="strict"), "/" + UNRESERVED),
            "&".join(f"{name}={value}" for name, value in pairs if name != f"{prefix}-Signature"),
            f"host:{parts.netloc}\n",
            "host",
            "UNSIGNED-PAYLOAD",
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return "\n".join((algorithm, query[f"{prefix}-Date"], scope, digest)).encode()
