import base64
import hashlib
import zlib

import google_crc32c
import pytest
from urllib3 import HTTPHeaderDict

from tasks.transfer.checksums import Checksum, checksum_of

CONTENT = b"some content"
SHA256, SHA512, MD5 = (hashlib.new(name, CONTENT).digest() for name in ("sha256", "sha512", "md5"))
CRC32, CRC32C = zlib.crc32(CONTENT).to_bytes(4, "big"), google_crc32c.value(CONTENT).to_bytes(4, "big")
WHOLE, RANGE = 200, 206


def text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def found(status: int, *headers: tuple[str, str]) -> Checksum | None:
    return checksum_of(status, HTTPHeaderDict(headers))


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("Repr-Digest", f"sha-256=:{text(SHA256)}:", Checksum("sha-256", SHA256)),
        ("Repr-Digest", f"sha-512=:{text(SHA512)}:;note=1, unixsum=:AAAA:", Checksum("sha-512", SHA512)),
        ("Digest", f"md5={text(MD5)},SHA-256={text(SHA256)}", Checksum("sha-256", SHA256)),
        ("x-goog-hash", f"crc32c={text(CRC32C)},md5={text(MD5)}", Checksum("md5", MD5)),
        ("x-goog-hash", f"crc32c={text(CRC32C)}", Checksum("crc32c", CRC32C)),
        ("x-ms-blob-content-md5", text(MD5), Checksum("md5", MD5)),
    ],
)
@pytest.mark.parametrize("status", [WHOLE, RANGE])
def test_checksum_of_the_file_is_taken_whatever_is_sent(
    status: int, field: str, value: str, expected: Checksum
) -> None:
    assert found(status, (field, value)) == expected


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("Content-MD5", text(MD5), Checksum("md5", MD5)),
        ("x-amz-checksum-sha256", text(SHA256), Checksum("sha-256", SHA256)),
        ("x-amz-checksum-crc32c", text(CRC32C), Checksum("crc32c", CRC32C)),
        ("x-amz-checksum-crc32", text(CRC32), Checksum("crc32", CRC32)),
    ],
)
def test_checksum_of_what_is_sent_is_taken_where_that_is_the_file(field: str, value: str, expected: Checksum) -> None:
    assert found(WHOLE, (field, value)) == expected
    assert found(RANGE, (field, value)) is None


def test_google_s_two_fields_are_one() -> None:
    both = ("x-goog-hash", f"crc32c={text(CRC32C)}"), ("x-goog-hash", f"md5={text(MD5)}")
    assert found(WHOLE, *both) == Checksum("md5", MD5)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Repr-Digest", "sha-256=:not base64:")],
        [("Repr-Digest", f"sha-256=:{text(MD5)}:")],
        [("Repr-Digest", "sha-256")],
        [("Digest", f"sha={text(b'x' * 20)}")],
        [("Content-MD5", "ü")],
        [("x-amz-checksum-sha256", f"{text(SHA256)}-3")],
        [("x-amz-checksum-sha256", text(SHA256)), ("x-amz-checksum-type", "COMPOSITE")],
        [("x-goog-hash", f"md5={text(MD5)}"), ("x-goog-stored-content-encoding", "gzip")],
        [("ETag", f'"{MD5.hex()}"')],
    ],
)
def test_what_is_no_checksum_of_the_file_is_left_aside(headers: list[tuple[str, str]]) -> None:
    assert found(WHOLE, *headers) is None


def test_google_s_checksum_of_a_file_that_is_stored_as_it_is_counts() -> None:
    plain = ("x-goog-stored-content-encoding", "identity"), ("x-goog-hash", f"md5={text(MD5)}")
    assert found(WHOLE, *plain) == Checksum("md5", MD5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("sha-256", SHA256), ("sha-512", SHA512), ("md5", MD5), ("crc32c", CRC32C), ("crc32", CRC32)],
)
def test_checksum_adds_up(name: str, value: bytes) -> None:
    summing = Checksum(name, value).begin()
    summing.update(CONTENT[:5])
    summing.update(CONTENT[5:])
    assert summing.digest() == value
