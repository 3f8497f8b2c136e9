from collections.abc import Iterator

import pytest

from deployments.batch_server.remote.fetching import PATIENCE, FetchLimits
from deployments.batch_server.remote.targets import parse_target
from tests.deployments.batch_server.media_host import Answer, MediaHost, media_host
from tests.deployments.batch_server.remote.fetch_client import Client


@pytest.fixture
def media() -> Iterator[MediaHost]:
    with media_host() as running:
        yield running


def test_body_that_drips_is_given_up_and_then_tried_once(media: MediaHost) -> None:
    media.answers = {"/a": Answer(drips=True)}
    client = Client(limits=FetchLimits(slow_after=0.02, attempts=2))
    assert "comes too slowly" in str(client.failure(media.url("/a")))
    assert len(client.pauses) == 1
    client.patience.misses[parse_target(media.url("/a")).origin] = PATIENCE
    client.failure(media.url("/a"))
    assert len(client.pauses) == 1


def test_file_that_takes_too_long_is_a_miss(media: MediaHost) -> None:
    media.answers = {"/a": Answer(drips=True)}
    client = Client(limits=FetchLimits(whole=0.05))
    client.failure(media.url("/a"))
    assert client.patience.misses.total() == 1


def test_names_that_are_not_known_share_one_patience() -> None:
    looked_up: list[str] = []

    def lookup(host: str) -> list[str]:
        looked_up.append(host)
        return []

    client = Client(lookup=lookup)
    urls = [f"https://h{number}.example/a" for number in range(PATIENCE + 10)]
    found = client.get(*urls)
    assert {type(entry).__name__ for entry in found} == {"UnknownHost"}
    assert len(looked_up) == 4 * PATIENCE + 10
    client.get(*urls)
    assert len(looked_up) == 4 * PATIENCE + 10


def test_name_that_was_looked_up_in_vain_is_tried_once_more_and_never_again() -> None:
    looked_up: list[str] = []

    def lookup(host: str) -> list[str]:
        looked_up.append(host)
        return []

    client = Client(lookup=lookup)
    client.patience.unknown["h.example"] = 1
    client.get(*["https://h.example/a"] * 3)
    assert (looked_up, client.pauses) == (["h.example"], [])


def test_host_that_does_not_listen_is_tried_again_until_it_was_dead_for_long() -> None:
    with media_host() as media:
        url = media.url("/a")
    client = Client(limits=FetchLimits(attempts=2))
    found = client.get(*[url] * (PATIENCE + 10))
    assert {type(entry).__name__ for entry in found} == {"Transient"}
    assert "no connection" in str(found[0])
    assert len(client.pauses) == PATIENCE
