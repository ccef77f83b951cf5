"""A batch as a run has it: its cases, their truth and bound, and what was answered to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainback.bounds import Envelope, envelope
from chainback.case import Case
from chainback.judgement import Answer, judge_answer
from chainback.plan import Batch
from chainback.rounding import Arithmetic
from chainback.yardstick import Measured, Yardstick

__all__ = ["Drawing", "Drawn"]

#: Two answers that differ at all do so, mostly, in so many cases already.
_FIRST = 64


@dataclass(frozen=True)
class Drawn:
    """A batch with its truth, and its bound under one arithmetic.

    Attributes:
        place: In the run.
        batch: Which it is.
        case: Its cases.
        envelope: Their truth and bound.
        yardstick: What errors on it are measured in.
        measured: What engines answered, each different answer once.
        placed: The cases on devices, by how they are placed there.
    """

    place: int
    batch: Batch
    case: Case
    envelope: Envelope
    yardstick: Yardstick
    measured: list[tuple[Answer, Measured]] = field(default_factory=list)
    placed: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, place: int, batch: Batch, case: Case, arithmetic: Arithmetic) -> Drawn:
        """Work out truth and bound of a batch."""
        bounds = envelope(case, arithmetic)
        return cls(place, batch, case, bounds, Yardstick(bounds, batch.judged))

    def measure(self, answer: Answer) -> Measured:
        """Return an answer, judged and measured."""
        for known, measured in self.measured:
            if _begin_alike(answer, known) and answer.same_bits(known):
                return measured
        self.measured.append((answer, Measured(judge_answer(self.envelope, answer), self.case.ids, self.yardstick)))
        return self.measured[-1][1]


#: A batch under each arithmetic of a run: the cases and their truth are the same, the bound is not.
Drawing = dict[Arithmetic, Drawn]


def _begin_alike(a: Answer, b: Answer) -> bool:
    first, second = a.components, b.components
    return first is not None and second is not None and np.array_equal(first[:_FIRST], second[:_FIRST], equal_nan=True)
