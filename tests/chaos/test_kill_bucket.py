"""Runs that lie in a bucket: each next command is given on another machine than the one that was killed."""

from itertools import cycle
from pathlib import Path

import pytest

from tasks.core.settings import Settings
from tasks.steps.runs import runs_folder
from tests.chaos.calls import creates_job, downloads, sends_shard, stores
from tests.chaos.house import SHARDS, assert_killed, assert_whole
from tests.chaos.plan import Moment

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

CALLS = (
    (sends_shard, Moment.AFTER_UPSTREAM_ANSWER),
    (creates_job, Moment.AFTER_UPSTREAM_ANSWER),
    (downloads, Moment.MID_RESPONSE),
)
"""To the server."""
PUSHES = (
    ("/results.parquet", Moment.MID_REQUEST_BODY),
    ("/journal.jsonl", Moment.AFTER_UPSTREAM_ANSWER),
    ("/summary.parquet", Moment.BEFORE_FORWARD),
)
"""Of files to the bucket; by the time of the second one the run is exported."""


def files(folder: Path) -> dict[str, bytes]:
    """What a run's folder holds, but for a machine's own notes."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_run_in_a_bucket_goes_on_on_another_machine_and_is_whole(house, storage, tmp_path):
    machines = cycle((tmp_path / "one", tmp_path / "other"))
    runs = f"{storage.place.url}/runs"

    def here(machine: Path) -> dict[str, object]:
        return {"options": ("--runs", runs), **storage.environment, "DARKROOM_HOME": str(machine)}

    for matching, moment in CALLS:
        outcome = house.run_and_kill("bucket", moment, matching, **here(next(machines)))
        assert_killed(outcome, (matching.__name__, moment))
    for name, moment in PUSHES:
        outcome = house.run_and_kill("bucket", moment, stores(name), proxy=storage.proxy, **here(next(machines)))
        assert_killed(outcome, (name, moment))
        assert not any(key.endswith("/summary.parquet") for key in storage.stored())
    machine = next(machines)
    outcome = house.run("bucket", **here(machine))
    folder = assert_whole(house, outcome, runs=runs_folder(runs, Settings.model_validate({"DARKROOM_HOME": machine})))
    prefix = f"runs/{folder.name}/"
    assert {key.removeprefix(prefix): storage.place.get(key) for key in storage.stored()} == files(folder)
    assert sum(house.proxy.completed("PUT", sends_shard).values()) == SHARDS
    assert sum(house.proxy.completed("POST", creates_job).values()) == 1
