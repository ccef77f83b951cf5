"""A batch as a run has it: its cases, their truth and bound, and what was answered to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from chainback.bounds import Derived, Envelope, envelope
from chainback.case import Case
from chainback.judgement import Answer, Judgement, judge_answer
from chainback.plan import Batch
from chainback.rounding import Arithmetic
from chainback.yardstick import Measured, Yardstick

__all__ = ["Drawing", "Drawn", "Oracle"]

#: Two answers that differ at all do so, mostly, in so many cases already.
_FIRST = 64


class Oracle(Protocol):
    """What works out truth and bound of batches elsewhere than here.

    Attributes:
        name: In reports.
    """

    name: str

    def prepare(self, depth: int, width: int, rows: int, arithmetic: Arithmetic) -> None:
        """Do beforehand what batches of a shape will need."""

    def __call__(self, case: Case, arithmetic: Arithmetic, check: bool) -> tuple[Envelope, Judgement | None]:
        """Return truth and bound of a batch: ours, and theirs judged, if it was worked out here, too, as `check` asks."""
        ...


@dataclass(frozen=True)
class Drawn:
    """A batch with its truth, and its bound under one arithmetic.

    Attributes:
        place: In the run.
        batch: Which it is.
        case: Its cases.
        envelope: Their truth and bound.
        yardstick: What errors on it are measured in.
        checked: How another oracle's truth and bound compare with these, where they were.
        unchecked: Why they could not be.
        measured: What engines answered, each different answer once.
        placed: The cases on devices, by how they are placed there.
    """

    place: int
    batch: Batch
    case: Case
    envelope: Envelope
    yardstick: Yardstick
    checked: Judgement | None = None
    unchecked: str = ""
    measured: list[tuple[Answer, Measured]] = field(default_factory=list)
    placed: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, place: int, batch: Batch, case: Case, arithmetic: Arithmetic, elsewhere: Oracle | None = None) -> Drawn:
        """Work out truth and bound of a batch, or have it done elsewhere; of the first of a row they are known here."""
        bounds, checked = (
            (envelope(case, arithmetic), None) if elsewhere is None else elsewhere(case, arithmetic, batch.number == 0)
        )
        return cls(place, batch, case, bounds, Yardstick(bounds, batch.judged), checked)

    @property
    def here(self) -> Drawn:
        """The same batch, its truth and bound worked out here by NumPy."""
        return self if isinstance(self.envelope, Derived) else self._worked_out_here

    @cached_property
    def _worked_out_here(self) -> Drawn:
        return Drawn.of(self.place, self.batch, self.case, self.envelope.arithmetic)

    @property
    def derived(self) -> Derived:
        """Truth and bound with all that they were derived from."""
        bounds = self.here.envelope
        assert isinstance(bounds, Derived)
        return bounds

    def measure(self, answer: Answer) -> Measured:
        """Return an answer, judged and measured; rejected it is by NumPy alone."""
        for known, measured in self.measured:
            if _begin_alike(answer, known) and answer.same_bits(known):
                return measured
        found = Measured(judge_answer(self.envelope, answer), self.case.ids, self.yardstick)
        if found.rejected.any() and self.here is not self:
            found = self.here.measure(answer)
        self.measured.append((answer, found))
        return found


#: A batch under each arithmetic of a run: the cases and their truth are the same, the bound is not.
Drawing = dict[Arithmetic, Drawn]


def _begin_alike(a: Answer, b: Answer) -> bool:
    first, second = a.components, b.components
    return first is not None and second is not None and np.array_equal(first[:_FIRST], second[:_FIRST], equal_nan=True)
