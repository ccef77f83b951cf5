"""A batch of cases with its reference gradients, its error bounds, and the measured results of the engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from chainback.errors import EngineError
from chainback.judging.judgement import Judgement, Result, judge_result
from chainback.judging.measurement import Measured, Units
from chainback.operations.arithmetic import Arithmetic
from chainback.problems.case_id import CaseId
from chainback.problems.chain import Case, Chain
from chainback.problems.ensembles import draw, rebuild
from chainback.running.device_check import compared
from chainback.running.schedule import PlannedBatch
from chainback.truth.chain_bound import Derived, envelope
from chainback.truth.envelope import Envelope

__all__ = ["Batch", "BatchByArithmetic", "BatchMaker", "ReferenceSource"]

#: Two results that differ at all do so, mostly, in so many cases already.
_FIRST = 64


class ReferenceSource(Protocol):
    """What computes reference gradients and bounds of batches elsewhere than in NumPy.

    Attributes:
        name: In reports.
    """

    name: str

    def prepare(self, depth: int, width: int, rows: int, arithmetic: Arithmetic) -> None:
        """Do beforehand what batches of a shape will need."""

    def __call__(self, case: Case, arithmetic: Arithmetic, check: bool) -> tuple[Envelope, Judgement | None]:
        """Return reference and bound of a batch: its own, or NumPy's with its own judged by them, as `check` asks."""
        ...


@dataclass(frozen=True)
class Batch:
    """A batch of cases with its reference gradients, and its error bounds under one arithmetic.

    Attributes:
        place: In the run.
        planned: Which it is.
        case: Its cases.
        envelope: Their reference gradients and bounds.
        units: What errors on it are measured in.
        checked: How another source's reference and bounds compare with these, where they were computed.
        unchecked: Why they could not be.
        measured: What results were measured to be, once per bitwise-distinct result.
        placed: The cases on devices, by how they are placed there.
    """

    place: int
    planned: PlannedBatch
    case: Case
    envelope: Envelope
    units: Units
    checked: Judgement | None = None
    unchecked: str = ""
    measured: list[tuple[Result, Measured]] = field(default_factory=list)
    placed: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        place: int,
        planned: PlannedBatch,
        case: Case,
        arithmetic: Arithmetic,
        source: ReferenceSource | None = None,
    ) -> Batch:
        """Compute reference and bounds of a batch, by NumPy or another source; the first batch of a row by both."""
        bounds, checked = (
            (envelope(case, arithmetic), None)
            if source is None
            else source(case, arithmetic, check=planned.number == 0)
        )
        return cls(place, planned, case, bounds, Units(bounds, planned.judged), checked)

    @property
    def derived(self) -> Derived:
        """Reference and bounds with all that they were derived from, where NumPy computed them."""
        assert isinstance(self.envelope, Derived)
        return self.envelope

    def settled(self, results: Iterable[Result]) -> Batch:
        """Return the batch by whose reference and bounds these results are to be counted.

        That is this one, unless another source computed them and one of the results would be rejected: then NumPy does, all
        results are counted by NumPy's, and the other source is judged.
        """
        if isinstance(self.envelope, Derived):
            return self
        if not any(self.measure(result).rejected.any() for result in results if result.components is not None):
            return self
        here = Batch.of(self.place, self.planned, self.case, self.envelope.arithmetic)
        return replace(
            here, checked=compared(self.envelope, here.derived, self.case.chain.activations), placed=self.placed
        )

    def measure(self, result: Result) -> Measured:
        """Return a result, judged and measured."""
        for known, measured in self.measured:
            if _begin_alike(result, known) and result.same_bits(known):
                return measured
        self.measured.append((result, Measured(judge_result(self.envelope, result), self.case.ids, self.units)))
        return self.measured[-1][1]


#: A batch under each arithmetic of a run: the cases and their reference gradients are the same, the bounds are not.
BatchByArithmetic = dict[Arithmetic, Batch]


def _begin_alike(a: Result, b: Result) -> bool:
    first, second = a.components, b.components
    return first is not None and second is not None and np.array_equal(first[:_FIRST], second[:_FIRST], equal_nan=True)


@dataclass(frozen=True)
class BatchMaker:
    """Draws the cases of batches, and computes their reference gradients and bounds.

    Attributes:
        seed: Of the cases.
        arithmetics: Under which results are judged.
        only: The one case to judge, first in its batch; None for all.
        source: What computes references elsewhere; None for NumPy alone.
        at_work: Returns a context for a call of the source on a shape; EngineError from it is the source's failure.
    """

    seed: int
    arithmetics: Sequence[Arithmetic]
    only: CaseId | None = None
    source: ReferenceSource | None = None
    at_work: Callable[[tuple[int, int, int]], AbstractContextManager[Any]] = lambda shape: nullcontext()

    def batch(self, place: int, planned: PlannedBatch) -> BatchByArithmetic:
        """Return a planned batch."""
        case = draw(
            planned.ensemble,
            seed=self.seed,
            depth=planned.depth,
            width=planned.width,
            batch=planned.number,
            rows=planned.rows,
        )
        case = case if self.only is None else _with_row_first(case, self.only.row)
        if self.source is None:
            return self._by_numpy(place, planned, case)
        try:
            with self.at_work(planned.shape):
                return {a: Batch.of(place, planned, case, a, self.source) for a in self.arithmetics}
        except EngineError as error:  # it failed, or an earlier process did not survive it
            batches = self._by_numpy(place, planned, case)
            return {arithmetic: replace(batch, unchecked=str(error)) for arithmetic, batch in batches.items()}

    def sample(self, place: int, planned: PlannedBatch) -> BatchByArithmetic:
        """Return a batch of one case, to be run by itself."""
        if self.only is not None:
            return self._by_numpy(place, planned, rebuild(self.only).as_batch())
        return replace(self, source=None).batch(place, planned)

    def _by_numpy(self, place: int, planned: PlannedBatch, case: Case) -> BatchByArithmetic:
        return {arithmetic: Batch.of(place, planned, case, arithmetic) for arithmetic in self.arithmetics}


def _with_row_first(case: Case, row: int) -> Case:
    """Return a batch rotated so that a row comes first."""
    chain, rotated = case.chain, partial(np.roll, shift=-row, axis=0)
    return Case(
        Chain(rotated(chain.weights), rotated(chain.biases), chain.activations),
        rotated(case.inputs),
        rotated(case.targets),
        (*case.ids[row:], *case.ids[:row]),
    )
