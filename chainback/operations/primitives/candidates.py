"""Maps from candidates: each result is made of several components of the operand, its *candidates*, along one new axis.

Reductions over axes, reductions over windows and cumulative operations differ in nothing but which candidates a result has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainback.operations.arithmetic import Array
from chainback.operations.primitives.calls import Call
from chainback.operations.primitives.maps import Map, Selection, size_of, times
from chainback.operations.primitives.places import window_places

__all__ = ["Folded", "Lines", "Running", "Windows", "along_axis", "over_axes", "over_windows"]

Shape = tuple[int, ...]


class Lines(Map):
    """dy_k = Σ_i c_ki dx_i over the candidates of each result, which lie along the last axis of c.

    Attributes:
        most: How many roundings a component meets where that is known better than by counting candidates.
    """

    most: int | None = None

    @property
    def roundings(self) -> int:  # type: ignore[override]
        """As many as candidates are added, in either direction."""
        return max(self.terms, self.repeats) if self.most is None else self.most

    @property
    def repeats(self) -> int:
        """How often a component of the operand is added on the way back."""
        return 0

    def candidates(self, x: Array, outside: float = 0.0) -> Array:
        """Return the candidates of each result along a new last axis; a constant in place of those that are missing."""
        raise NotImplementedError

    def returned(self, weights: Array) -> Array:
        """Return the transpose of `candidates`: sums over the places from which candidates come."""
        raise NotImplementedError

    def arranged(self, results: Array) -> Array:
        """Return numbers for each result, in the order of candidates, as the results lie."""
        return results

    def disarranged(self, results: Array) -> Array:
        """The inverse of `arranged`."""
        return results

    def push(self, c: Array | None, dx: Array) -> Array:
        """Return A(c) dx."""
        found = self.candidates(dx)
        return self.arranged((found if c is None else times(c, found)).sum(axis=-1))

    def pull(self, c: Array | None, dy: Array) -> Array:
        """Return A(c)ᵀ dy."""
        weights = self.disarranged(np.asarray(dy))[..., None]
        return self.returned(weights if c is None else times(c, weights))


@dataclass(frozen=True)
class Folded(Lines):
    """Reduction over whole axes.

    Attributes:
        shape: Of the operand.
        axes: Over which.
        most: As for `Lines`.
    """

    shape: Shape
    axes: Shape
    most: int | None = None

    @property
    def terms(self) -> int:
        """All along the axes are added."""
        return max(size_of(tuple(self.shape[a] for a in self.axes)) - 1, 0)

    @property
    def _order(self) -> Shape:
        return (*(a for a in range(len(self.shape)) if a not in self.axes), *self.axes)

    def candidates(self, x: Array, outside: float = 0.0) -> Array:
        """Return the components along the axes."""
        rest = self._order[: len(self.shape) - len(self.axes)]
        return np.transpose(x, self._order).reshape((*(self.shape[a] for a in rest), self.terms + 1 if x.size else 0))

    def returned(self, weights: Array) -> Array:
        """Return each weight at its place."""
        lead = self._order[: len(self.shape) - len(self.axes)]
        whole = np.broadcast_to(weights, (*weights.shape[:-1], size_of(tuple(self.shape[a] for a in self.axes))))
        whole = whole.reshape([self.shape[a] for a in (*lead, *self.axes)])
        return np.transpose(whole, np.argsort(self._order))

    def push(self, c: Array | None, dx: Array) -> Array:
        """Return A(c) dx."""
        return np.asarray(dx.sum(axis=self.axes)) if c is None else super().push(c, dx)


@dataclass(frozen=True)
class Windows(Lines):
    """Reduction over windows.

    Attributes:
        selection: The components of each window, along the last axis; −1 in padding.
        most: As for `Lines`.
    """

    selection: Selection
    most: int | None = None

    @property
    def terms(self) -> int:
        """A window is summed."""
        return max(self.selection.index.shape[-1] - 1, 0)

    @property
    def repeats(self) -> int:
        """A component lies in several windows."""
        return self.selection.roundings

    def candidates(self, x: Array, outside: float = 0.0) -> Array:
        """Return the components of each window."""
        found = self.selection.push(None, x)
        return np.where(self.selection.index >= 0, found, outside) if outside else found

    def returned(self, weights: Array) -> Array:
        """Return what each component gets from all its windows."""
        return self.selection.pull(None, np.broadcast_to(weights, self.selection.index.shape))


@dataclass(frozen=True)
class Running(Lines):
    """Accumulation along an axis: the candidates of each result are what stands before it, and itself.

    Attributes:
        axis: Along which.
        reverse: Whether it goes backwards.
        length: Of the axis.
        most: As for `Lines`.
    """

    axis: int
    reverse: bool
    length: int
    most: int | None = None

    @property
    def terms(self) -> int:
        """All before it are added."""
        return max(self.length - 1, 0)

    @property
    def repeats(self) -> int:
        """Likewise backwards."""
        return self.terms

    @property
    def inside(self) -> Array:
        """Which components are candidates of which result."""
        square = np.ones((self.length, self.length), bool)
        return np.triu(square) if self.reverse else np.tril(square)

    def candidates(self, x: Array, outside: float = 0.0) -> Array:
        """Return the components up to each."""
        return np.where(self.inside, np.moveaxis(x, self.axis, -1)[..., None, :], outside)

    def returned(self, weights: Array) -> Array:
        """Return what each component gets from all results behind it."""
        return np.moveaxis(np.where(self.inside, weights, 0.0).sum(axis=-2), -1, self.axis)

    def arranged(self, results: Array) -> Array:
        """Return numbers along the axis."""
        return np.moveaxis(results, -1, self.axis)

    def disarranged(self, results: Array) -> Array:
        """Return numbers along the last axis."""
        return np.moveaxis(results, self.axis, -1)


def over_axes(call: Call) -> Folded:
    """Return the candidates of a reduction."""
    shape = np.shape(call.inputs[0])
    axes = call.params["axes"] if "axes" in call.params else call.params["dimensions"]
    return Folded(shape, tuple(a % len(shape) for a in axes))


def over_windows(call: Call, operand: int = 0) -> Windows:
    """Return the candidates of a reduction over windows of one of the operands."""
    shape = np.shape(call.inputs[operand])
    return Windows(Selection(window_places(shape, call.params), shape))


def along_axis(call: Call) -> Running:
    """Return the candidates of a cumulative operation."""
    axis = call.params["axis"]
    return Running(axis, bool(call.params["reverse"]), np.shape(call.inputs[0])[axis])
