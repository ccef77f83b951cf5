"""Totals of a run: whatever the order in which shards are merged, the first rejection of a row is the first of the run."""

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from chainback import draw, gradient, judge
from chainback.judging.measurement import Measured, Units
from chainback.judging.run_totals import RunTotals
from chainback.judging.tally import Rejection, RowKey, StepTally, Tally
from chainback.truth.chain_bound import envelope

KEY = RowKey("engine", "batched", "lecture", 3, 1)


def rejection(batch: int, reason: str = "wrong", step: str = "") -> Rejection:
    return Rejection(*KEY, batch, f"lecture@1:0:3x1:{batch}:0/5", step, reason=reason)


def parts() -> list[RunTotals]:
    """Three shards of a run, each with a rejection of batch 2, 10 or 3, at its place in the run."""
    return [RunTotals(rejections=[(3 * batch, rejection(batch))]) for batch in (2, 10, 3)]


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_the_first_rejection_of_a_row_is_that_at_the_first_place(order: tuple[int, ...]) -> None:
    whole, shards = RunTotals(), parts()
    for place in order:
        whole.merge(shards[place])
    assert [item.batch for item in whole.in_order()] == [2, 3, 10], "by place, not as text"
    assert whole.first_rejections() == {("", KEY): rejection(2)}


def test_rejections_of_a_step_are_those_of_another_row() -> None:
    totals = RunTotals(rejections=[(0, rejection(0, step="substitution")), (1, rejection(1))])
    assert totals.first_rejections() == {
        ("", KEY): rejection(1),
        ("substitution", KEY): rejection(0, step="substitution"),
    }
    assert totals.first_rejections()["substitution", KEY].sentence == "wrong", "a step that failed as a whole"
    named = replace(rejection(0, "dW_1[0,0]: got 2", "substitution"), component="dW_1[0,0]")
    assert named.sentence == "its substitution is wrong: dW_1[0,0]: got 2"


@pytest.mark.parametrize("kind", [Tally, StepTally])
@pytest.mark.parametrize("value", [2.0, np.nan, np.inf])
def test_totals_are_the_same_after_json(kind: type[Tally], value: float) -> None:
    case = draw("lecture", seed=0, depth=3, width=1, batch=0, rows=5)
    found = gradient(case.chain, case.inputs, case.targets)
    weights, biases = np.array(found.weights), np.array(found.biases)
    biases[3, 1] = value
    bounds = envelope(case)
    tally = kind(KEY, judged="linearisation") if kind is StepTally else kind(KEY)
    rejected = tally.add(Measured(judge(case, (weights, biases), within=bounds), case.ids, Units(bounds, 5)))
    assert rejected is not None
    assert (rejected.case_id, rejected.component) == (case.ids[3], "db_2[0]")
    assert rejected.step == ("linearisation" if kind is StepTally else "")
    failed = tally.fail(5, case.ids[0], "it raised")
    totals = RunTotals(rejections=[(7, rejected), (8, failed)])
    if kind is StepTally:
        totals.steps["linearisation", KEY] = tally
    else:
        totals.tallies[KEY] = tally
    back = RunTotals.from_json(json.loads(json.dumps(totals.to_json())))
    assert back.rejections == totals.rejections
    assert str(back.to_json()) == str(totals.to_json())
