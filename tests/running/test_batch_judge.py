"""The judge of batches: it counts what it is handed, and runs nothing itself."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chainback import ENGINES, draw
from chainback.judging.judgement import Result, read_result
from chainback.operations.arithmetic import FLOAT32
from chainback.problems.chain import Case
from chainback.running.batch import Batch
from chainback.running.batch_judge import BatchJudge, EngineResult, System
from chainback.running.schedule import PlannedBatch

ROWS = 40


@pytest.fixture(scope="module")
def case() -> Case:
    return draw("lecture", seed=3, depth=4, width=1, batch=0, rows=ROWS)


@pytest.fixture(scope="module")
def solved(case: Case) -> tuple[Result, System]:
    """What the triangular method returned on the batch, and the system that it solved."""
    chain = case.chain
    program = ENGINES["triangular-substitution"].compile(4, 1, ROWS)
    placed = program.place(chain.weights, chain.biases, chain.activations, case.inputs, case.targets)
    gradients, found = program.solved(placed)
    arrays = (np.asarray(array) for array in (found.couplings, found.slopes, found.states))
    return read_result(case, gradients), System(gradients, *arrays)


def judged(case: Case, *results: EngineResult, number: int = 1) -> BatchJudge:
    judge = BatchJudge()
    planned = PlannedBatch("lecture", 4, 1, number, ROWS, ROWS)
    judge.judge_batch({FLOAT32: Batch.of(7, planned, case, FLOAT32)}, results)
    assert judge.batches_done == 1
    return judge


def result(name: str, **how: Any) -> EngineResult:
    return EngineResult(name, "batched", FLOAT32, **how)


def test_results_are_counted_by_engine_and_by_pair(case, solved) -> None:
    right, _ = solved
    found = judged(
        case,
        result("declines", declined="too deep"),
        result("fails", failed="it raised", compile_s=2.0),
        result("right", result=right, run_s=0.5),
        result("as right", result=right),
    ).totals
    rows = {key.engine: tally.row() for key, tally in found.tallies.items()}
    assert list(rows) == ["declines", "fails", "right", "as right"]
    assert [row["verdict"] for row in rows.values()] == ["not run", "rejected", "accepted", "accepted"]
    assert (rows["fails"]["rejected"], rows["fails"]["compile_s"], rows["right"]["run_s"]) == (ROWS, 2.0, 0.5)
    assert [key[:2] for key in found.pairs] == [("right", "as right")]
    assert [(place, rejection.engine, rejection.reason) for place, rejection in found.rejections] == [
        (7, "fails", "it raised")
    ]


def test_a_result_that_does_not_repeat_is_rejected(case, solved) -> None:
    right, _ = solved
    other = Result(right.components * np.float32(1 + 2.0**-23))
    assert judged(case, result("e", result=right, again=right), number=0).totals.rejections == []
    ((_, rejection),) = judged(case, result("e", result=right, again=other), number=0).totals.rejections
    assert rejection.reason == "it gave other bits when it was run on the same batch again"


def test_steps_are_counted_on_the_first_batch_and_named_on_every_rejected_one(case, solved) -> None:
    right, system = solved
    wrong = Result(right.components * np.float32(1.001))
    slopes = replace(system, slopes=system.slopes * np.float32(1.001))
    first = judged(case, result("e", result=right, again=right, system=system), number=0).totals
    assert [step for step, _ in first.steps] == ["linearisation", "substitution"]
    assert {tally.row()["verdict"] for tally in first.steps.values()} == {"accepted"}
    later = judged(case, result("e", result=right, system=slopes)).totals
    assert (later.steps, later.rejections) == ({}, [])
    ((_, rejection),) = judged(case, result("e", result=wrong, system=slopes)).totals.rejections
    assert "; its linearisation is wrong at slope_" in rejection.reason
    ((_, rejection),) = judged(case, result("e", result=wrong)).totals.rejections
    assert "its linearisation" not in rejection.reason


def test_a_sweep_and_a_sample_are_tasks(case, solved) -> None:
    judge = BatchJudge()
    judge.count_sweep("activation", 3, [{"activation": "tanh"}])
    judge.count_sweep("function", 4, [{"function": "sin"}, {"function": "sin"}])
    batch = Batch.of(5, PlannedBatch("lecture", 4, 1, 0, ROWS, ROWS), case, FLOAT32)
    judge.judge_sample({FLOAT32: batch}, [replace(result("e", result=solved[0]), execution="eager")])
    assert (judge.batches_done, judge.tasks_done) == (0, 3)
    assert judge.totals.activations == {3: {"activation": "tanh"}}
    assert len(judge.totals.functions[4]) == 2
    assert [key.execution for key in judge.totals.tallies] == ["eager"]
