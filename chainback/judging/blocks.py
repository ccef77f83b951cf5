"""A block of numbers judged: one array of a gradient, or of a value, against its truth, by one of two yardsticks.

Where the derived bound is sharp (<= 10⁻³ of the reference, or the reference is 0 and so is the bound) it alone decides.
Where it is not, the sampled one decides: nothing is accepted by a vacuous bound alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainback.judging.judgement import Verdict
from chainback.operations.arithmetic import Array

__all__ = ["Block", "Rejected", "judge_block"]

_SHARP = 1e-3


@dataclass(frozen=True)
class Rejected:
    """The worst component of a block that was rejected.

    Attributes:
        component: Its place, as `[3, 7]`; "" of a scalar.
        got: What came back.
        expected: The truth.
        bound: The largest error that is right.
        by: "derived" or "sampled".
        wrong: How many components are wrong.
    """

    component: str
    got: float
    expected: float
    bound: float
    by: str
    wrong: int


@dataclass(frozen=True)
class Block:
    """What came of a block.

    Attributes:
        components: How many numbers it has.
        derived: How many the derived bound decided.
        sampled: How many the sampled one did.
        at_kinks: How many have a bound that is as large as it is since a slope may be either of two.
        sharp: How many were judged within 10⁻³ of the reference.
        margin: The largest error / bound.
        verdict: Accepted, rejected, or undecided.
        why: Of what is rejected or undecided, in a sentence.
        worst: Of what is rejected.
    """

    components: int
    derived: int
    sampled: int
    at_kinks: int
    sharp: int
    margin: float
    verdict: Verdict
    why: str = ""
    worst: Rejected | None = None


def judge_block(
    got: Any,
    reference: Array,
    bound: Array,
    *,
    sampled: Array | None = None,
    choices: Array | None = None,
    magnitude: Array | None = None,
    dtype: str = "",
    undecided: str = "",
) -> Block:
    """Judge one block.

    Args:
        got: What came back.
        reference: The truth, float64.
        bound: The derived bound of each component.
        sampled: The sampled bound; None where none was made.
        choices: What other choices at kinks and ties alone may change.
        magnitude: Of the terms that cancel in each component: an exact zero of a sum is judged by what it sums.
        dtype: That `got` must have; "" for any.
        undecided: Why nothing can be decided, or "".
    """
    result = np.asarray(got)
    size = int(np.size(reference))
    if dtype and str(result.dtype) != dtype:
        return Block(size, 0, 0, 0, 0, float("inf"), Verdict.REJECTED, f"it has dtype {result.dtype}, expected {dtype}")
    if result.shape != np.shape(reference):
        return Block(
            size,
            0,
            0,
            0,
            0,
            float("inf"),
            Verdict.REJECTED,
            f"it has shape {result.shape}, expected {np.shape(reference)}",
        )
    if undecided:
        return Block(size, 0, 0, 0, 0, float("nan"), Verdict.UNDECIDED, undecided)
    result = result.astype(np.float64)
    with np.errstate(all="ignore"):
        error = np.abs(result - reference)
        error = np.where((result == reference) | (np.isnan(result) & np.isnan(reference)), 0.0, error)
        limit = _SHARP * np.abs(reference)
        by_derived = (bound <= limit) | ((reference == 0.0) & (bound == 0.0)) | ~np.isfinite(reference)
        by_kink = np.zeros(np.shape(reference), bool) if choices is None else (choices > limit) & ~by_derived
        statistical = None if sampled is None else sampled + (0.0 if choices is None else choices)
        allowed = np.where(by_derived, bound, bound if statistical is None else np.fmin(bound, statistical))
        right = (error <= allowed) & ~(np.isnan(result) & ~np.isnan(reference))
        margin = np.where(error == 0.0, 0.0, error / allowed)
    vacuous = ~by_derived & ~by_kink & (allowed > np.abs(reference)) & (error > 0.0)
    if magnitude is not None and sampled is not None:
        vacuous &= ~(allowed <= _SHARP * magnitude)
    sharp = int(np.count_nonzero((allowed <= limit) | ((reference == 0.0) & (allowed == 0.0))))
    largest = float(np.max(np.where(np.isnan(margin), np.inf, margin), initial=0.0))
    counts = (
        size,
        int(np.count_nonzero(by_derived)),
        int(np.count_nonzero(~by_derived)),
        int(np.count_nonzero(by_kink)),
        sharp,
        largest,
    )
    if not np.all(right):
        wrong = ~right
        place = (
            np.unravel_index(
                int(np.argmax(np.where(wrong, np.where(np.isnan(margin), np.inf, margin), -1.0))), np.shape(reference)
            )
            if size > 1 or np.ndim(reference)
            else ()
        )
        name = f"[{', '.join(map(str, place))}]" if place else ""
        worst = Rejected(
            name,
            float(result[place]),
            float(reference[place]),
            float(allowed[place]),
            "derived" if by_derived[place] or statistical is None else "sampled",
            int(wrong.sum()),
        )
        return Block(*counts, Verdict.REJECTED, "", worst)
    if size and np.all(vacuous):
        return Block(*counts, Verdict.UNDECIDED, "every bound is larger than the truth: no digit is certain")
    return Block(*counts, Verdict.ACCEPTED)
