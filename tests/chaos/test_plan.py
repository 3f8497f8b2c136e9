from tests.chaos.plan import ANSWERS, CUTS, SURVIVABLE, Fault, FaultPlan


def test_plan_draws_the_same_faults_for_the_same_seed():
    first, second = FaultPlan(seed=7), FaultPlan(seed=7)
    assert [first.draw(n) for n in range(500)] == [second.draw(n) for n in range(500)]


def test_plan_draws_other_faults_for_another_seed():
    assert [FaultPlan(seed=1).draw(n) for n in range(500)] != [FaultPlan(seed=2).draw(n) for n in range(500)]


def test_plan_hits_one_call_in_ten_with_every_kind():
    drawn = [FaultPlan(seed=3).draw(n) for n in range(5_000)]
    hits = [fault for fault in drawn if fault]
    assert 400 < len(hits) < 600
    assert set(hits) == set(SURVIVABLE)


def test_every_fault_is_an_answer_or_a_cut():
    assert set(ANSWERS) | set(CUTS) == set(Fault)
    assert not set(ANSWERS) & set(CUTS)
