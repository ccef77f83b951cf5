"""Measurement of results: errors in units of u and of the bound, once per batch for what all results share.

Statistics are computed once per bitwise-distinct result: engines often return the same bits, and share what was measured,
of a result and of a pair of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from chainback.judging.judgement import Judgement
from chainback.judging.statistics import Histogram, Mean, row_sums
from chainback.operations.arithmetic import Array
from chainback.truth.envelope import Envelope

__all__ = ["Agreement", "Measured", "PairBound", "Units"]


class Units:
    """The units in which errors on a batch are measured, u |reference| and the bound, and which components count.

    They are made once per batch and arithmetic, and used for every result.

    Attributes:
        decided: Rows that count; None if all do.
        per_u: 1 / (u |reference|) where the reference is a normal number, else 0.
        per_bound: 1 / bound.
        abnormal: How many counted components have no normal reference.
        sharp: How many counted components are judged sharply: bound <= `Arithmetic.sharp_bound` · |reference|.
        sharp_pairs: How many are when two results of that bound are compared.
        per_signed_u: 1 / (u reference), with its sign, where a component is judged sharply and its reference is normal;
            else 0.
        per_signed_bound: 1 / bound, with the sign of the reference, likewise.
        sharp_normal_by_case: How many such components each counted case has.
        sharp_normal: How many there are in all.
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
            limit = envelope.arithmetic.sharp_bound * size
            sharp = bound <= limit
            counted = sharp & normal
            self.per_signed_u = _where(counted, np.copysign(self.per_u, reference))
            # A component whose bound is 0 has no margin.
            with_margin = counted & (bound > 0.0) if self.some_exact else counted
            self.per_signed_bound = _where(with_margin, np.copysign(self.per_bound, reference))
            self.abnormal = int(normal.size - np.count_nonzero(normal))
            self.bounds = Histogram()
            self.bounds.add(bound * self.per_u, ignored_zeros=self.abnormal)
        self.sharp = int(np.count_nonzero(sharp))
        self.sharp_pairs = int(np.count_nonzero(bound <= 0.5 * limit))
        self.sharp_normal_by_case = row_sums(counted.astype(np.float32)).astype(np.int64)
        self.sharp_normal = int(self.sharp_normal_by_case.sum())

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
    """A result on the first `units.rows` cases of a batch, judged and measured: all that is needed to count it.

    Attributes:
        judgement: Of the whole batch.
        ids: Of its cases.
        units: Made of the same envelope.
        rejected: Which cases are.
        accepted: How many are.
        got: The components of the counted cases.
        digest: A keyed hash of the result's bits.
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

    def __init__(self, judgement: Judgement, ids: Sequence[str], units: Units) -> None:
        """Measure a judgement; of a malformed result only that it is one."""
        rows = units.rows
        self.judgement, self.ids, self.units = judgement, ids, units
        self.rejected = judgement.rejected_cases[:rows]
        self.accepted = int(np.count_nonzero(judgement.accepted_cases[:rows]))
        self.margin_max, self.error_max, self.size = -1.0, 0.0, 0
        if judgement.malformed:
            return
        self.got: Float32[Array, "counted components"] = units.select(judgement.got)
        self.digest = _hash(judgement.got[:rows], ids[0])
        self.size = self.got.size
        if not self.size:
            return
        deviation, error = units.select(judgement.deviation), units.select(judgement.error)
        with np.errstate(all="ignore"):
            signed = deviation * units.per_signed_u
            squares = row_sums(signed, signed)
            self.error_squares = float(squares.sum())
            self.mean_error, self.square_error = self._mean(row_sums(signed)), self._mean(squares)
            np.multiply(deviation, units.per_signed_bound, out=signed)
            self.mean_margin = self._mean(row_sums(signed))
            self.square_margin = self._mean(row_sums(signed, signed))
            self._margin = np.multiply(error, units.per_bound, out=signed)
            if units.some_exact:  # 0 / 0
                self._margin[error == 0.0] = 0.0
            in_u = error * units.per_u
            self.margins, self.errors = Histogram(), Histogram()
            self.margins.add(self._margin)
            self.errors.add(in_u, ignored_zeros=units.abnormal)
            self.error_max, self.margin_max = _nan_as_infinity(in_u), _nan_as_infinity(self._margin)

    def _mean(self, sums: Array) -> Mean:
        mean = Mean()
        mean.add(sums, self.units.sharp_normal_by_case)
        return mean

    def worst_case(self) -> str:
        """Return the id of the counted case with the largest margin."""
        decided, margin = self.units.decided, self._margin
        row = int(np.argmax(np.where(np.isnan(margin), np.inf, margin)) // margin.shape[1])
        return self.ids[row if decided is None else int(np.flatnonzero(decided)[row])]


class PairBound:
    """How far two right results on a batch can differ: the sum of their bounds, each under its own arithmetic."""

    def __init__(self, one: Units, other: Units) -> None:
        """Add the bounds of the same cases under two arithmetics, which may be one."""
        self._known: dict[frozenset[Measured], Agreement] = {}
        self._decided: Array | None = None
        if one is other:
            self._per_two_bounds, self._sharp = 0.5 * one.per_bound, one.sharp_pairs
        else:
            ours, theirs = one.envelope, other.envelope
            self._decided = np.flatnonzero((ours.decided & theirs.decided)[: one.rows])
            bounds = ours.bound[self._decided] + theirs.bound[self._decided]
            limit = max(ours.arithmetic.sharp_bound, theirs.arithmetic.sharp_bound) * np.abs(
                ours.reference[self._decided]
            )
            self._sharp = int(np.count_nonzero(bounds <= limit))
            with np.errstate(all="ignore"):
                self._per_two_bounds = 1.0 / bounds
        with np.errstate(all="ignore"):
            self._per_two_bounds = self._per_two_bounds.astype(np.float32)

    def agreement(self, a: Measured, b: Measured) -> Agreement:
        """Compare two results, or return the comparison made before."""
        both = frozenset((a, b))
        if both not in self._known:
            self._known[both] = Agreement.of(self._select(a), self._select(b), self._per_two_bounds, self._sharp)
        return self._known[both]

    def _select(self, result: Measured) -> Array:
        return result.got if self._decided is None else result.judgement.got[self._decided]


@dataclass(frozen=True)
class Agreement:
    """The comparison of two results on the same cases; also of a result with itself, with which NaN does not agree.

    Attributes:
        components: How many were compared.
        identical: How many are the same bit for bit.
        sharp: How many the sum of both bounds judges sharply.
        disagreeing: How many lie further apart than both bounds together allow.
        margin_max: The largest distance / both bounds; infinite for NaN.
    """

    components: int
    identical: int
    sharp: int
    disagreeing: int
    margin_max: float

    @classmethod
    def of(
        cls,
        a: Float32[Array, "cases components"],
        b: Float32[Array, "cases components"],
        per_two_bounds: Float32[Array, "cases components"],
        sharp: int,
    ) -> Agreement:
        """Compare the components of two results.

        Args:
            a: One result.
            b: The other.
            per_two_bounds: 1 / (bound of a + bound of b).
            sharp: How many components the sum of both bounds judges sharply.
        """
        identical = int(np.count_nonzero(a.view(np.int32) == b.view(np.int32)))
        with np.errstate(all="ignore"):
            margin = a - b
            margin *= per_two_bounds
            margin_max = _nan_as_infinity(np.abs(margin, out=margin))
            agreeing = a.size if margin_max <= 1.0 else int(np.count_nonzero(margin <= np.float32(1.0)))
        return cls(a.size, identical, sharp, a.size - agreeing, margin_max)


def _hash(got: Array, first_id: str) -> int:
    """Return a hash of a result's bits, to be summed over batches in any order and on any machine."""
    key = hashlib.blake2b(first_id.encode(), digest_size=16).digest()
    block = hashlib.blake2b(np.ascontiguousarray(got).data, digest_size=8, key=key).digest()
    return int.from_bytes(block, "little")


def _nan_as_infinity(values: Array) -> float:
    """Return the largest of nonnegative values, infinity if one is NaN."""
    largest = float(values.max(initial=0.0))
    return float("inf") if np.isnan(largest) else largest
