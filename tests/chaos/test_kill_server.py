import pytest

from tests.chaos.calls import creates_job, downloads, polls_job, sends_shard
from tests.chaos.house import assert_whole, finish
from tests.chaos.plan import KillAt, Moment
from tests.chaos.proxy import armed

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

KILL_SECONDS = 60.0


@pytest.mark.parametrize(
    ("moment", "matching", "index"),
    [
        (Moment.MID_REQUEST_BODY, sends_shard, 0),
        (Moment.AFTER_UPSTREAM_ANSWER, sends_shard, 1),
        (Moment.AFTER_UPSTREAM_ANSWER, creates_job, 0),
        (Moment.BEFORE_FORWARD, polls_job, 1),
        (Moment.MID_RESPONSE, downloads, 0),
    ],
    ids=["in a shard", "after a shard", "after the job", "in the job", "in a download"],
)
def test_run_outlives_a_killed_server(house, moment, matching, index):
    label = f"server {moment} {matching.__name__}"
    kill = KillAt(lambda: house.server.pid, index, moment, matching)
    with armed(house.proxy, kill), house.start(label) as child:
        killed = house.proxy.killed.wait(KILL_SECONDS)
        house.server.stop()
        house.server.start()
        outcome = finish(child)
    assert killed
    assert_whole(house, outcome)
