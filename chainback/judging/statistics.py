"""Streamed statistics: a histogram, an exact sum, a mean; each merges with what was counted elsewhere.

Neither the order in which numbers come nor their distribution over machines shows in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from chainback.operations.arithmetic import Array

__all__ = ["FALSE_ALARM", "Histogram", "Mean", "Sum", "row_sums"]

#: The probability that a test of statistics calls something wrong where only chance moved it.
FALSE_ALARM = 1e-6


class Histogram:
    """Counts of nonnegative numbers in 32 bins an octave, so that quantiles stream and merge.

    A number falls into the bin of the leading 14 bits of its float32 form; a quantile is the upper edge of its bin, at most
    1/32 above the true one.
    """

    _SHIFT = 18
    _BINS = 1 << (31 - _SHIFT)

    def __init__(self) -> None:
        self.counts = np.zeros(self._BINS, np.int64)

    def __getstate__(self) -> tuple[Array, Array]:
        places = np.flatnonzero(self.counts)
        return places, self.counts[places]

    def __setstate__(self, state: tuple[Array, Array]) -> None:
        self.__init__()
        places, counts = state
        self.counts[places] = counts

    def add(self, values: Array, ignored_zeros: int = 0) -> None:
        """Count the values, except for so many of the zeros among them."""
        with np.errstate(over="ignore", invalid="ignore"):
            values = values.astype(np.float32)
        counts = np.bincount(values.view(np.uint32).ravel() >> self._SHIFT, minlength=2 * self._BINS)
        self.counts += counts[: self._BINS] + counts[self._BINS :]  # 0 × ∞ is a NaN whose sign is set
        self.counts[0] -= ignored_zeros

    def merge(self, other: Histogram) -> None:
        """Count what another one counted."""
        self.counts += other.counts

    def to_json(self) -> list[list[int]]:
        """Return the bins that are not empty, and their counts."""
        return [part.tolist() for part in self.__getstate__()]

    @classmethod
    def from_json(cls, state: list[list[int]]) -> Self:
        """Return what `to_json` wrote."""
        histogram = cls()
        places, counts = state
        histogram.counts[np.array(places, np.intp)] = counts
        return histogram

    def quantile(self, share: float) -> float:
        """Return a value that at least this share of the counted numbers does not exceed; NaN if there are none."""
        total = int(self.counts.sum())
        if total == 0:
            return float("nan")
        place = int(np.searchsorted(np.cumsum(self.counts), max(1.0, np.ceil(share * total))))
        if place == 0:
            return 0.0
        if place >= 0x7F800000 >> self._SHIFT:
            return float("inf")
        return float(np.array([(place + 1) << self._SHIFT], np.int32).view(np.float32)[0])


class Sum:
    """An exact sum of floats, so that neither the order of batches nor their distribution over machines matters.

    Source: Shewchuk (1997), *Adaptive Precision Floating-Point Arithmetic*, section 2: an expansion of floats that do not
    overlap is grown by one.
    """

    def __init__(self, parts: list[float] | None = None) -> None:
        self._parts = list(parts or ())

    def add(self, number: float) -> None:
        """Add a number."""
        parts = []
        for part in self._parts if math.isfinite(number) else ():
            large, small = (number, part) if abs(number) >= abs(part) else (part, number)
            number = large + small
            if rest := small - (number - large):
                parts.append(rest)
        finite = all(map(math.isfinite, self._parts))  # an infinity or a NaN stays, alone
        self._parts = [*parts, number] if finite else [*self._parts, number]

    def merge(self, other: Sum) -> None:
        """Add what another one has added up."""
        for part in other._parts:
            self.add(part)

    def to_json(self) -> list[float]:
        """Return the floats whose sum it is."""
        return list(self._parts)

    @classmethod
    def from_json(cls, state: list[float]) -> Self:
        """Return what `to_json` wrote."""
        return cls(state)

    def __float__(self) -> float:
        return math.fsum(self._parts) if all(map(math.isfinite, self._parts)) else sum(self._parts)


@dataclass
class Mean:
    """A mean over cases and its standard error, streamed: cases are independent, the components of one case are not."""

    count: int = 0
    total: Sum = field(default_factory=Sum)
    squares: Sum = field(default_factory=Sum)

    def add(self, sums: Array, counts: Array) -> None:
        """Count the mean of each case.

        Args:
            sums: (cases,), over the components that count.
            counts: (cases,), how many do.
        """
        if not counts.all():
            sums, counts = sums[counts > 0], counts[counts > 0]
        of_case = sums / counts
        self.count += of_case.size
        self.total.add(float(of_case.sum()))
        self.squares.add(float(row_sums(of_case[None], of_case[None])[0]))

    def merge(self, other: Mean) -> None:
        """Count what another one counted."""
        self.count += other.count
        self.total.merge(other.total)
        self.squares.merge(other.squares)

    def to_json(self) -> list[Any]:
        """Return its count and its sums."""
        return [self.count, self.total.to_json(), self.squares.to_json()]

    @classmethod
    def from_json(cls, state: list[Any]) -> Self:
        """Return what `to_json` wrote."""
        count, total, squares = state
        return cls(count, Sum(total), Sum(squares))

    @property
    def mean(self) -> float:
        """The mean; NaN without a case."""
        return float(self.total) / self.count if self.count else float("nan")

    @property
    def standard_error(self) -> float:
        """The standard deviation of the mean; NaN below two cases."""
        if self.count < 2:
            return float("nan")
        variance = (float(self.squares) - float(self.total) ** 2 / self.count) / (self.count - 1)
        return float(np.sqrt(max(variance, 0.0) / self.count))

    @property
    def root(self) -> tuple[float, float]:
        """The square root of the mean, and its standard error to first order: of squares, their root mean square."""
        root = math.sqrt(self.mean) if self.mean > 0 else self.mean
        return root, self.standard_error / (2.0 * root) if root > 0 else self.standard_error


def row_sums(*factors: Array) -> Array:
    """Return the sum of the products of each row. (No BLAS: it would start threads of its own beside those of the run.)"""
    letters = ",".join(["ij"] * len(factors))
    return np.einsum(f"{letters}->i", *factors)
