"""What runs on the clouds must not show: what unlocks an account, and the signatures of signed URLs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from tests.emulators.places import Place

SIGNATURE = re.compile(rb"(?:X-Amz-Signature|X-Goog-Signature|\bsig)=([\w%+/=.-]+)")
KEYS = ("AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY")


def signatures(texts: Iterable[bytes]) -> set[str]:
    """Those of all signed URLs in texts, as they stand there and as they are meant."""
    found = {match.decode() for text in texts for match in SIGNATURE.findall(text)}
    return found | {unquote(signature) for signature in found}


def account_key(place: Place) -> str:
    """What unlocks the account; of a private key, which is told in lines, one line in its middle."""
    for name in KEYS:
        if name in place.environment:
            return place.environment[name]
    account = Path(place.environment["GOOGLE_APPLICATION_CREDENTIALS"]).read_text()
    lines = account.partition("BEGIN PRIVATE KEY")[2].split("\\n")
    return lines[len(lines) // 2]
