"""Kills after a run has its summary: while it is published, and before an incremental run is remembered."""

import pytest

from tests.chaos.calls import stores
from tests.chaos.house import assert_accounted, assert_killed, make_photos
from tests.chaos.plan import Moment

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

HANDFUL = 6
PUBLISHED = (
    ("/run.json", Moment.MID_REQUEST_BODY),
    ("/report.html", Moment.AFTER_UPSTREAM_ANSWER),
    ("/summary.parquet", Moment.BEFORE_FORWARD),
)


def test_run_killed_while_it_publishes_is_published_whole_and_its_summary_last(house, storage, tmp_path):
    few = make_photos(tmp_path / "few", HANDFUL)
    run = {"source": few, "options": ("--destination", f"{storage.place.url}/results"), **storage.environment}
    for name, moment in PUBLISHED:
        outcome = house.run_and_kill("published", moment, stores(name), proxy=storage.proxy, **run)
        assert_killed(outcome, (name, moment))
        assert not any(key.endswith("/summary.parquet") for key in storage.stored())
    folder = assert_accounted(house, house.run("published", **run), HANDFUL)
    unpublished = {"journal.jsonl", "ingest.parquet", "job.parquet"}
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    expected = {
        f"results/{folder.name}/{name}": path.read_bytes()
        for name, path in files.items()
        if not name.startswith(".") and name not in unpublished
    }
    assert {key: storage.place.get(key) for key in storage.stored()} == expected
    written = [call.path for call in storage.proxy.calls if call.method == "PUT" and call.done_upstream]
    assert written[-1].endswith("/summary.parquet")
    assert sum("/summary.parquet" in path for path in written) == 1


def test_incremental_run_killed_before_it_is_remembered_is_remembered_and_not_done_again(house, tmp_path):
    few = make_photos(tmp_path / "few", HANDFUL)
    run = {"source": few, "options": ("--only-new",)}
    for point, when in (("replace */summary.parquet", ("--after",)), ("replace .state/state-*", ())):
        assert_killed(house.run("only new", "--kill-at-fs", "0", "--only", point, *when, **run), point)
    house.proxy.forget()
    assert_accounted(house, house.run("only new", **run), HANDFUL)
    assert {call.method for call in house.proxy.calls} == {"GET"}
    again = house.run("only new", **run)
    assert (again.status, again.output) == (0, f"nothing new in {few}: its {HANDFUL} files were processed before\n")
