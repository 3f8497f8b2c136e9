import pytest

from tests.chaos.calls import downloads, fetches_photo, sends_references, sends_shard
from tests.chaos.house import SHARDS, assert_whole, finish
from tests.chaos.plan import KillAt, Moment
from tests.chaos.proxy import armed

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

PHOTOS = 20
DEATHS = (
    ("0", "fsync blobs/*"),
    ("1", "replace jobs/*/chunk-*"),
    ("0", "replace jobs/*/export/*"),
)
"""Of one server after another: while it takes a shard, within the job, within the export."""


def test_run_outlives_a_server_that_is_killed_again_and_again(house):
    upload = KillAt(lambda: house.server.process, 0, Moment.MID_REQUEST_BODY, sends_shard)
    download = KillAt(lambda: house.server.process, 0, Moment.MID_RESPONSE, downloads)
    with armed(house.proxy, upload), house.start("server") as child:
        house.server.wait_for_kill()
        for number, point in DEATHS:
            house.server.start("--kill-at-fs", number, "--only", point, "--after")
            house.server.wait_for_kill()
        house.proxy.arm(download)
        house.server.start()
        house.server.wait_for_kill()
        house.server.start()
        outcome = finish(child)
    assert_whole(house, outcome)
    assert len(house.proxy.completed("PUT")) == SHARDS


def test_run_by_reference_outlives_a_server_that_is_killed_again_and_again(house, storage):
    storage.fill(house.photos, PHOTOS)
    request = KillAt(lambda: house.server.process, 0, Moment.MID_REQUEST_BODY, sends_references)
    fetch = KillAt(lambda: house.server.process, 3, Moment.MID_RESPONSE, fetches_photo)
    with armed(house.proxy, request), house.start("server fetches", **storage.run) as child:
        house.server.wait_for_kill()
        house.server.start("--kill-at-fs", "0", "--only", "fsync references/*", "--after")
        house.server.wait_for_kill()
        storage.proxy.arm(fetch)
        house.server.start()
        house.server.wait_for_kill()
        house.server.start("--kill-at-fs", "0", "--only", "fsync blobs/*.images", "--after")
        house.server.wait_for_kill()
        house.server.start()
        outcome = finish(child)
    assert_whole(house, outcome, PHOTOS)
    assert len(storage.fetched()) == PHOTOS
    assert set(storage.fetched().values()) <= {2, 3}
    assert list((house.server.data / "references").iterdir()) == []
