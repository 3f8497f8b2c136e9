"""Which way files go to the platform."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tasks.core.errors import BadInput
from tasks.core.request import AskedTransfer
from tasks.sources.base import MediaObject, Source, SourceChanged
from tasks.sources.local import LocalSource
from tasks.steps.reach import Way, choose_transfer


class Store:
    """A source whose URLs lead to ``place``."""

    url = "s3://bucket/photos"
    is_local = False
    by_extension = True
    pins_versions = False

    def __init__(self, place: str, *, only_by_reference: bool = False, signs: bool = True) -> None:
        self._place = place
        self.only_by_reference = only_by_reference
        self._signs = signs

    def check(self) -> None:
        return None

    def list(self) -> Iterator[MediaObject]:
        return iter(())

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:
        raise SourceChanged("is never opened")

    def endpoint(self) -> str:
        return self._place

    def longest_lifetime(self) -> float | None:
        return None

    def presign(self, items: Iterable[MediaObject], seconds: int) -> Iterator[str]:
        for item in items:
            if not self._signs:
                raise BadInput("these credentials cannot sign: set GOOGLE_APPLICATION_CREDENTIALS")
            yield f"{self._place}/{item.key}"


def choose(asked: AskedTransfer, source: Source, allowed: Iterable[str] = ()) -> Way:
    return choose_transfer(asked, source, allowed)


@pytest.mark.parametrize(
    "place",
    [
        "https://bucket.s3.amazonaws.com",
        "https://storage.googleapis.com",
        "https://8.8.8.8",
        "https://[2606:4700::1]:443",
    ],
)
def test_auto_with_public_https_goes_by_reference(place):
    assert choose("auto", Store(place)) == ("reference", "")


@pytest.mark.parametrize(
    "place",
    [
        "http://bucket.s3.amazonaws.com",
        "http://127.0.0.1:9000",
        "https://127.0.0.1:9000",
        "https://10.1.2.3",
        "https://[::1]",
        "https://169.254.169.254",
        "https://minio:9000",
        "https://minio.internal",
        "https://nas.local",
        "https://minio.example.com:9000",
    ],
)
def test_auto_with_unreachable_place_goes_by_upload_and_says_why(place):
    way = choose("auto", Store(place))
    assert way.transfer == "upload"
    assert place in way.note
    assert "--transfer reference" in way.note


@pytest.mark.parametrize(("allowed", "host"), [("127.0.0.1",) * 2, ("127.0.0.0/8", "127.0.0.1"), ("NAS", "nas")])
def test_auto_with_allowed_host_goes_by_reference(allowed: str, host: str) -> None:
    assert choose("auto", Store(f"http://{host}:9000"), ["10.0.0.0/8", allowed]).transfer == "reference"


def test_auto_with_credentials_that_cannot_sign_goes_by_upload_and_says_why():
    way = choose("auto", Store("https://storage.googleapis.com", signs=False))
    assert way.transfer == "upload"
    assert "GOOGLE_APPLICATION_CREDENTIALS" in way.note


@pytest.mark.parametrize("asked", ["upload", "reference"])
def test_what_is_asked_for_overrides(asked):
    assert choose(asked, Store("https://10.0.0.1")) == (asked, "")
    assert choose(asked, Store("https://bucket.s3.amazonaws.com")) == (asked, "")


def test_local_folder_goes_by_upload(tmp_path: Path):
    assert choose("auto", LocalSource(tmp_path)).transfer == "upload"
    with pytest.raises(BadInput, match="--transfer reference"):
        choose("reference", LocalSource(tmp_path))


def test_references_go_by_reference_wherever_they_lead():
    references = Store("http://127.0.0.1:9000", only_by_reference=True)
    assert choose("auto", references) == ("reference", "")
    with pytest.raises(BadInput, match="--transfer upload"):
        choose("upload", references)
