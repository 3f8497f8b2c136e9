"""Our URLs against those that boto3 makes by itself, with the clock of both stopped."""

import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config

from tasks.core.errors import BadInput
from tasks.sources.base import MediaObject
from tasks.sources.s3 import open_s3
from tasks.sources.s3_signing import LONGEST_SECONDS, Presigner
from tests.tasks.sources.s3_settings import KEYS, TOKEN, set_aws

NOW = datetime(2026, 9, 15, 23, 59, 58)
OBJECTS = (
    "a.jpg",
    "2024/05/a.jpg",
    "/leading.jpg",
    "//twice.jpg",
    "/",
    "a//b.jpg",
    "a/./b/../c.jpg",
    "../up.jpg",
    "..",
    ".",
    "trailing/",
    "with space.jpg",
    " ",
    "100%.jpg",
    "%41%2F.jpg",
    "a+b.jpg",
    "a#b.jpg",
    "a?b=c&d.jpg",
    "a=~_-.jpg",
    "a:b@c,d;e!$'()*.jpg",
    '"<>[]{}|\\^`.jpg',
    "日本/写真 🦊.jpg",
    "\u00e9 e\u0301 \ufeff.jpg",
    "darkroom/template",
    "?X-Amz-Signature=x&X-Amz-Signature=",
    "".join(map(chr, range(1, 0x180))),
    "x" * 1024,
)

SETTINGS: dict[str, dict[str, str]] = {
    "no region": {},
    "us-east-1": {"AWS_REGION": "us-east-1"},
    "us-east-1 regional": {"AWS_REGION": "us-east-1", "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "regional"},
    "eu-west-1": {"AWS_REGION": "eu-west-1"},
    "default region": {"AWS_DEFAULT_REGION": "ap-southeast-2"},
    "china": {"AWS_REGION": "cn-north-1"},
    "session token": {"AWS_REGION": "eu-west-1", "AWS_SESSION_TOKEN": TOKEN},
    "dual stack": {"AWS_REGION": "eu-west-1", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
    "fips": {"AWS_REGION": "us-west-2", "AWS_USE_FIPS_ENDPOINT": "true"},
    "accelerate": {"AWS_REGION": "us-west-2", "config": "s3 =\n    use_accelerate_endpoint = true"},
    "path style": {"AWS_REGION": "us-west-2", "config": "s3 =\n    addressing_style = path"},
    "address": {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"},
    "address of version 6": {"AWS_ENDPOINT_URL": "http://[::1]:9000"},
    "localhost": {"AWS_ENDPOINT_URL": "http://localhost:9000/", "AWS_SESSION_TOKEN": TOKEN},
    "endpoint with path": {"AWS_ENDPOINT_URL": "https://gateway.example.com/stores/s3 1"},
    "endpoint with its own port": {"AWS_ENDPOINT_URL": "https://Gateway.Example.com:443/"},
    "endpoint with a password": {"AWS_ENDPOINT_URL": "http://me:secret@store.example.com:9000"},
    "endpoint for S3 alone": {"AWS_ENDPOINT_URL": "http://wrong", "AWS_ENDPOINT_URL_S3": "http://right.example.com"},
    "virtual host": {"AWS_ENDPOINT_URL": "https://store.example.com", "config": "s3 =\n    addressing_style = virtual"},
    "r2": {"AWS_ENDPOINT_URL": "https://0123456789abcdef.r2.cloudflarestorage.com", "AWS_REGION": "auto"},
}


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch):
    """botocore takes the time of a signature from here."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOW)


def configure(monkeypatch, folder: Path, settings: dict[str, str]) -> None:
    variables = {**KEYS, **settings}
    if text := variables.pop("config", ""):
        (folder / "config").write_text(f"[default]\n{text}\n")
        variables["AWS_CONFIG_FILE"] = str(folder / "config")
    set_aws(monkeypatch, variables)


def their_client() -> Any:
    """As a person who knows boto3 would make it."""
    region = os.environ.get("AWS_REGION")
    return boto3.Session().client("s3", region_name=region, config=Config(signature_version="s3v4"))


def their_urls(client, bucket: str, seconds: int) -> list[str]:
    return [
        client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": key}, ExpiresIn=seconds)
        for key in OBJECTS
    ]


def items(*keys: str) -> list[MediaObject]:
    return [MediaObject(key, None, None, None) for key in keys]


def key_id(url: str) -> str:
    return parse_qs(urlsplit(url).query)["X-Amz-Credential"][0].partition("/")[0]


@pytest.mark.parametrize("name", SETTINGS)
def test_urls_are_boto3_s_byte_for_byte(monkeypatch, tmp_path, name):
    configure(monkeypatch, tmp_path, SETTINGS[name])
    bucket, client = open_s3("photos"), their_client()
    for seconds in (60, 86_400):
        assert list(bucket.presign(items(*OBJECTS), seconds)) == their_urls(client, "photos", seconds)
    presigner = Presigner(client, boto3.Session().get_credentials(), "photos")
    assert presigner.signer(60) is not None, "these would be signed by botocore, slowly"


@pytest.mark.parametrize("name", sorted(SETTINGS.keys() - {"accelerate"}))  # of which Amazon has none for such a name
def test_urls_of_a_bucket_with_dots_are_boto3_s(monkeypatch, tmp_path, name):
    configure(monkeypatch, tmp_path, SETTINGS[name])
    client = their_client()
    presigner = Presigner(client, boto3.Session().get_credentials(), "photos.example.com")
    assert presigner.signer(60) is not None, "these would be signed by botocore, slowly"
    assert list(presigner.urls(OBJECTS, 60)) == their_urls(client, "photos.example.com", 60)


def test_urls_of_another_signature_scheme_are_botocore_s(monkeypatch):
    set_aws(monkeypatch, KEYS)
    client = boto3.Session().client("s3", config=Config(signature_version="s3"))
    presigner = Presigner(client, boto3.Session().get_credentials(), "photos")
    assert presigner.signer(60) is None
    monkeypatch.setattr("time.time", lambda: 1_789_000_000.0)  # where that scheme takes the time from
    assert list(presigner.urls(OBJECTS, 60)) == their_urls(client, "photos", 60)


def test_signer_does_not_take_another_secret(monkeypatch):
    set_aws(monkeypatch, KEYS)
    bucket = open_s3("photos")
    (url,) = bucket.presign(items("a.jpg"), 60)
    set_aws(monkeypatch, {**KEYS, "AWS_SECRET_ACCESS_KEY": "another"})
    (other,) = open_s3("photos").presign(items("a.jpg"), 60)
    assert url.rpartition("=")[0] == other.rpartition("=")[0]
    assert url != other


def test_urls_are_made_one_by_one(monkeypatch):
    set_aws(monkeypatch, KEYS)
    drawn = iter(items("a", "b", "c"))
    urls = open_s3("photos").presign(drawn, 60)
    assert "/a?" in next(urls)
    assert next(drawn).key == "b"


@pytest.mark.parametrize("seconds", [1, LONGEST_SECONDS])
def test_lifetimes_that_the_scheme_allows(monkeypatch, seconds):
    set_aws(monkeypatch, KEYS)
    (url,) = open_s3("photos").presign(items("a"), seconds)
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == [str(seconds)]


@pytest.mark.parametrize("seconds", [-1, 0, LONGEST_SECONDS + 1])
def test_lifetimes_that_the_scheme_does_not_allow(monkeypatch, seconds):
    set_aws(monkeypatch, KEYS)
    with pytest.raises(BadInput, match=f"cannot be valid for {seconds} s.*7 days"):
        open_s3("photos").presign(items("a"), seconds)


def test_urls_use_credentials_that_were_renewed(monkeypatch, tmp_path):
    issued = tmp_path / "issued.json"
    profile = f"[default]\ncredential_process = cat {issued}\n"
    (tmp_path / "config").write_text(profile)
    set_aws(monkeypatch, {"AWS_CONFIG_FILE": str(tmp_path / "config")})

    def issue(key: str) -> None:
        soon = datetime.now().astimezone() + timedelta(minutes=2)  # botocore renews when so little is left
        fields = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": "s", "SessionToken": "t"}
        issued.write_text(json.dumps({**fields, "Expiration": soon.isoformat()}))

    issue("FIRST")
    bucket = open_s3("photos")
    first = bucket.presign(items("a", "b"), 60)
    issue("SECOND")
    assert [key_id(url) for url in (*first, *bucket.presign(items("a"), 60))] == ["FIRST", "FIRST", "SECOND"]
