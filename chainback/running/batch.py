"""A batch as a run has it: its cases, their truth and bound, and what was answered to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from chainback.judging.judgement import Judgement, Result, judge_result
from chainback.judging.measurement import Measured, Units
from chainback.operations.activations import activation
from chainback.operations.arithmetic import FLOAT64, Arithmetic, Array
from chainback.problems.chain import Case
from chainback.running.schedule import Batch
from chainback.truth.chain_bound import Derived, envelope
from chainback.truth.chain_forward_error import flushed_magnitudes, forward_error_bounds
from chainback.truth.chain_gradient import layers_by_activation
from chainback.truth.envelope import Envelope

__all__ = ["Drawing", "Drawn", "Oracle", "compared"]


#: How far another oracle may be off, as a share of each bound. In float64 the truth's own error is about 2⁻²⁹ of a bound
#: (see `truth.chain_gradient`), which leaves 2⁹ for other functions and another order; no bound moves by more than 10⁻⁶.
_SHARE = 2.0**-20
#: How far an evaluation in it may lie off in one layer, as a share of E_x and E_δ there: each of two does, and the share of
#: a bound has room for four such layers.
_APART = _SHARE / 8
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
        units: What errors on it are measured in.
        checked: How another oracle's truth and bound compare with these, where they were.
        unchecked: Why they could not be.
        measured: What engines answered, each different answer once.
        placed: The cases on devices, by how they are placed there.
    """

    place: int
    batch: Batch
    case: Case
    envelope: Envelope
    units: Units
    checked: Judgement | None = None
    unchecked: str = ""
    measured: list[tuple[Result, Measured]] = field(default_factory=list)
    placed: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, place: int, batch: Batch, case: Case, arithmetic: Arithmetic, elsewhere: Oracle | None = None) -> Drawn:
        """Work out truth and bound of a batch, or have it done elsewhere; of the first of a row they are known here."""
        bounds, checked = (
            (envelope(case, arithmetic), None) if elsewhere is None else elsewhere(case, arithmetic, batch.number == 0)
        )
        return cls(place, batch, case, bounds, Units(bounds, batch.judged), checked)

    @property
    def derived(self) -> Derived:
        """Truth and bound with all that they were derived from, where they were worked out here."""
        assert isinstance(self.envelope, Derived)
        return self.envelope

    def settled(self, answers: Iterable[Result]) -> Drawn:
        """Return the batch by whose truth and bound these answers are to be counted.

        That is this one, unless it was worked out elsewhere and one of them would be rejected by it: NumPy then works it out
        here, and by that all of them are counted, and the other oracle is judged.
        """
        if isinstance(self.envelope, Derived):
            return self
        if not any(self.measure(answer).rejected.any() for answer in answers if answer.components is not None):
            return self
        here = Drawn.of(self.place, self.batch, self.case, self.envelope.arithmetic)
        return replace(
            here, checked=compared(self.envelope, here.derived, self.case.chain.activations), placed=self.placed
        )

    def measure(self, answer: Result) -> Measured:
        """Return an answer, judged and measured."""
        for known, measured in self.measured:
            if _begin_alike(answer, known) and answer.same_bits(known):
                return measured
        self.measured.append((answer, Measured(judge_result(self.envelope, answer), self.case.ids, self.units)))
        return self.measured[-1][1]


#: A batch under each arithmetic of a run: the cases and their truth are the same, the bound is not.
Drawing = dict[Arithmetic, Drawn]


def _begin_alike(a: Result, b: Result) -> bool:
    first, second = a.components, b.components
    return first is not None and second is not None and np.array_equal(first[:_FIRST], second[:_FIRST], equal_nan=True)


def compared(found: Envelope, expected: Derived, activations: Sequence[str]) -> Judgement:
    """Judge an envelope by another one of the same cases: each truth, and each bound, to within 2⁻²⁰ of that bound.

    Where one decides a case and the other does not, the first is wrong about it. Of the cases that are decided here, those
    that float64 does not settle are left undecided.
    """
    reference = np.concatenate([expected.reference, expected.bound], axis=1)
    bound = _SHARE * np.concatenate([expected.bound, expected.bound], axis=1)
    got = np.concatenate([found.reference, found.bound], axis=1)
    held = ~expected.decided | _settled(expected, tuple(activations))
    at_odds = held & (found.decided != expected.decided)
    got[at_odds] = np.nan
    decided = held & expected.decided | at_odds
    blocks = (*expected.blocks, *(replace(block, name=f"bound of {block.name}") for block in expected.blocks))
    both = replace(expected, reference=reference, bound=bound, decided=decided, blocks=blocks)
    return judge_result(both, Result(got))


def _settled(expected: Derived, activations: tuple[str, ...]) -> Array:
    """Say for which cases float64 settles every layer: two evaluations in it agree far within E_x and E_δ.

    Mostly float64 moves a layer by 2⁻²⁹ of what float32 does. But E_x and E_δ end where a function does: of sin(z) at
    z = 10⁷ ± 10¹⁰ all is known that can be, within [−1, 1], and what float64 makes of it hangs on its own last bits.
    An argument that is a kink, to the bit, is one that float64 did not have to round.
    """
    truth, error_bounds = expected.truth, expected.error_bounds
    at_kink = np.zeros(truth.arguments.shape, bool)
    for name, layers in layers_by_activation(activations).items():
        at_kink[layers] = np.isin(truth.arguments[layers], activation(name).kinks)
    with np.errstate(all="ignore"):
        flushed = flushed_magnitudes(truth.weights, FLOAT64)
        double = forward_error_bounds(truth, activations, flushed, FLOAT64)
        # A bound that is not finite is no excuse.
        states = double.states[1:] > _APART * error_bounds.states[1:]
        slopes = (double.slopes > _APART * error_bounds.slopes) & ~at_kink
    return np.asarray(~(states | slopes).any(axis=(0, 1)))
