"""Tokens that tell a notification for a run from one that somebody made up.

Platforms send no secret of their own with a notification, so the URL that they are given holds one. It is derived from
a secret and the run's key: the same for every start of the run, and known to nobody who has seen another run's.
"""

from __future__ import annotations

import hashlib
import hmac

from pydantic import SecretStr

from tasks.core.errors import BadInput

PATH = "notifications"
LEAST_CHARACTERS = 16


class RunTokens:
    """Makes and checks the tokens.

    Args:
        secret: what they are made of; at least 16 characters.

    Raises:
        BadInput: it is too short.
    """

    def __init__(self, secret: SecretStr) -> None:
        if len(secret.get_secret_value()) < LEAST_CHARACTERS:
            raise BadInput(f"DARKROOM_WEBHOOK_SECRET is too short: make it of {LEAST_CHARACTERS} characters or more")
        self._secret = secret

    def url(self, base: str, key: str) -> str:
        """Where notifications for the run of that key go; a secret.

        Args:
            base: address of the receiver.
            key: the run's key.
        """
        return f"{base.rstrip('/')}/{PATH}/{key}/{self._token(key)}"

    def check(self, key: str, token: str) -> bool:
        """Whether the token is the one of that run."""
        return hmac.compare_digest(self._token(key).encode(), token.encode())

    def _token(self, key: str) -> str:
        return hmac.new(self._secret.get_secret_value().encode(), key.encode(), hashlib.sha256).hexdigest()[:32]
