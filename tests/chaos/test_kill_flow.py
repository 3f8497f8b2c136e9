import json
import signal

import pytest

from tests.chaos.calls import EVERY_STEP, counts_batch, creates_job, downloads, lists_results, sends_shard
from tests.chaos.house import House, Outcome, assert_whole, finish
from tests.chaos.plan import Moment

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

SHARDS = 2
MOST_JOURNAL_LINES = 40
KILLS = {
    Moment.BEFORE_FORWARD: EVERY_STEP,
    Moment.MID_REQUEST_BODY: (sends_shard, creates_job),
    Moment.AFTER_UPSTREAM_ANSWER: EVERY_STEP,
    Moment.MID_RESPONSE: (sends_shard, counts_batch, creates_job, lists_results, downloads),
}


def assert_sent_once(house: House) -> None:
    assert sum(house.proxy.completed("PUT").values()) == SHARDS
    assert sum(house.proxy.completed("POST", creates_job).values()) == 1


def killed(outcome: Outcome) -> bool:
    return outcome.status == -signal.SIGKILL


@pytest.fixture(scope="module")
def disk_points(whole_house: House, tmp_path_factory) -> list[str]:
    """Where a run touches the disk, in the order of the first time, as patterns without the run's key."""
    counted = tmp_path_factory.mktemp("points") / "points.json"
    outcome = whole_house.run("count", "--count-to", str(counted))
    key = outcome.last_line[1]
    points = [point.replace(key, "*") for point in json.loads(counted.read_text())]
    return list(dict.fromkeys(point for point in points if ".staging" not in point))


@pytest.mark.parametrize("moment", KILLS)
def test_run_killed_at_one_call_after_another_is_whole(house, moment):
    for step in KILLS[moment]:
        outcome = house.run_and_kill(f"calls {moment}", moment, step)
        assert killed(outcome), f"{step.__name__}: {outcome}"
    assert_whole(house, house.run(f"calls {moment}"))
    assert_sent_once(house)


def test_run_killed_at_one_touch_of_the_disk_after_another_is_whole(house, disk_points):
    kills = 0
    for number, point in enumerate(disk_points):
        when = ["--after"] if number % 2 else []
        outcome = house.run("disk", "--kill-at-fs", "0", "--only", point, *when)
        assert killed(outcome) or outcome.status == 0, f"{point}: {outcome}"
        kills += killed(outcome)
    assert kills >= 5
    assert_whole(house, house.run("disk"))
    assert_sent_once(house)


def test_run_killed_between_its_writes_and_their_records_is_whole(house):
    for line in range(MOST_JOURNAL_LINES):
        # Later every time, so that the run gets on although it repeats the lines that were uncertain.
        outcome = house.run("journal", "--kill-at-fs", str(line), "--only", "fsync */journal.jsonl")
        if not killed(outcome):
            break
    assert line >= 4
    assert_whole(house, outcome)
    assert_sent_once(house)


def test_finished_run_is_found_and_makes_no_writes(house):
    house.run("again")
    house.proxy.forget()
    assert_whole(house, house.run("again"))
    assert {call.method for call in house.proxy.calls} <= {"GET"}


def test_two_copies_of_one_command_make_one_run(house):
    with house.start("twins") as one, house.start("twins") as other:
        outcomes = [finish(one), finish(other)]
    for outcome in outcomes:
        assert_whole(house, outcome)
    assert_sent_once(house)
