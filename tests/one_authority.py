"""One certificate authority instead of all: reading them takes a thirtieth of a second for each client.

Everything that tests reach is on loopback, and what of it speaks TLS has authorities of its own. Installers are the
exception: they are given :func:`all_authorities`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import certifi

KEPT = Path(__file__).parents[1] / ".darkroom" / "tests"
END = "-----END CERTIFICATE-----\n"
NAMES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")
BEFORE = "TESTS_ALL_AUTHORITIES"


def trust_one_authority() -> None:
    """Has the clients of this process, and of those that it starts, read the first of the authorities only."""
    if BEFORE in os.environ:
        one = Path(os.environ["SSL_CERT_FILE"])
    else:
        one = _write_one()
        os.environ[BEFORE] = json.dumps({name: os.environ[name] for name in NAMES if name in os.environ})
        os.environ.update(dict.fromkeys(NAMES, str(one)))
        del os.environ["SSL_CERT_DIR"]
    certifi.where = lambda: str(one)


def all_authorities(environment: dict[str, str]) -> dict[str, str]:
    """An environment of these tests with the authorities that it had at first."""
    kept = {name: value for name, value in environment.items() if name not in (*NAMES, BEFORE)}
    before: dict[str, str] = json.loads(environment[BEFORE])
    return kept | before


def _write_one() -> Path:
    first, end, _ = Path(certifi.where()).read_text(encoding="ascii").partition(END)
    KEPT.mkdir(parents=True, exist_ok=True)
    one = KEPT / "one-authority.pem"
    half = one.with_suffix(f".{os.getpid()}.part")
    half.write_text(first + end, encoding="ascii")
    half.replace(one)
    return one
