"""dot_general: bilinear in its two operands."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainback.operations.primitives.calls import Array, Call, Shape
from chainback.operations.primitives.examples import example, real, whole
from chainback.operations.primitives.maps import Bilinear, Map, size_of
from chainback.operations.primitives.record import Product, register


class _Contraction:
    """A dot_general in a fixed form: both operands as (batch, free, contracted), one batched matrix product."""

    def __init__(self, shapes: tuple[Shape, Shape], numbers: Any) -> None:
        contract, batch = numbers
        self.shapes = shapes
        free = [
            tuple(k for k in range(len(shape)) if k not in (*c, *b))
            for shape, c, b in zip(shapes, contract, batch, strict=True)
        ]
        self.orders = tuple((*b, *f, *c) for b, f, c in zip(batch, free, contract, strict=True))
        self.batch = tuple(shapes[0][k] for k in batch[0])
        self.free = tuple(tuple(shape[k] for k in f) for shape, f in zip(shapes, free, strict=True))
        self.rows = tuple(size_of(f) for f in self.free)
        self.length = size_of(tuple(shapes[0][k] for k in contract[0]))

    def matrix(self, x: Array, side: int) -> Array:
        """Return an operand as (batch, free, contracted)."""
        return np.transpose(x, self.orders[side]).reshape(size_of(self.batch), self.rows[side], self.length)

    def operand(self, matrix: Array, side: int) -> Array:
        """Return (batch, free, contracted) as an operand: the inverse of `matrix`."""
        shape = [self.shapes[side][k] for k in self.orders[side]]
        return np.transpose(matrix.reshape(shape), np.argsort(self.orders[side]))

    def product(self, a: Array, b: Array) -> Array:
        """Return the result of two operands."""
        found = self.matrix(a, 0) @ np.swapaxes(self.matrix(b, 1), 1, 2)
        return found.reshape((*self.batch, *self.free[0], *self.free[1]))

    def back(self, dy: Array, other: Array, side: int) -> Array:
        """Return the adjoint of one operand, with the other."""
        rows = np.reshape(dy, (size_of(self.batch), *self.rows))
        return self.operand((rows if side == 0 else np.swapaxes(rows, 1, 2)) @ self.matrix(other, 1 - side), side)


def _maps(call: Call) -> tuple[Map, Map]:
    form = _Contraction((np.shape(call.inputs[0]), np.shape(call.inputs[1])), call.params["dimension_numbers"])
    # A component sums as many products as are contracted, and on the way back as many as the other operand has rows.
    return (
        Bilinear(form.product, lambda dy, b: form.back(dy, b, 0), form.length, form.rows[1]),
        Bilinear(lambda db, a: form.product(a, db), lambda dy, a: form.back(dy, a, 1), form.length, form.rows[0]),
    )


register(
    Product(
        "dot_general",
        maps=_maps,
        examples=(
            example("x @ y", x=real(3, 4), y=real(4, 5)),
            example("lax.dot_general(x, y, (((2, 0), (1, 2)), ((1,), (0,))))", x=real(2, 3, 4), y=real(3, 4, 2)),
            example("jnp.einsum('bij,bkj->bik', x, y)", x=real(2, 3, 4), y=real(2, 5, 4)),
            example("jnp.dot(x, y)", x=real(30), y=real(30)),
            example("jnp.einsum('i,j->ij', x, y)", x=real(3), y=real(4)),
            example(
                "lax.dot_general(x.astype('bfloat16'), y.astype('bfloat16'), (((1,), (0,)), ((), ())),"
                " preferred_element_type='float32')",
                x=real(3, 4),
                y=real(4, 5),
            ),
            example("x @ y", x=whole(3, 4), y=whole(4, 5)),
        ),
    )
)
