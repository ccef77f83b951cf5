"""A batch as a run has it: its cases, their truth and bound, and what was answered to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from chainback.bounds import GRADIENT, Derived, Envelope, envelope
from chainback.case import Case
from chainback.judgement import Answer, Judgement, judge_answer
from chainback.plan import Batch
from chainback.rounding import Arithmetic
from chainback.yardstick import Measured, Yardstick

__all__ = ["Drawing", "Drawn", "Oracle", "compared"]

#: How far another oracle may be off, as a share of each bound. In float64 the truth's own error is about 2⁻²⁹ of a bound
#: (see `oracle`), which leaves 2⁹ for other functions and another order; and no bound moves by more than a millionth.
_SHARE = 2.0**-20
#: What is compared: truth and bound of every component.
_BOTH = (*GRADIENT, *((f"bound of {name}", rank) for name, rank in GRADIENT))
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
    def derived(self) -> Derived:
        """Truth and bound with all that they were derived from, where they were worked out here."""
        assert isinstance(self.envelope, Derived)
        return self.envelope

    def settled(self, answers: Iterable[Answer]) -> Drawn:
        """Return the batch by whose truth and bound these answers are to be counted.

        That is this one, unless it was worked out elsewhere and one of them would be rejected by it: NumPy then works it out
        here, and by that all of them are counted, and the other oracle is judged.
        """
        if isinstance(self.envelope, Derived):
            return self
        if not any(self.measure(answer).rejected.any() for answer in answers if answer.components is not None):
            return self
        here = Drawn.of(self.place, self.batch, self.case, self.envelope.arithmetic)
        return replace(here, checked=compared(self.envelope, here.envelope), placed=self.placed)

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


def compared(found: Envelope, expected: Envelope) -> Judgement:
    """Judge an envelope by another one of the same cases: each truth, and each bound, to within 2⁻²⁰ of that bound.

    Where one decides a case and the other does not, the first is wrong about it.
    """
    reference = np.concatenate([expected.reference, expected.bound], axis=1)
    bound = _SHARE * np.concatenate([expected.bound, expected.bound], axis=1)
    got = np.concatenate([found.reference, found.bound], axis=1)
    at_odds = found.decided != expected.decided
    got[at_odds] = np.nan
    within = replace(expected, reference=reference, bound=bound, decided=expected.decided | at_odds, layout=_BOTH)
    return judge_answer(within, Answer(got))
