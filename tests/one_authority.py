"""One certificate authority instead of all: reading them takes a thirtieth of a second for each client.

Everything that tests reach is on loopback, and what of it speaks TLS has authorities of its own.
"""

from __future__ import annotations

import os
from pathlib import Path

import certifi

KEPT = Path(__file__).parents[1] / ".darkroom" / "tests"
END = "-----END CERTIFICATE-----\n"


def trust_one_authority() -> None:
    """Has this process's clients read the first of the authorities only."""
    one = KEPT / "one-authority.pem"
    first, end, _ = Path(certifi.where()).read_text(encoding="ascii").partition(END)
    KEPT.mkdir(parents=True, exist_ok=True)
    half = one.with_suffix(f".{os.getpid()}.part")
    half.write_text(first + end, encoding="ascii")
    half.replace(one)
    certifi.where = lambda: str(one)
