import pytest

from tests.chaos.calls import creates_job, fetches_photo, sends_references
from tests.chaos.house import SHARDS, House, assert_whole
from tests.chaos.plan import Fault, FaultPlan
from tests.chaos.storage import SMALL_CHUNKS
from tests.commands import Outcome

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

PHOTOS = 40
LOST = (Fault.SERVER_ERROR, Fault.RESET_BEFORE, Fault.REQUEST_CUT, Fault.RESET_AFTER, Fault.RESPONSE_CUT)


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


def test_run_by_reference_through_faults_on_every_other_request_is_whole(house, storage):
    storage.fill(house.photos, PHOTOS)
    house.proxy.plan = FaultPlan(seed=5, share=0.5, kinds=LOST, max_in_a_row=3, matching=sends_references)
    storage.proxy.plan = FaultPlan(seed=5, share=0.2, matching=fetches_photo)
    outcome = house.run("faults of references", *SMALL_CHUNKS, **storage.run)
    folder = assert_whole(house, outcome, PHOTOS)
    sent = [call for call in house.proxy.calls if sends_references(call.method, call.path)]
    assert {call.fault for call in sent} >= {Fault.SERVER_ERROR, Fault.RESET_AFTER}
    assert '"duplicated":true' in (folder / "journal.jsonl").read_text()
    assert len(storage.fetched()) == PHOTOS
    assert any(call.fault for call in storage.proxy.calls)
