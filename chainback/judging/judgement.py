"""The one place where accepted, rejected or undecided is decided.

A component is accepted when **|got − reference| <= bound is true**; NaN then fails by construction. A case is accepted when
all of its components are; it is undecided, whatever the result, when its envelope is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped

from chainback.errors import sentence
from chainback.operations.arithmetic import FLOAT32, Arithmetic, Array
from chainback.problems.chain import Case, Chain
from chainback.truth.chain_bound import Derived, envelope, linearisation, substitution
from chainback.truth.envelope import Envelope, components_of

__all__ = [
    "Component",
    "Judgement",
    "Result",
    "Steps",
    "Verdict",
    "component_at",
    "exit_code",
    "judge",
    "judge_result",
    "judge_steps",
    "margin_of",
    "overall",
    "read_result",
]


class Verdict(StrEnum):
    """The outcome of a judgement.

    `NOT_RUN` is the outcome of an engine that declined, with its reason; `KNOWN` of a function that is wrong only where that
    is known; `NOT_THERE` of one that this JAX does not have.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNDECIDED = "undecided"
    NOT_RUN = "not run"
    KNOWN = "known"
    NOT_THERE = "not there"


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict on a whole: only proof accepts.

    One rejection rejects; else one part that could not be decided leaves the whole undecided; parts that were not run
    count for nothing, and if nothing else is there the whole is undecided.
    """
    seen = set(verdicts) - {Verdict.NOT_RUN}
    if Verdict.REJECTED in seen:
        return Verdict.REJECTED
    return Verdict.ACCEPTED if seen == {Verdict.ACCEPTED} else Verdict.UNDECIDED


def exit_code(verdict: Verdict) -> int:
    """Return the exit code of a command that ended in this verdict: 0 accepted, 1 rejected, 3 nothing decided."""
    return {Verdict.ACCEPTED: 0, Verdict.REJECTED: 1}.get(verdict, 3)


def margin_of(error: float, bound: float) -> float:
    """Return error / bound; where the bound is 0, as of a state that is exact in every order, 0 of no error and else ∞."""
    if bound == 0.0:
        return 0.0 if error == 0.0 else float("inf")
    return error / bound


@dataclass(frozen=True)
class Component:
    """One component of one case's gradient, as judged.

    Attributes:
        row: The case's place in its batch.
        name: Such as `dW_3[0,1]` or `params['w2'][3, 7]`: layers count from 1, as in the mathematics; indices from 0.
        got: The result's.
        expected: The reference's.
        bound: The largest |got − expected| that would have been accepted.
    """

    row: int
    name: str
    got: float
    expected: float
    bound: float

    @property
    def margin(self) -> float:
        """|got − expected| / bound; accepted up to 1."""
        return margin_of(abs(self.got - self.expected), self.bound)

    def __str__(self) -> str:
        return f"{self.name}: got {self.got:.9g}, expected {self.expected:.9g} ± {self.bound:.2g}"


class Result(NamedTuple):
    """What an engine returned, fetched from its device.

    Attributes:
        components: In rows, as in `Envelope`; None if it is malformed.
        malformed: Why: a wrong shape, a wrong dtype, nothing.
    """

    components: Shaped[Array, "batch components"] | None
    malformed: str = ""

    def same_bits(self, other: Result) -> bool:
        """Whether neither is malformed, and both are the same bit for bit."""
        mine, others = self.components, other.components
        return mine is not None and others is not None and np.array_equal(mine.view(np.int32), others.view(np.int32))


@dataclass(frozen=True)
class Judgement:
    """The judgement of one engine's result on a case or a batch.

    Attributes:
        envelope: Truth and bound.
        malformed: Why the result as a whole is unusable (a wrong shape, a wrong dtype, nothing), else empty. The arrays
            below are empty then.
        got: The result's components.
        deviation: got − reference; not finite where the result is not.
        error: |got − reference|.
        accepted_components: Where |got − reference| <= bound is true.
    """

    envelope: Envelope
    malformed: str
    got: Float[Array, "batch components"]
    deviation: Float64[Array, "batch components"]
    error: Float64[Array, "batch components"]
    accepted_components: Bool[Array, "batch components"]

    @cached_property
    def accepted_cases(self) -> Bool[Array, " batch"]:
        """Decided, and right in every component."""
        decided = self.envelope.decided
        return decided & False if self.malformed else decided & self.accepted_components.all(axis=1)

    @property
    def rejected_cases(self) -> Bool[Array, " batch"]:
        """Decided, and not accepted; every case when the result is malformed."""
        decided = self.envelope.decided
        return decided | True if self.malformed else decided & ~self.accepted_cases

    @property
    def verdict(self) -> Verdict:
        """The verdict on all cases: rejected if one is, accepted if at least one is and the others are undecided."""
        if self.rejected_cases.any():
            return Verdict.REJECTED
        return Verdict.ACCEPTED if self.accepted_cases.any() else Verdict.UNDECIDED

    @property
    def accepted(self) -> bool:
        """Whether the verdict is accepted."""
        return self.verdict is Verdict.ACCEPTED

    def worst(self) -> Component | None:
        """Return the decided component with the largest margin (NaN counts as largest), or None if there is none."""
        if self.malformed or not self.envelope.decided.any():
            return None
        with np.errstate(all="ignore"):
            margin = self.error / self.envelope.bound
        margin[self.error == 0.0] = 0.0  # 0 / 0, where the bound is 0
        margin[~self.envelope.decided] = -1.0
        margin[np.isnan(margin)] = np.inf
        row, place = map(int, np.unravel_index(np.argmax(margin), margin.shape))
        return component_at(self.envelope, self.got, row, place)


def component_at(envelope: Envelope, got: Array, row: int, place: int) -> Component:
    """Return one component by its place in the row of components."""
    expected, bound = envelope.reference[row, place], envelope.bound[row, place]
    return Component(row, envelope.name_of(place), float(got[row, place]), float(expected), float(bound))


@dataclass(frozen=True)
class Steps:
    """A result of the triangular method, its two steps judged apart.

    Attributes:
        linearisation: States, slopes and couplings against the truth: as exact as the chain's conditioning allows.
        substitution: The gradient against the exact solution of the system as computed: a count of roundings.
    """

    linearisation: Judgement
    substitution: Judgement

    def failed(self, row: int) -> str:
        """Return which steps a case failed at, with the first wrong component of each; empty if both are accepted."""
        failures = []
        for name, judgement in (("linearisation", self.linearisation), ("substitution", self.substitution)):
            if judgement.rejected_cases[row]:
                place = int(np.argmax(~judgement.accepted_components[row]))
                component = component_at(judgement.envelope, judgement.got, row, place)
                failures.append(f"its {name} is wrong at {component}")
        return " and ".join(failures)


def judge_steps(case: Case, gradients: Any, couplings: Any, slopes: Any, states: Any, within: Derived) -> Steps:
    """Judge linearisation and substitution of a result of the triangular method, apart.

    Args:
        case: A batch of cases.
        gradients: The pair (dweights, dbiases) that solved the system.
        couplings: C as computed, (batch, depth, width, width).
        slopes: δ as computed, (batch, depth, width).
        states: x_0 … x_N as computed, (batch, depth + 1, width).
        within: The case's envelope.
    """
    couplings, slopes, states = (np.asarray(a) for a in (couplings, slopes, states))
    solved = substitution(case, couplings, slopes, states, within.arithmetic)
    return Steps(
        _compare(linearisation(within), components_of(states[:, 1:], slopes, couplings)),
        judge(case, gradients, within=solved),
    )


def judge(
    case: Case,
    gradients: Any,
    *,
    arithmetic: Arithmetic = FLOAT32,
    within: Envelope | None = None,
) -> Judgement:
    """Judge one engine's gradients of ½‖y − ŷ‖² on a case, or batch of cases, without running any engine.

    Args:
        case: Its numbers are taken as exact.
        gradients: A `Chain` of gradients, or a pair (dweights, dbiases), shaped and typed as the case's weights and biases;
            anything that `numpy.asarray` takes.
        arithmetic: The arithmetic the engine was run under.
        within: The case's envelope, if it is known already.

    Returns:
        The judgement. A result that is malformed is rejected, with the reason; nothing is raised for it.

    Raises:
        UsageError: The case itself cannot be used.
    """
    batch = case.as_batch()
    return judge_result(envelope(batch, arithmetic) if within is None else within, read_result(case, gradients))


def judge_result(within: Envelope, result: Result) -> Judgement:
    """Judge a result that was read already: see `judge`."""
    if result.components is None:
        nothing = np.empty((0, 0))
        return Judgement(within, result.malformed, nothing.astype(np.float32), nothing, nothing, nothing.astype(bool))
    return _compare(within, result.components)


def _compare(within: Envelope, got: Array) -> Judgement:
    """Decide: the one comparison on which every verdict stands."""
    with np.errstate(invalid="ignore"):
        deviation = got - within.reference
        error = np.abs(deviation)
        return Judgement(within, "", got, deviation, error, error <= within.bound)


def read_result(case: Case, gradients: Any) -> Result:
    """Fetch what an engine returned on a case, or batch of cases, from its device, and check its form.

    Args:
        case: The case, or batch of cases.
        gradients: As for `judge`; whatever its arrays raise makes the result malformed.
    """
    if gradients is None:
        return Result(None, "it returned nothing, expected (dweights, dbiases)")
    if isinstance(gradients, Chain):
        gradients = (gradients.weights, gradients.biases)
    if not isinstance(gradients, tuple | list) or len(gradients) != 2:
        length = f" of length {len(gradients)}" if isinstance(gradients, tuple | list) else ""
        returned = f"a {type(gradients).__name__}{length}"
        return Result(None, f"it returned {returned}, expected the pair (dweights, dbiases)")
    parts = []
    for name, value, primal in zip(
        ("dweights", "dbiases"), gradients, (case.chain.weights, case.chain.biases), strict=True
    ):
        try:
            array = np.asarray(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever an engine's own array type may raise
            return Result(None, f"its {name} cannot be read as an array ({sentence(error)})")
        if array.dtype != primal.dtype:
            return Result(None, f"its {name} have dtype {array.dtype}, expected {primal.dtype}")
        if array.shape != tuple(primal.shape):
            return Result(None, f"its {name} have shape {array.shape}, expected {tuple(primal.shape)}")
        parts.append(array if case.chain.is_batch else array[None])
    return Result(components_of(*parts))
