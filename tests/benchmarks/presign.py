"""Signed URLs a second on one core: the sources' own signing and the vendors' libraries, with the same credentials.

Both sign the same objects with the clock fixed, in turns within one process that is held to one core. Nothing is told
before the URLs have been found to be the same, byte for byte.
"""

from __future__ import annotations

import base64
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from os import sched_getaffinity, sched_setaffinity
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from tasks.sources.base import MediaObject
from tests.benchmarks.accounts import AMAZON, clean_environment
from tests.benchmarks.costs import ROOT, print_table, spread

NOW = datetime(2026, 9, 15, 12, 30, tzinfo=UTC)
SECONDS = 24 * 3600
BUCKET = "photos"
ODD = "day 1/a+b %41 #ü写~'(1)*;.jpg"
ACCOUNT, ACCOUNT_KEY = "darkroom", base64.b64encode(b"no account has this key ".ljust(64, b".")).decode()
RSA_SHARE = 5
"""Fewer URLs with Google's signatures by this factor: each takes 0.3 ms of mathematics."""

Sign = Callable[[list[MediaObject]], list[str]]


class Pair(NamedTuple):
    """A vendor's library and ours, both ready to sign."""

    theirs: Sign
    ours: Sign


class Taken(NamedTuple):
    """What one turn took."""

    seconds: float
    cpu_seconds: float


def measure(_work: Path, options: Namespace) -> None:
    """Prints the table, from a process of its own that has nothing to do but to sign."""
    command = [sys.executable, "-m", "tests.benchmarks.presign", str(options.urls), str(options.rounds)]
    ended = subprocess.run(command, check=False, cwd=ROOT, env=clean_environment() | AMAZON)
    if ended.returncode:
        raise SystemExit(ended.returncode)


def main(urls: int, rounds: int) -> None:
    sched_setaffinity(0, {min(sched_getaffinity(0))})
    clouds = (
        ("S3, boto3's `generate_presigned_url`", "S3, ours", amazon(), urls),
        ("GCS, google-cloud-storage's `generate_signed_url`", "GCS, ours", google(), urls // RSA_SHARE),
        ("Azure, azure-storage-blob's `generate_blob_sas`", "Azure, ours", azure(), urls),
    )
    rows: list[tuple[str, ...]] = []
    with _fixed_clock():
        for theirs, ours, pair, count in clouds:
            rows += _compare((theirs, ours), pair, list(_objects(count)), rounds)
    head = (f"signed URLs on one core, the same ones (median of {rounds})", "a second", "a CPU second")
    print_table((*head, "times as many a CPU second"), *rows)


def amazon() -> Pair:
    """boto3 as its documents show it, and ours."""
    import boto3
    from botocore.config import Config

    from tasks.sources.s3 import open_s3

    client = boto3.client("s3", region_name=AMAZON["AWS_REGION"], config=Config(signature_version="s3v4"))

    def url(item: MediaObject) -> str:
        asked = {"Bucket": BUCKET, "Key": item.key}
        return str(client.generate_presigned_url("get_object", Params=asked, ExpiresIn=SECONDS))

    bucket = open_s3(BUCKET)
    return Pair(lambda items: [url(item) for item in items], lambda items: list(bucket.presign(items, SECONDS)))


def google() -> Pair:
    """Google's library with a service account's key of 2,048 bits, as its console makes them, and ours."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from google.oauth2.service_account import Credentials

    from tasks.sources.gcs_library import storage
    from tasks.sources.gcs_signing import sign_urls, signer_of

    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"client_email": "bench@darkroom.invalid", "token_uri": "http://127.0.0.1:1/", "private_key": pem}
    credentials = Credentials.from_service_account_info(account)  # type: ignore[no-untyped-call]
    bucket = storage.Client(project=None, credentials=credentials).bucket(BUCKET)
    place = ("https://storage.googleapis.com", BUCKET)
    signer = signer_of(credentials, None)

    def url(item: MediaObject) -> str:
        blob = bucket.blob(item.key, generation=int(item.etag or 0))
        return str(blob.generate_signed_url(timedelta(seconds=SECONDS), version="v4", generation=item.etag))

    return Pair(
        lambda items: [url(item) for item in items],
        lambda items: list(sign_urls(items, place, signer, SECONDS, lambda: NOW)),
    )


def azure() -> Pair:
    """Azure's library with an account's key, and ours."""
    from azure.storage.blob import BlobSasPermissions, ContainerClient, generate_blob_sas
    from pydantic import SecretStr

    from tasks.sources.azure import AzureContainer
    from tasks.sources.azure_settings import AzureLogin

    login = AzureLogin(ACCOUNT, f"https://{ACCOUNT}.blob.core.windows.net", key=SecretStr(ACCOUNT_KEY))
    container = AzureContainer(BUCKET, login, now=lambda: NOW)
    client = ContainerClient(login.endpoint, BUCKET)

    def url(item: MediaObject) -> str:
        signature = generate_blob_sas(
            ACCOUNT,
            BUCKET,
            item.key,
            account_key=ACCOUNT_KEY,
            permission=BlobSasPermissions(read=True),
            expiry=NOW + timedelta(seconds=SECONDS),
            protocol="https",
        )
        return f"{client.get_blob_client(item.key).url}?{signature}"

    return Pair(lambda items: [url(item) for item in items], lambda items: list(container.presign(items, SECONDS)))


def _compare(names: tuple[str, str], pair: Pair, items: list[MediaObject], rounds: int) -> Iterator[tuple[str, ...]]:
    """The rows of one cloud.

    Raises:
        SystemExit: the URLs differ.
    """
    for item, theirs, ours in zip(items, pair.theirs(items), pair.ours(items), strict=True):
        if theirs != ours:
            raise SystemExit(f"{names[1]}: another URL for {item.key!r}:\n{theirs}\n{ours}")
    taken: tuple[list[Taken], list[Taken]] = ([], [])
    for _ in range(rounds):
        for sign, turns in zip(pair, taken, strict=True):
            turns.append(_time(sign, items))
    for name, turns in zip(names, taken, strict=True):
        ratios = [theirs.cpu_seconds / turn.cpu_seconds for theirs, turn in zip(taken[0], turns, strict=True)]
        rates = [len(items) / statistics.median(column) for column in zip(*turns, strict=True)]
        yield name, *(f"{rate:,.0f}" for rate in rates), spread(ratios)


def _time(sign: Sign, items: list[MediaObject]) -> Taken:
    wall, cpu = time.perf_counter(), time.process_time()
    sign(items)
    return Taken(time.perf_counter() - wall, time.process_time() - cpu)


def _objects(count: int) -> Iterator[MediaObject]:
    """Objects with keys as people have them, one with everything in it that has to be quoted."""
    yield MediaObject(ODD, 1, "1700000000000000", None)
    for number in range(1, count):
        key = f"inspection/2026/09/15/line-{number % 20:02d}/camera-{number % 4}/IMG_{number:08d}.jpg"
        yield MediaObject(key, 1, str(1700000000000000 + number), None)


def _fixed_clock() -> ExitStack:
    """Within it the vendors' libraries take :data:`NOW` for the time."""
    stopped = ExitStack()
    stopped.enter_context(patch("botocore.auth.get_current_datetime", _now_without_zone))
    stopped.enter_context(patch("google.cloud.storage._signing._NOW", lambda _zone: NOW))
    return stopped


def _now_without_zone(*_: Any, **__: Any) -> datetime:
    return NOW.replace(tzinfo=None)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
