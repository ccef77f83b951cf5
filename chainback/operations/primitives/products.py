"""Products: dot_general and convolutions, bilinear in their two operands."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainback.operations.primitives.indices import window_places
from chainback.operations.primitives.maps import Bilinear, Map, Selection
from chainback.operations.primitives.record import Call, Product, register

Array = np.ndarray


class _Contraction:
    """A dot_general in a fixed form: both operands as (batch, free, contracted), one batched matrix product."""

    def __init__(self, shapes: tuple[tuple[int, ...], tuple[int, ...]], numbers: Any) -> None:
        ((self.contract_a, self.contract_b), (self.batch_a, self.batch_b)) = numbers
        self.shapes = shapes
        self.free = tuple(
            tuple(k for k in range(len(shape)) if k not in (*contract, *batch))
            for shape, contract, batch in zip(
                shapes, (self.contract_a, self.contract_b), (self.batch_a, self.batch_b), strict=True
            )
        )
        self.orders = (
            (*self.batch_a, *self.free[0], *self.contract_a),
            (*self.batch_b, *self.free[1], *self.contract_b),
        )
        a, b = shapes
        self.batch = tuple(a[k] for k in self.batch_a)
        self.free_shapes = tuple(tuple(shape[k] for k in free) for shape, free in zip(shapes, self.free, strict=True))
        self.length = int(np.prod([a[k] for k in self.contract_a], dtype=np.int64))

    def matrix(self, x: Array, side: int) -> Array:
        """Return an operand as (batch, free, contracted)."""
        rows = int(np.prod(self.free_shapes[side], dtype=np.int64))
        return np.transpose(x, self.orders[side]).reshape(-1, rows, self.length)

    def operand(self, matrix: Array, side: int) -> Array:
        """Return (batch, free, contracted) as an operand: the inverse of `matrix`."""
        shape = [self.shapes[side][k] for k in self.orders[side]]
        return np.transpose(matrix.reshape(shape), np.argsort(self.orders[side]))

    def result(self, matrix: Array) -> Array:
        """Return (batch, free of a, free of b) as the result."""
        return matrix.reshape(
            (
                *self.batch,
                *self.free_shapes[0],
                *self.free_shapes[1],
            )
        )

    def rows(self, dy: Array) -> Array:
        """Return a result as (batch, free of a, free of b)."""
        sizes = [int(np.prod(shape, dtype=np.int64)) for shape in self.free_shapes]
        return np.reshape(dy, (-1, *sizes))

    def left(self, da: Array, b: Array) -> Array:
        return self.result(self.matrix(da, 0) @ np.swapaxes(self.matrix(b, 1), 1, 2))

    def right(self, db: Array, a: Array) -> Array:
        return self.left(a, db)

    def left_back(self, dy: Array, b: Array) -> Array:
        return self.operand(self.rows(dy) @ self.matrix(b, 1), 0)

    def right_back(self, dy: Array, a: Array) -> Array:
        return self.operand(np.swapaxes(self.rows(dy), 1, 2) @ self.matrix(a, 0), 1)


def _dot_maps(call: Call) -> tuple[Map, Map]:
    form = _Contraction((np.shape(call.inputs[0]), np.shape(call.inputs[1])), call.params["dimension_numbers"])
    sizes = [int(np.prod(shape, dtype=np.int64)) for shape in form.free_shapes]
    # Forward mode sums n terms, and reverse mode as many as the other operand has free rows.
    n = max(form.length, *sizes)
    return Bilinear(form.left, form.left_back, n), Bilinear(form.right, form.right_back, n)


class _Convolution:
    """A convolution as a product of patches: groups of features, strides, padding, dilations of both sides."""

    def __init__(self, call: Call) -> None:
        p = call.params
        numbers = p["dimension_numbers"]
        self.lhs, self.rhs, self.out = tuple(numbers.lhs_spec), tuple(numbers.rhs_spec), tuple(numbers.out_spec)
        shape_a, shape_b = np.shape(call.inputs[0]), np.shape(call.inputs[1])
        self.image = tuple(shape_a[k] for k in self.lhs)  # batch, features, space
        self.kernel = tuple(shape_b[k] for k in self.rhs)  # out features, in features a group, space
        self.groups, self.batches = p["feature_group_count"], p["batch_group_count"]
        space = self.image[2:]
        window = {
            "window_dimensions": self.kernel[2:],
            "window_strides": p["window_strides"],
            "padding": p["padding"],
            "base_dilation": p["lhs_dilation"],
            "window_dilation": p["rhs_dilation"],
        }
        self.places = window_places(space, window)  # (*out space, window)
        self.space_out = self.places.shape[:-1]
        self.flat = int(np.prod(space, dtype=np.int64))
        n, f = self.image[:2]
        self.n, self.f = n, f
        self.window = self.places.shape[-1]

    def patches(self, a: Array) -> Array:
        """(groups, batch · out space, features a group · window)."""
        a = np.transpose(a, self.lhs).reshape(self.n, self.f, self.flat)
        found = np.where(
            self.places >= 0,
            a[:, :, np.maximum(self.places, 0).reshape(-1)].reshape(self.n, self.f, *self.places.shape),
            0.0,
        )
        found = found.reshape(self.n, self.f, -1, self.window)
        if self.batches > 1:
            found = found.reshape(self.batches, self.n // self.batches, self.f, -1, self.window)
            return np.transpose(found, (0, 1, 3, 2, 4)).reshape(self.batches, -1, self.f * self.window)
        found = found.reshape(self.n, self.groups, self.f // self.groups, -1, self.window)
        return np.transpose(found, (1, 0, 3, 2, 4)).reshape(self.groups, -1, (self.f // self.groups) * self.window)

    def image_of(self, patches: Array) -> Array:
        """The transpose of `patches`."""
        sites = int(np.prod(self.space_out, dtype=np.int64))
        if self.batches > 1:
            found = patches.reshape(self.batches, self.n // self.batches, sites, self.f, self.window)
            found = np.transpose(found, (0, 1, 3, 2, 4)).reshape(self.n, self.f, sites, self.window)
        else:
            found = patches.reshape(self.groups, self.n, sites, self.f // self.groups, self.window)
            found = np.transpose(found, (1, 0, 3, 2, 4)).reshape(self.n, self.f, sites, self.window)
        places = self.places.reshape(-1)
        keep = places >= 0
        a = np.zeros((self.flat, self.n * self.f))
        np.add.at(a, places[keep], found.reshape(self.n * self.f, -1).T[keep])
        a = a.T.reshape(self.n, self.f, *self.image[2:])
        return np.transpose(a, np.argsort(self.lhs))

    def weights(self, b: Array) -> Array:
        """(groups, features a group · window, out features a group)."""
        parts = self.batches if self.batches > 1 else self.groups
        b = np.transpose(b, self.rhs).reshape(parts, self.kernel[0] // parts, self.kernel[1] * self.window)
        return np.swapaxes(b, 1, 2)

    def kernel_of(self, weights: Array) -> Array:
        b = np.swapaxes(weights, 1, 2).reshape(self.kernel)
        return np.transpose(b, np.argsort(self.rhs))

    def result(self, rows: Array) -> Array:
        """(groups, batch · out space, out features a group) as the result."""
        parts, _, each = rows.shape
        n = self.n // self.batches
        rows = rows.reshape(parts, n, *self.space_out, each)
        rows = np.moveaxis(np.moveaxis(rows, -1, 1), 2, 0)  # batch, parts, each, space
        return np.transpose(rows.reshape(n, parts * each, *self.space_out), np.argsort(self.out))

    def rows(self, dy: Array) -> Array:
        """The transpose, and inverse, of `result`."""
        parts = self.batches if self.batches > 1 else self.groups
        n = self.n // self.batches
        dy = np.transpose(dy, self.out).reshape(n, parts, self.kernel[0] // parts, -1)
        return np.transpose(dy, (1, 0, 3, 2)).reshape(parts, -1, self.kernel[0] // parts)

    def left(self, da: Array, b: Array) -> Array:
        return self.result(self.patches(da) @ self.weights(b))

    def right(self, db: Array, a: Array) -> Array:
        return self.left(a, db)

    def left_back(self, dy: Array, b: Array) -> Array:
        return self.image_of(self.rows(dy) @ np.swapaxes(self.weights(b), 1, 2))

    def right_back(self, dy: Array, a: Array) -> Array:
        return self.kernel_of(np.swapaxes(self.patches(a), 1, 2) @ self.rows(dy))


def _conv_maps(call: Call) -> tuple[Map, Map]:
    form = _Convolution(call)
    length = form.kernel[1] * form.window
    n = max(
        length, form.kernel[0] * form.window, (form.n // form.batches) * int(np.prod(form.space_out, dtype=np.int64))
    )
    return Bilinear(form.left, form.left_back, n), Bilinear(form.right, form.right_back, n)


_ = Selection
register(Product("dot_general", maps=_dot_maps), Product("conv_general_dilated", maps=_conv_maps))
