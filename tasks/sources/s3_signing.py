"""Presigned S3 URLs in bulk: botocore decides what they look like, only path and signature are made here.

botocore presigns one template key through the whole of its logic (addressing style, dual stack, session token …). What
differs from key to key is the quoted path and the signature over it (AWS Signature Version 4), so the rest is taken
from the template, and the signing key is derived once. The signer proves itself on the template; where it cannot
(another signature scheme), botocore signs each key.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from tasks.core.errors import BadInput

LONGEST_SECONDS = 7 * 24 * 3600
"""What the signature scheme allows."""
TEMPLATE_KEY = "darkroom/template"
"""Nothing in it that quoting would change."""

_BLOCK = 64
"""Bytes of a SHA-256 block, which HMAC pads its key to."""


class UrlSigner:
    """Signs GETs of keys beside the template's, with its date, lifetime and credentials.

    Args:
        template: the URL that botocore made for :data:`TEMPLATE_KEY`.
        secret: the secret key that it was signed with.
    """

    def __init__(self, template: str, secret: str) -> None:
        address, _, query = template.partition("?")
        self._query, _, _ = query.rpartition("&X-Amz-Signature=")
        self._before = address.removesuffix(TEMPLATE_KEY)
        parts = urlsplit(self._before)
        fields = dict(parse_qsl(self._query))
        self._request_head = f"GET\n{parts.path}"
        canonical_query = "&".join(sorted(self._query.split("&")))
        self._request_tail = f"\n{canonical_query}\nhost:{_host(parts.scheme, parts.netloc)}\n\nhost\nUNSIGNED-PAYLOAD"
        date = fields.get("X-Amz-Date", "")
        scope = "/".join(fields.get("X-Amz-Credential", "").rsplit("/", 4)[1:])
        self._inner, self._outer = _hmac_states(_signing_key(secret, scope))
        self._inner.update(f"AWS4-HMAC-SHA256\n{date}\n{scope}\n".encode())

    def url(self, key: str) -> str:
        """The URL of ``key``; a secret."""
        path = quote(key, safe="/")
        request = sha256(f"{self._request_head}{path}{self._request_tail}".encode()).hexdigest()
        inner = self._inner.copy()
        inner.update(request.encode())
        outer = self._outer.copy()
        outer.update(inner.digest())
        return f"{self._before}{path}?{self._query}&X-Amz-Signature={outer.hexdigest()}"


class Presigner:
    """Presigned URLs of one bucket.

    Args:
        client: boto3's client.
        credentials: the credentials that the client uses; read again for each set of URLs, as they may be renewed.
        bucket: its name.
    """

    def __init__(self, client: Any, credentials: Any, bucket: str) -> None:
        self._client = client
        self._credentials = credentials
        self._bucket = bucket

    def urls(self, keys: Iterable[str], seconds: int) -> Iterator[str]:
        """A URL to GET each key with, valid for ``seconds`` from this call on.

        Raises:
            BadInput: no URL can be valid for that long.
        """
        if not 0 < seconds <= LONGEST_SECONDS:
            raise BadInput(
                f"URLs to S3 cannot be valid for {seconds} s: ask for 1 to {LONGEST_SECONDS} seconds (7 days at most)"
            )
        signer = self.signer(seconds)
        return map(signer.url, keys) if signer else (self._by_botocore(key, seconds) for key in keys)

    def template(self, seconds: int) -> str:
        """The URL of the template key, which leads where all others lead."""
        return self._by_botocore(TEMPLATE_KEY, seconds)

    def signer(self, seconds: int) -> UrlSigner | None:
        """The signer for URLs made now, or ``None`` where it would not make what botocore makes."""
        secret = self._credentials.get_frozen_credentials().secret_key
        template = self.template(seconds)
        signer = UrlSigner(template, secret)
        return signer if hmac.compare_digest(signer.url(TEMPLATE_KEY), template) else None

    def _by_botocore(self, key: str, seconds: int) -> str:
        wanted = {"Bucket": self._bucket, "Key": key}
        url: str = self._client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=seconds)
        return url


def _host(scheme: str, place: str) -> str:
    """The ``Host`` header for a URL's network location: without its password, and without the scheme's own port."""
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    return place.rpartition("@")[2].removesuffix(default).lower()


def _signing_key(secret: str, scope: str) -> bytes:
    """The key for a scope of ``day/region/service/aws4_request``."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _hmac_states(key: bytes) -> tuple[Any, Any]:
    """HMAC's inner and outer hash with the key in them: copying these takes a third of the time of a new HMAC."""
    padded = key.ljust(_BLOCK, b"\0")
    return sha256(bytes(byte ^ 0x36 for byte in padded)), sha256(bytes(byte ^ 0x5C for byte in padded))
