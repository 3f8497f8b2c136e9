"""Signed URLs: whoever holds one may do one thing with one blob until it expires."""

import hashlib
import hmac
import time
from collections.abc import Callable
from urllib.parse import urlencode

from pydantic import SecretStr


class SignatureRefused(Exception):
    """The URL was not signed here, or has expired; says which."""


class UrlSigner:
    """Signs method, path and expiry with HMAC-SHA256."""

    def __init__(self, secret: SecretStr, lifetime: float, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._lifetime = lifetime
        self._clock = clock

    def sign(self, method: str, base_url: str, path: str) -> str:
        """The signed URL.

        Args:
            method: The only HTTP method it is good for.
            base_url: Scheme and host, as clients reach the server.
            path: Path on this server, beginning with a slash.

        Returns:
            An absolute URL that can be used for the signer's lifetime.
        """
        expires = int(self._clock() + self._lifetime)
        query = urlencode({"expires": expires, "signature": self._signature(method, path, str(expires))})
        return f"{base_url.rstrip('/')}{path}?{query}"

    def check(self, method: str, path: str, expires: str, signature: str) -> None:
        """See that a request bears a signature of ours that is still good.

        Raises:
            SignatureRefused: It is forged, for another method or path, or expired.
        """
        expected = self._signature(method, path, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise SignatureRefused("the URL's signature is wrong: use the URL exactly as it was given")
        if int(expires) < self._clock():
            raise SignatureRefused("the signed URL has expired: ask for a new one")

    def _signature(self, method: str, path: str, expires: str) -> str:
        message = f"{method}\n{path}\n{expires}".encode()
        return hmac.new(self._secret.get_secret_value().encode(), message, hashlib.sha256).hexdigest()
