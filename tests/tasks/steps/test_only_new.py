from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tasks.core.progress import Silent
from tasks.core.run_folder import RunFolder
from tasks.media.manifest import write_manifest
from tasks.results.tables import write_failures
from tasks.sources.base import MediaObject, ReferenceSource, Source
from tasks.sources.local import LocalSource
from tasks.steps.incremental import OnlyNew, only_new
from tests.images import make_images
from tests.tasks.core.summaries import summary
from tests.tasks.steps.shop import KEYS, NAME, Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


class Remote:
    """A source of references, whose listing gives names alone."""

    url, is_local, by_extension = "https://host/references.jsonl", False, False
    pins_versions, only_by_reference = True, True

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def check(self) -> None:
        raise AssertionError("nobody asks")

    def list(self) -> Iterator[MediaObject]:
        return (MediaObject(name, None, None, None) for name in self.names)

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:
        raise AssertionError("nobody opens these")

    def endpoint(self) -> str:
        return "https://host"

    def longest_lifetime(self) -> float | None:
        return 60.0

    def presign(self, items: Iterable[MediaObject], seconds: int) -> Iterator[str]:
        return (f"https://host/{item.key}?for={seconds}" for item in items)


def test_references_stay_references(shop: Shop) -> None:
    inner: Source = Remote(["a", "b"])
    with only_new(inner, shop.states, NAME) as source:
        assert isinstance(source, OnlyNew)
        assert isinstance(source, ReferenceSource)
        assert list(source.presign(source.list(), 5)) == ["https://host/a?for=5", "https://host/b?for=5"]
        assert (source.endpoint(), source.longest_lifetime()) == ("https://host", 60.0)
        assert (source.url, source.pins_versions, source.only_by_reference) == (inner.url, True, True)
        assert (source.is_local, source.by_extension) == (False, False)


def test_references_without_a_version_are_known_by_name(shop: Shop) -> None:
    inner = Remote(["a", "b"])
    run = RunFolder(shop.runs / KEYS[0])
    run.root.mkdir(parents=True)
    write_manifest(inner, run.manifest, Silent())
    write_failures(run.failures, [])
    run.finish(summary(run.key, folder=run.root))
    for _ in range(2):
        shop.remember(run)
    assert len(shop.rows()) == 2
    inner.names.append("c")
    with only_new(inner, shop.states, NAME) as source:
        assert [item.key for item in source.list()] == ["c"]


def test_local_files_do_not_become_references(shop: Shop) -> None:
    make_images(shop.source, 1)
    with only_new(LocalSource(shop.source), shop.states, NAME) as source:
        assert not isinstance(source, ReferenceSource)
        (item,) = source.list()
        with source.open(item, 1) as file:
            assert file.read(3) == b"PNG"


def test_source_that_is_listed_while_the_state_advances_stays_as_it_was(shop: Shop) -> None:
    make_images(shop.source, 2)
    with only_new(LocalSource(shop.source), shop.states, NAME) as source:
        shop.remember(shop.run(0))
        assert len(list(source.list())) == 2
