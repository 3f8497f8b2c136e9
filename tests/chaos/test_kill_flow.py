import signal

import pytest

from tests.chaos.calls import (
    asks_for_shard_url,
    counts_batch,
    creates_job,
    downloads,
    lists_results,
    polls_job,
    reads_workflow,
    sends_shard,
)
from tests.chaos.house import (
    EMBEDDED,
    SHARDS,
    House,
    assert_accounted,
    assert_killed,
    assert_whole,
    finish,
    make_photos,
)
from tests.chaos.plan import Moment

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

CALLS = (
    (reads_workflow, Moment.AFTER_UPSTREAM_ANSWER),
    (asks_for_shard_url, Moment.BEFORE_FORWARD),
    (asks_for_shard_url, Moment.AFTER_UPSTREAM_ANSWER),
    (sends_shard, Moment.BEFORE_FORWARD),
    (sends_shard, Moment.MID_REQUEST_BODY),
    (sends_shard, Moment.AFTER_UPSTREAM_ANSWER),
    (counts_batch, Moment.BEFORE_FORWARD),
    (counts_batch, Moment.MID_RESPONSE),
    (creates_job, Moment.BEFORE_FORWARD),
    (creates_job, Moment.MID_REQUEST_BODY),
    (creates_job, Moment.AFTER_UPSTREAM_ANSWER),
    (polls_job, Moment.BEFORE_FORWARD),
    (polls_job, Moment.AFTER_UPSTREAM_ANSWER),
    (lists_results, Moment.BEFORE_FORWARD),
    (lists_results, Moment.MID_RESPONSE),
    (downloads, Moment.BEFORE_FORWARD),
    (downloads, Moment.MID_RESPONSE),
    (downloads, Moment.AFTER_UPSTREAM_ANSWER),
)
HANDFUL = 9
"""So few that they go up one by one."""
BEFORE, AFTER = (), ("--after",)
RECORDS = (
    ('"step":"ingest","part":"way"', BEFORE),
    ('"event":"intent","step":"ingest"', AFTER),
    ('"event":"done","step":"ingest","part":"shard-', BEFORE),
    ('"step":"ingest","part":"record"', AFTER),
    ('"event":"intent","step":"launch"', BEFORE),
    ('"event":"done","step":"launch"', AFTER),
    ('"step":"wait"', BEFORE),
    ('"step":"export","part":"images-archives/', AFTER),
    ('"step":"export","part":"record"', BEFORE),
)
"""Lines of the journal. Before one, the work is done and answered, but not written down; after, half of it is."""
FILES = (
    ("replace .staging/*/manifest.parquet", BEFORE),
    ("fsync .staging/*/run.json.part", AFTER),
    ("rename *", BEFORE),
    ("rename *", AFTER),
    ("replace */ingest.parquet", AFTER),
    ("fsync */job.parquet.part", BEFORE),
    ("replace */job.parquet", AFTER),
    ("replace */export/aggregated-results/*", AFTER),
    ("fsync */export/images-archives/*.part", AFTER),
    ("replace */export/images-archives/*", AFTER),
    ("replace */export/images-archives/*", BEFORE),
    ("replace */predictions.parquet", AFTER),
    ("replace */results.parquet", AFTER),
    ("replace */failures.parquet", BEFORE),
    ("replace */report.html", AFTER),
    ("fsync */summary.parquet.part", AFTER),
    ("replace */summary.parquet", AFTER),
)
"""In the order in which a run comes by, so that each next one lies ahead of what has been done."""


def assert_sent_once(house: House) -> None:
    assert sum(house.proxy.completed("PUT").values()) == SHARDS
    assert sum(house.proxy.completed("POST", creates_job).values()) == 1


def test_run_killed_at_one_call_after_another_is_whole(house):
    for matching, moment in CALLS:
        assert_killed(house.run_and_kill("calls", moment, matching), (matching.__name__, moment))
    assert_whole(house, house.run("calls"))
    assert_sent_once(house)


def test_run_killed_at_one_record_after_another_is_whole(house):
    for line, when in RECORDS:
        outcome = house.run("records", "--kill-at-fs", "0", "--only", f"append */journal.jsonl *{line}*", *when)
        assert_killed(outcome, line)
    assert_whole(house, house.run("records"))
    assert_sent_once(house)


def test_run_killed_at_one_file_after_another_is_whole(house):
    for point, when in FILES:
        assert_killed(house.run("files", "--kill-at-fs", "0", "--only", point, *when), (point, when))
    assert_whole(house, house.run("files"))
    assert_sent_once(house)


def test_run_of_a_handful_on_the_embedded_server_is_whole_after_kills(house):
    few = make_photos(house.folder / "handful", HANDFUL)
    for line in ('"event":"done","step":"ingest","part":"shard-*5"', '"step":"wait"'):
        kill = ("--kill-at-fs", "0", "--only", f"append */journal.jsonl *{line}*")
        assert_killed(house.run("embedded", *kill, source=few, options=EMBEDDED), line)
    assert_accounted(house, house.run("embedded", source=few, options=EMBEDDED), HANDFUL)


def test_finished_run_is_found_without_a_write_and_without_prefect(house, tmp_path):
    first = house.run("again")
    assert_whole(house, first)
    written = {path: path.stat().st_mtime_ns for path in house.runs.rglob("*")}
    house.proxy.forget()
    again = house.run("again", PREFECT_API_URL="", DARKROOM_HOME=str(tmp_path / "home"))
    assert_whole(house, again)
    assert again.output.splitlines()[-1] == first.output.splitlines()[-1]
    assert {call.method for call in house.proxy.calls} == {"GET"}
    assert {path: path.stat().st_mtime_ns for path in house.runs.rglob("*")} == written
    assert not (tmp_path / "home").exists()


def test_two_copies_of_one_command_make_one_run(house):
    with house.start("twins") as one, house.start("twins") as other:
        outcomes = [finish(one), finish(other)]
    for outcome in outcomes:
        assert_whole(house, outcome)
    assert outcomes[0].last_line[0] == outcomes[1].last_line[0]
    assert_sent_once(house)


def test_copy_of_a_killed_command_takes_its_run_over(house):
    dies = ("--kill-at-fs", "0", "--only", "append *")
    with house.start("heir") as heir, house.start("heir", *dies) as late, house.start("heir", *dies) as later:
        outcomes = [finish(child) for child in (late, later, heir)]
    assert {outcome.status for outcome in outcomes[:2]} <= {0, -signal.SIGKILL}
    assert_whole(house, outcomes[2])
    assert_sent_once(house)
