import pytest

from tests.chaos.calls import creates_job
from tests.chaos.house import SHARDS, House, assert_whole
from tests.chaos.plan import FaultPlan
from tests.commands import Outcome

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]


def assert_whole_despite_faults(house: House, outcome: Outcome) -> None:
    """A call whose answer was lost is made again, to the same place: no second shard, no second job."""
    assert_whole(house, outcome)
    assert len(house.proxy.completed("PUT")) == SHARDS
    assert len(house.proxy.completed("POST", creates_job)) == 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_run_through_faults_on_one_call_in_ten_is_whole(house, seed):
    house.proxy.plan = FaultPlan(seed=seed)
    assert_whole_despite_faults(house, house.run(f"faults {seed}"))
    assert any(call.fault for call in house.proxy.calls)


def test_run_through_faults_on_every_other_call_is_whole(house):
    house.proxy.plan = FaultPlan(seed=4, share=0.5, max_in_a_row=3)
    assert_whole_despite_faults(house, house.run("many faults"))
    assert len({call.fault for call in house.proxy.calls}) > 5
