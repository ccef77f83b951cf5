"""Linear maps between arrays: what one partial derivative of one equation does, forwards and backwards.

A map is linear in the vector and in its *coefficients* c. So one and the same code carries tangents (push, with c), adjoints
(pull, with c), magnitudes (with |c|), and what is uncertain of the coefficients themselves (with their error).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chainback.operations.arithmetic import Array

__all__ = [
    "Bilinear",
    "Map",
    "Scaled",
    "Selection",
    "Transposed",
    "elementwise",
    "reshaped",
    "size_of",
    "sum_to",
    "times",
]

Shape = tuple[int, ...]


class Map:
    """A linear map dy = A(c) dx, and its transpose dx = A(c)ᵀ dy.

    Attributes:
        roundings: How many roundings a component meets at most, in either direction.
    """

    roundings: int = 1

    @property
    def terms(self) -> int:
        """How many roundings a component meets at most where a value is made by `push`."""
        return self.roundings

    def push(self, c: Array | None, dx: Array) -> Array:
        """Return A(c) dx."""
        raise NotImplementedError

    def pull(self, c: Array | None, dy: Array) -> Array:
        """Return A(c)ᵀ dy."""
        raise NotImplementedError


def size_of(shape: Shape) -> int:
    """Return how many components an array of a shape has."""
    return int(np.prod(shape, dtype=np.int64))


def sum_to(array: Array, shape: Shape) -> Array:
    """Return the sum over the axes along which an array of that shape was broadcast: broadcasting, transposed."""
    if array.shape == shape:
        return array
    lead = array.ndim - len(shape)
    axes = (*range(lead), *(k + lead for k, n in enumerate(shape) if n == 1 and array.shape[k + lead] != 1))
    return np.reshape(array.sum(axis=axes), shape)


def times(c: Array, vector: Array) -> Array:
    """Return c ∘ vector, where a path of coefficient 0, or one that carries nothing, stays 0 beside an infinity."""
    with np.errstate(all="ignore"):
        product = c * vector
    if not np.isfinite(product).all():
        product = np.where((c == 0.0) | (vector == 0.0), 0.0, product)
    return product


@dataclass(frozen=True)
class Scaled(Map):
    """dy = c ∘ F(dx), or F(c ∘ dx) where the coefficients belong to the input; F has no numbers of its own.

    Attributes:
        forward: F.
        backward: Fᵀ.
        on_input: Whether c multiplies the input.
        roundings: As for `Map`.
    """

    forward: Callable[[Array], Array]
    backward: Callable[[Array], Array]
    on_input: bool = False
    roundings: int = 1

    def push(self, c: Array | None, dx: Array) -> Array:
        """Return A(c) dx."""
        if c is None:
            return self.forward(dx)
        return self.forward(times(c, dx)) if self.on_input else times(c, self.forward(dx))

    def pull(self, c: Array | None, dy: Array) -> Array:
        """Return A(c)ᵀ dy."""
        if c is None:
            return self.backward(dy)
        return times(c, self.backward(dy)) if self.on_input else self.backward(times(c, dy))


def _same(array: Array) -> Array:
    return array


def elementwise(shape: Shape, out: Shape) -> Map:
    """Return the map of an elementwise operation from an operand of one shape to a result of another."""
    if shape == out:
        return Scaled(_same, _same, roundings=0)
    repeats = max(1, size_of(out) // max(1, size_of(shape)))
    return Scaled(lambda dx: np.broadcast_to(dx, out), lambda dy: sum_to(dy, shape), roundings=repeats - 1)


def reshaped(shape: Shape, out: Shape) -> Map:
    """Return the map of a reshape."""
    return Scaled(lambda dx: np.reshape(dx, out), lambda dy: np.reshape(dy, shape), roundings=0)


@dataclass(frozen=True)
class Selection(Map):
    """Each component of the result is one component of the operand, or a constant.

    Attributes:
        index: Of each component of the result the flat place in the operand; −1 where it is a constant.
        shape: Of the operand.
    """

    index: Array
    shape: Shape

    @cached_property
    def roundings(self) -> int:  # type: ignore[override]
        """A component that is read n times gets n contributions on the way back."""
        flat = self.index.ravel()
        counts = np.bincount(flat[flat >= 0], minlength=1)
        return max(int(counts.max()) - 1, 0)

    def push(self, c: Array | None, dx: Array) -> Array:
        """Return A(c) dx."""
        if size_of(self.shape) == 0:
            return np.zeros(self.index.shape, np.asarray(dx).dtype)
        found = np.reshape(dx, -1)[np.maximum(self.index, 0)]
        found = np.where(self.index >= 0, found, np.zeros((), found.dtype))
        return found if c is None else times(c, found)

    def pull(self, c: Array | None, dy: Array) -> Array:
        """Return A(c)ᵀ dy."""
        weights = dy if c is None else times(c, dy)
        index, weights = self.index.ravel(), np.broadcast_to(weights, self.index.shape).ravel()
        keep = index >= 0
        if not keep.all():
            index, weights = index[keep], weights[keep]
        size = size_of(self.shape)
        return np.bincount(index, weights, minlength=size)[:size].reshape(self.shape)


@dataclass(frozen=True)
class Transposed(Map):
    """A map's transpose.

    Attributes:
        map: The map.
    """

    map: Map

    @property
    def roundings(self) -> int:  # type: ignore[override]
        """As those of the map."""
        return self.map.roundings

    def push(self, c: Array | None, dx: Array) -> Array:
        """Return A(c)ᵀ dx."""
        return self.map.pull(c, dx)

    def pull(self, c: Array | None, dy: Array) -> Array:
        """Return A(c) dy."""
        return self.map.push(c, dy)


@dataclass(frozen=True)
class Bilinear(Map):
    """dy = B(dx, c), where c is the other operand of a product.

    Attributes:
        product: (dx, c) ↦ dy.
        transposed: (dy, c) ↦ dx.
        length: How many products a component of dy sums.
        width: How many a component of dx sums on the way back.
    """

    product: Callable[[Array, Array], Array]
    transposed: Callable[[Array, Array], Array]
    length: int
    width: int

    @property
    def roundings(self) -> int:  # type: ignore[override]
        """As many as a component sums, in either direction."""
        return max(self.length, self.width)

    @property
    def terms(self) -> int:
        """As many as a component of the value sums."""
        return self.length

    def push(self, c: Array | None, dx: Array) -> Array:
        """Return A(c) dx."""
        assert c is not None
        return self.product(dx, c)

    def pull(self, c: Array | None, dy: Array) -> Array:
        """Return A(c)ᵀ dy."""
        assert c is not None
        return self.transposed(dy, c)
