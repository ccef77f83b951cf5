"""Judges the results of a batch, and counts them. It runs in a thread of its own, and calls neither JAX nor the pipeline.

All that a judgement may need is run before and handed over: a second result on the first batch of a row, and the system that
a triangular engine solved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from chainback.judging.judgement import Result, Steps, judge_steps
from chainback.judging.measurement import Measured, PairBound, Units
from chainback.judging.run_totals import RunTotals
from chainback.judging.tally import Pair, Rejection, RowKey, StepTally, Tally
from chainback.operations.arithmetic import Arithmetic
from chainback.running.batch import Batch, BatchByArithmetic

__all__ = ["BatchJudge", "EngineResult", "System"]

#: What `steps.csv` calls a check of reference gradients and bounds from another source than NumPy.
_TRUTH = "truth"


@dataclass(frozen=True)
class System:
    """The linear system that an engine solved, and the gradients that came of it.

    Attributes:
        gradients: dweights and dbiases.
        couplings: C, (batch, depth, width, width).
        slopes: δ, (batch, depth, width).
        states: x_0 … x_N, (batch, depth + 1, width).
    """

    gradients: Any
    couplings: np.ndarray
    slopes: np.ndarray
    states: np.ndarray


@dataclass(frozen=True)
class EngineResult:
    """What an engine did on a batch.

    Attributes:
        engine: Its name in the report.
        execution: "batched", "single" or "eager".
        arithmetic: Under which it is judged.
        declined: Why it does not take such a batch; then nothing else is there.
        failed: Why there is no result.
        result: Its gradients, as they were read.
        again: On the first batch of a row, those of a second run.
        system: The system that it solved, where it shows one.
        compile_s: Seconds of compilation, where this is the first batch of its shape.
        run_s: Seconds that it ran.
    """

    engine: str
    execution: str
    arithmetic: Arithmetic
    declined: str = ""
    failed: str = ""
    result: Result | None = None
    again: Result | None = None
    system: System | None = None
    compile_s: float = 0.0
    run_s: float = 0.0


@dataclass
class BatchJudge:
    """Judges and counts, batch by batch.

    Attributes:
        source: Name of what computes reference gradients elsewhere than in NumPy, if anything does.
        batches_done: How many batches are counted.
        tasks_done: How many samples and sweeps are.
        totals: What was counted.
    """

    source: str = ""
    batches_done: int = 0
    tasks_done: int = 0
    totals: RunTotals = field(default_factory=RunTotals)

    @property
    def state(self) -> tuple[int, int, RunTotals]:
        """What was counted so far, for another process to go on from."""
        return self.batches_done, self.tasks_done, self.totals

    def judge_batch(self, batches: BatchByArithmetic, results: Sequence[EngineResult]) -> None:
        """Judge each result against the reference, and each pair of results against each other; then the batch is done."""
        settled = {}
        for arithmetic, batch in batches.items():
            under_it = [found.result for found in results if found.result and found.arithmetic == arithmetic]
            settled[arithmetic] = batch.settled(under_it)
            self._judge_source(settled[arithmetic], several=len(batches) > 1)
        measured = {}
        for found in results:
            if one := self._judge(settled[found.arithmetic], found):
                measured[found.engine] = one
        self._compare_pairs(next(iter(settled.values())), measured)
        self.batches_done += 1

    def judge_sample(self, batches: BatchByArithmetic, results: Sequence[EngineResult]) -> None:
        """Judge the results on a case that was run by itself."""
        for found in results:
            self._judge(batches[found.arithmetic], found)
        self.tasks_done += 1

    def count_sweep(self, subject: str, place: int, rows: list[dict[str, Any]]) -> None:
        """Count the sweep of an "activation" (one row) or a "function"."""
        if subject == "activation":
            (self.totals.activations[place],) = rows
        else:
            self.totals.functions[place] = rows
        self.tasks_done += 1

    def _judge(self, batch: Batch, found: EngineResult) -> Measured | None:
        """Judge and count a result; return what it was measured to be, if it is one."""
        tally, ids = self._tally(found, batch), batch.case.ids
        if found.declined:
            tally.declined = found.declined
            return None
        tally.compile_s += found.compile_s
        if found.result is None:
            self._keep(batch, tally.fail(batch.planned.judged, ids[0], found.failed))
            return None
        tally.run_s += found.run_s
        measured = batch.measure(found.result)
        steps = _Steps(batch, found.system)
        self._keep(batch, tally.add(measured, steps.failed))
        if found.result.malformed:
            return None
        if found.again is not None and not found.again.same_bits(found.result):
            self._keep(batch, tally.unsteady(ids[0], "it gave other bits when it was run on the same batch again"))
        if found.again is not None and steps.judged is not None:
            self._count_steps(batch, tally.key, steps.judged)
        return measured

    def _tally(self, found: EngineResult, batch: Batch) -> Tally:
        planned = batch.planned
        key = RowKey(found.engine, found.execution, planned.ensemble, planned.depth, planned.width)
        if key not in self.totals.tallies:
            self.totals.tallies[key] = Tally(key)
        return self.totals.tallies[key]

    def _keep(self, batch: Batch, rejection: Rejection | None) -> None:
        """Keep a rejection, with its place in the run."""
        if rejection is not None:
            self.totals.rejections.append((batch.place, rejection))

    def _judge_source(self, batch: Batch, several: bool) -> None:
        """Count how another source's reference gradients and bounds compare with NumPy's, where both were computed."""
        if not (batch.checked or batch.unchecked):
            return
        name = f"{self.source} for {batch.envelope.arithmetic.name}" if several else self.source
        key = RowKey(name, "batched", batch.planned.ensemble, batch.planned.depth, batch.planned.width)
        tally = self.totals.steps.setdefault((_TRUTH, key), StepTally(key, judged=_TRUTH))
        ids = batch.case.ids
        if batch.checked is None:
            self._keep(batch, tally.fail(batch.planned.judged, ids[0], batch.unchecked))
        else:
            units = Units(batch.checked.envelope, batch.planned.judged)
            self._keep(batch, tally.add(Measured(batch.checked, ids, units)))

    def _count_steps(self, batch: Batch, key: RowKey, steps: Steps) -> None:
        rows = batch.planned.judged
        for judged, judgement in (("linearisation", steps.linearisation), ("substitution", steps.substitution)):
            tally = self.totals.steps.setdefault((judged, key), StepTally(key, judged=judged))
            measured = Measured(judgement, batch.case.ids, Units(judgement.envelope, rows))
            self._keep(batch, tally.add(measured))
            if judged == "substitution":
                tally.compare(judgement.envelope, batch.envelope, rows)

    def _compare_pairs(self, batch: Batch, measured: dict[str, Measured]) -> None:
        pair_bounds: dict[frozenset[Units], PairBound] = {}
        planned = batch.planned
        for a, b in combinations(measured, 2):
            one, other = measured[a].units, measured[b].units
            if (both := frozenset((one, other))) not in pair_bounds:
                pair_bounds[both] = PairBound(one, other)
            key = (a, b, planned.ensemble, planned.depth, planned.width)
            pair = self.totals.pairs.setdefault(key, Pair(*key))
            pair.add(pair_bounds[both].agreement(measured[a], measured[b]))


class _Steps:
    """The two steps of a triangular engine on a batch, judged apart when they are first needed."""

    def __init__(self, batch: Batch, system: System | None) -> None:
        self._batch, self._system, self._judged = batch, system, None

    @property
    def judged(self) -> Steps | None:
        """Linearisation and substitution; None where no system was shown."""
        if self._judged is None and self._system is not None:
            system = self._system
            self._judged = judge_steps(
                self._batch.case,
                system.gradients,
                system.couplings,
                system.slopes,
                system.states,
                self._batch.derived,
            )
        return self._judged

    def failed(self, row: int) -> str:
        """Say at which step a case failed; empty where no system was shown."""
        return "" if self.judged is None else self.judged.failed(row)
