import json
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.calls import creates_job, fetches_photo, sends_references
from tests.chaos.house import assert_killed, assert_whole
from tests.chaos.plan import Matching, Moment
from tests.chaos.proxy import FaultProxy
from tests.chaos.storage import SMALL_CHUNKS

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

PHOTOS = 30
CHUNKS = 6
BEFORE, AFTER = (), ("--after",)

UNSENT = (
    ('"step":"ingest","part":"way"', BEFORE),
    ('"event":"intent","step":"ingest","part":"chunk-', AFTER),
)
"""Lines of the journal before anything is sent, then while the first two chunks are."""
SENT = (
    ('"event":"done","step":"ingest","part":"chunk-', BEFORE),
    ('"event":"done","step":"ingest","part":"chunk-', AFTER),
)
INGESTED = (
    ("replace */ingest.parquet", BEFORE),
    ('append */journal.jsonl *"step":"ingest","part":"record"*', AFTER),
)


def journal(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]


def test_run_by_reference_killed_at_one_point_after_another_is_whole(house, storage):
    storage.fill(house.photos, PHOTOS)

    def die_at(point: str, when: tuple[str, ...]) -> None:
        kill = ("--kill-at-fs", "0", "--only", point, *when)
        assert_killed(house.run("references", *SMALL_CHUNKS, *kill, **storage.run), (point, when))

    def die_in(matching: Matching, moment: Moment, proxy: FaultProxy) -> None:
        outcome = house.run_and_kill("references", moment, matching, *SMALL_CHUNKS, proxy=proxy, **storage.run)
        assert_killed(outcome, (matching.__name__, moment))

    for line, when in UNSENT:
        die_at(f"append */journal.jsonl *{line}*", when)
    for moment in (Moment.BEFORE_FORWARD, Moment.MID_REQUEST_BODY, Moment.AFTER_UPSTREAM_ANSWER):
        die_in(sends_references, moment, house.proxy)
    for line, when in SENT:
        die_at(f"append */journal.jsonl *{line}*", when)
    die_in(fetches_photo, Moment.BEFORE_FORWARD, storage.proxy)
    for point, when in INGESTED:
        die_at(point, when)
    folder = assert_whole(house, house.run("references", **storage.run), PHOTOS)
    chunks = [line for line in journal(folder) if line["event"] == "done" and str(line["part"]).startswith("chunk-")]
    assert Counter(line["part"] for line in chunks) == {f"chunk-{number:06d}": 1 for number in range(CHUNKS)}
    assert any(line["duplicated"] for line in chunks)
    assert storage.fetched() == Counter(f"/photos/in/photo-{number:04d}.png" for number in range(PHOTOS))
    assert sum(house.proxy.completed("POST", creates_job).values()) == 1
