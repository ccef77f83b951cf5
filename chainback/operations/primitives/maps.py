"""Linear maps between arrays: what one partial derivative of one equation does, forwards and backwards.

A map is linear in the vector and in its *coefficients* c. So one and the same code carries tangents (push, with c), adjoints
(pull, with c), magnitudes (with |c|), and what is uncertain of the coefficients themselves (with their error).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Bilinear", "Map", "Scaled", "Selection", "reshaped", "sum_to"]

Array = np.ndarray
Shape = tuple[int, ...]


class Map:
    """A linear map dy = A(c) dx, and its transpose dx = A(c)ᵀ dy.

    Attributes:
        roundings: How many roundings a component meets at most, in either direction.
    """

    roundings: int = 1

    def push(self, c: Array | None, dx: Array) -> Array:
        """Return A(c) dx."""
        raise NotImplementedError

    def pull(self, c: Array | None, dy: Array) -> Array:
        """Return A(c)ᵀ dy."""
        raise NotImplementedError


def sum_to(array: Array, shape: Shape) -> Array:
    """Return the sum over the axes along which an array of that shape was broadcast: broadcasting, transposed."""
    if array.shape == shape:
        return array
    lead = array.ndim - len(shape)
    axes = (*range(lead), *(k + lead for k, n in enumerate(shape) if n == 1 and array.shape[k + lead] != 1))
    return np.reshape(array.sum(axis=axes), shape)


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
        if c is None:
            return self.forward(dx)
        return self.forward(_times(c, dx)) if self.on_input else _times(c, self.forward(dx))

    def pull(self, c: Array | None, dy: Array) -> Array:
        if c is None:
            return self.backward(dy)
        return _times(c, self.backward(dy)) if self.on_input else self.backward(_times(c, dy))


def _times(c: Array, vector: Array) -> Array:
    """Return c ∘ vector, where a path of coefficient 0, or one that carries nothing, stays 0 beside an infinity."""
    with np.errstate(all="ignore"):
        product = c * vector
    if not np.isfinite(product).all():
        product = np.where((c == 0.0) | (vector == 0.0), 0.0, product)
    return product


def elementwise(shape: Shape, out: Shape) -> Map:
    """Return the map of an elementwise operation from an operand of one shape to a result of another."""
    ratio = max(1, int(np.prod(out, dtype=np.int64)) // max(1, int(np.prod(shape, dtype=np.int64))))
    if shape == out:
        return Scaled(_same, _same, roundings=1)
    return Scaled(lambda dx: np.broadcast_to(dx, out), lambda dy: sum_to(dy, shape), roundings=ratio)


def _same(array: Array) -> Array:
    return array


def reshaped(shape: Shape, out: Shape) -> Map:
    """Return the map of a reshape."""
    return Scaled(lambda dx: np.reshape(dx, out), lambda dy: np.reshape(dy, shape), roundings=0)


@dataclass(frozen=True)
class Selection(Map):
    """Each component of the result is one component of the operand, or a constant.

    Attributes:
        index: Of each component of the result the flat place in the operand; −1 where it is a constant.
        shape: Of the operand.
        most: How many components of the result one of the operand becomes, at most.
    """

    index: Array
    shape: Shape

    @property
    def roundings(self) -> int:  # type: ignore[override]
        """A component that is read n times gets n contributions on the way back."""
        flat = self.index.ravel()
        counts = np.bincount(flat[flat >= 0], minlength=1)
        return int(counts.max()) - 1 if counts.size and counts.max() > 1 else 0

    def push(self, c: Array | None, dx: Array) -> Array:
        size = int(np.prod(self.shape, dtype=np.int64))
        if size == 0:
            return np.zeros(self.index.shape)
        found = np.where(self.index >= 0, np.reshape(dx, -1)[np.maximum(self.index, 0)], 0.0)
        return found if c is None else _times(c, found)

    def pull(self, c: Array | None, dy: Array) -> Array:
        weights = dy if c is None else _times(c, dy)
        size = int(np.prod(self.shape, dtype=np.int64))
        index, weights = self.index.ravel(), np.broadcast_to(weights, self.index.shape).ravel()
        keep = index >= 0
        if not keep.all():
            index, weights = index[keep], weights[keep]
        return np.bincount(index, weights, minlength=size)[:size].reshape(self.shape)


@dataclass(frozen=True)
class Bilinear(Map):
    """dy = B(dx, c), where c is the other operand of a product.

    Attributes:
        product: (dx, c) ↦ dy.
        transposed: (dy, c) ↦ dx.
        roundings: As for `Map`.
    """

    product: Callable[[Array, Array], Array]
    transposed: Callable[[Array, Array], Array]
    roundings: int = 1

    def push(self, c: Array | None, dx: Array) -> Array:
        assert c is not None
        return self.product(dx, c)

    def pull(self, c: Array | None, dy: Array) -> Array:
        assert c is not None
        return self.transposed(dy, c)
