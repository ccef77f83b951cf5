"""What is measured of a batch: once of its truth, once of each answer that differs from the others in a bit.

Engines often give the same bits (of eight about five differ), so what an answer was measured to be is shared by all that
gave it, and what two answers say of each other by all pairs of such engines. Arrays lie in rows, as answers do: where one of
two lies in columns, NumPy takes four times as long to join them (1.2 ns a component, not 0.3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from chainback.judging.judgement import Judgement
from chainback.judging.statistics import Histogram, Mean, row_sums
from chainback.truth.chain_bound import Envelope

__all__ = ["Agreement", "Allowance", "Measured", "Yardstick"]

Array = np.ndarray


class Yardstick:
    """What the errors of a batch are measured in, made once and used for every engine.

    Attributes:
        decided: Rows that count; None if all do.
        per_u: 1 / (u |reference|) where the reference is a normal number, else 0.
        per_bound: 1 / bound.
        abnormal: How many counted components have no normal reference.
        informative: How many counted components are judged sharply: bound <= `Arithmetic.sharp_bound` · |reference|.
        informative_pairs: How many are, when two answers of that bound are compared.
        per_truth: 1 / (u reference), with its sign, where a component is judged sharply and its reference is normal, else 0.
        per_signed_bound: 1 / bound, with the sign of the reference, likewise.
        sharp: How many such components each counted case has.
        sharp_components: How many there are in all.
        some_exact: Whether some bound is 0.
        bounds: Histogram of bound / (u |reference|) where the reference is normal.
    """

    def __init__(self, envelope: Envelope, rows: int) -> None:
        """Measure the first `rows` cases of an envelope."""
        self.envelope = envelope
        self.rows = rows
        decided = envelope.decided[:rows]
        self.decided: Array | None = None if decided.all() else decided
        self.undecided = int(rows - np.count_nonzero(decided))
        reference, bound = self.select(envelope.reference), self.select(envelope.bound)
        size = np.abs(reference)
        normal = size >= envelope.arithmetic.smallest_normal
        self.some_exact = not bound.all()
        with np.errstate(all="ignore"):
            self.per_u = _where(normal, 1.0 / (envelope.arithmetic.unit_roundoff * size))
            self.per_bound = 1.0 / bound
            sharp = envelope.arithmetic.sharp_bound * size
            informative = bound <= sharp
            counted = informative & normal
            self.per_truth = _where(counted, np.copysign(self.per_u, reference))
            # An exact step has no margin.
            told = counted & (bound > 0.0) if self.some_exact else counted
            self.per_signed_bound = _where(told, np.copysign(self.per_bound, reference))
            self.abnormal = int(normal.size - np.count_nonzero(normal))
            self.bounds = Histogram()
            self.bounds.add(bound * self.per_u, ignored_zeros=self.abnormal)
        self.informative = int(np.count_nonzero(informative))
        self.informative_pairs = int(np.count_nonzero(bound <= 0.5 * sharp))
        self.sharp = row_sums(counted.astype(np.float32)).astype(np.int64)
        self.sharp_components = int(self.sharp.sum())

    def select(self, components: Array) -> Array:
        """Return the components of the counted cases."""
        components = components[: self.rows]
        return components if self.decided is None else components[self.decided]


def _where(keep: Array, values: Array) -> Array:
    """Set the values that are not to be kept to 0, in place."""
    if not keep.all():
        np.copyto(values, 0.0, where=~keep)
    return values


class Measured:
    """An answer on the first `yardstick.rows` cases of a batch, judged and measured: all that it takes to count it.

    Attributes:
        judgement: Of the whole batch.
        ids: Of its cases.
        yardstick: Made of the same envelope.
        rejected: Which cases are.
        accepted: How many are.
        got: The components of the counted cases.
        digest: A keyed hash of the answer's bits.
        margins: Histogram of |error| / bound.
        errors: Histogram of the errors in u where the reference is normal.
        error_max: The largest of them.
        margin_max: The largest margin; infinite for NaN, −1 where nothing was counted.
        error_squares: The sum of the squared errors in u over what is judged sharply.
        mean_error: Of the signed errors in u there, case by case.
        square_error: Likewise, of their squares.
        mean_margin: Likewise, of signed margins.
        square_margin: Likewise, of their squares.
    """

    def __init__(self, judgement: Judgement, ids: Sequence[str], yardstick: Yardstick) -> None:
        """Measure a judgement; of a malformed answer there is nothing to measure but that it is one."""
        rows = yardstick.rows
        self.judgement, self.ids, self.yardstick = judgement, ids, yardstick
        self.rejected = judgement.rejected_cases[:rows]
        self.accepted = int(np.count_nonzero(judgement.accepted_cases[:rows]))
        self.margin_max, self.error_max, self.size = -1.0, 0.0, 0
        if judgement.malformed:
            return
        self.got: Float32[Array, "counted components"] = yardstick.select(judgement.got)
        self.digest = _hash(judgement.got[:rows], ids[0])
        self.size = self.got.size
        if not self.size:
            return
        deviation, error = yardstick.select(judgement.deviation), yardstick.select(judgement.error)
        with np.errstate(all="ignore"):
            signed = deviation * yardstick.per_truth
            squares = row_sums(signed, signed)
            self.error_squares = float(squares.sum())
            self.mean_error, self.square_error = self._mean(row_sums(signed)), self._mean(squares)
            np.multiply(deviation, yardstick.per_signed_bound, out=signed)
            self.mean_margin = self._mean(row_sums(signed))
            self.square_margin = self._mean(row_sums(signed, signed))
            self._margin = np.multiply(error, yardstick.per_bound, out=signed)
            if yardstick.some_exact:  # 0 / 0
                self._margin[error == 0.0] = 0.0
            in_u = error * yardstick.per_u
            self.margins, self.errors = Histogram(), Histogram()
            self.margins.add(self._margin)
            self.errors.add(in_u, ignored_zeros=yardstick.abnormal)
            self.error_max, self.margin_max = _nan_as_infinity(in_u), _nan_as_infinity(self._margin)

    def _mean(self, sums: Array) -> Mean:
        mean = Mean()
        mean.add(sums, self.yardstick.sharp)
        return mean

    def worst_case(self) -> str:
        """Return the id of the counted case with the largest margin."""
        decided, margin = self.yardstick.decided, self._margin
        row = int(np.argmax(np.where(np.isnan(margin), np.inf, margin)) // margin.shape[1])
        return self.ids[row if decided is None else int(np.flatnonzero(decided)[row])]


class Allowance:
    """How far two answers to a batch may lie apart: by the sum of their bounds, each under its own arithmetic."""

    def __init__(self, one: Yardstick, other: Yardstick) -> None:
        """Allow for the bounds of two yardsticks of the same cases."""
        self._known: dict[frozenset[Measured], Agreement] = {}
        self._decided: Array | None = None
        if one is other:
            self._per_two_bounds, self._informative = 0.5 * one.per_bound, one.informative_pairs
        else:
            ours, theirs = one.envelope, other.envelope
            self._decided = np.flatnonzero((ours.decided & theirs.decided)[: one.rows])
            bounds = ours.bound[self._decided] + theirs.bound[self._decided]
            sharp = max(ours.arithmetic.sharp_bound, theirs.arithmetic.sharp_bound) * np.abs(
                ours.reference[self._decided]
            )
            self._informative = int(np.count_nonzero(bounds <= sharp))
            with np.errstate(all="ignore"):
                self._per_two_bounds = 1.0 / bounds
        with np.errstate(all="ignore"):
            self._per_two_bounds = self._per_two_bounds.astype(np.float32)

    def agreement(self, a: Measured, b: Measured) -> Agreement:
        """Return what two answers say of each other."""
        both = frozenset((a, b))
        if both not in self._known:
            self._known[both] = Agreement(self._select(a), self._select(b), self._per_two_bounds, self._informative)
        return self._known[both]

    def _select(self, answer: Measured) -> Array:
        return answer.got if self._decided is None else answer.judgement.got[self._decided]


class Agreement:
    """What two answers on the same cases say of each other; of an answer with itself, too, which NaN does not agree with.

    Attributes:
        components: How many were compared.
        identical: How many are the same bit for bit.
        informative: How many the sum of both bounds judges sharply.
        disagreeing: How many lie further apart than both bounds together allow.
        margin_max: The largest distance / both bounds; infinite for NaN.
    """

    def __init__(self, a: Array, b: Array, per_two_bounds: Array, informative: int) -> None:
        """Compare the components of two answers.

        Args:
            a: One answer.
            b: The other.
            per_two_bounds: 1 / (bound of a + bound of b), float32.
            informative: As above.
        """
        self.informative = informative
        self.components = a.size
        self.identical = int(np.count_nonzero(a.view(np.int32) == b.view(np.int32)))
        with np.errstate(all="ignore"):
            margin = a - b
            margin *= per_two_bounds
            self.margin_max = _nan_as_infinity(np.abs(margin, out=margin))
            within = self.margin_max <= 1.0
            self.disagreeing = 0 if within else a.size - int(np.count_nonzero(margin <= np.float32(1.0)))


def _hash(got: Array, first_id: str) -> int:
    """Return a hash of an answer's bits; its sum over batches knows neither their order nor on which machine they ran."""
    key = hashlib.blake2b(first_id.encode(), digest_size=16).digest()
    block = hashlib.blake2b(np.ascontiguousarray(got).data, digest_size=8, key=key).digest()
    return int.from_bytes(block, "little")


def _nan_as_infinity(values: Array) -> float:
    """Return the largest of nonnegative values, infinity if one is NaN."""
    largest = float(values.max(initial=0.0))
    return float("inf") if np.isnan(largest) else largest
