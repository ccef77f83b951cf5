"""Convolutions: bilinear in image and kernel; groups of features and of the batch, strides, padding, both dilations."""

from __future__ import annotations

import numpy as np

from chainback.operations.primitives.calls import Array, Call
from chainback.operations.primitives.examples import example, real, whole
from chainback.operations.primitives.maps import Bilinear, Map, Selection, size_of
from chainback.operations.primitives.places import window_places
from chainback.operations.primitives.record import Product, register


class _Convolution:
    """A convolution as a product of patches with a matrix of weights, for each group."""

    def __init__(self, call: Call) -> None:
        p, numbers = call.params, call.params["dimension_numbers"]
        self.lhs, self.rhs, self.out = tuple(numbers.lhs_spec), tuple(numbers.rhs_spec), tuple(numbers.out_spec)
        image, kernel = (np.shape(x) for x in call.inputs)
        self.image = tuple(image[k] for k in self.lhs)  # batch, features, space
        self.kernel = tuple(kernel[k] for k in self.rhs)  # features out, features in a group, space
        self.batches = p["batch_group_count"]
        self.groups = max(self.batches, p["feature_group_count"])
        window = {
            "window_dimensions": self.kernel[2:],
            "window_strides": p["window_strides"],
            "padding": p["padding"],
            "base_dilation": p["lhs_dilation"],
            "window_dilation": p["rhs_dilation"],
        }
        self.windows = Selection(window_places(self.image[2:], window), self.image[2:])
        *space, self.window = self.windows.index.shape
        self.space = tuple(space)
        self.sites = size_of(self.space)
        self.n = self.image[0] // self.batches

    @property
    def _parts(self) -> tuple[int, ...]:
        """How patches are divided: groups of the batch, batch, groups of features, features a group, sites, window."""
        features = self.groups // self.batches
        return self.batches, self.n, features, self.image[1] // features, self.sites, self.window

    def patches(self, a: Array) -> Array:
        """Return (groups, batch · sites, features a group · window)."""
        flat = np.transpose(a, self.lhs).reshape(*self.image[:2], -1)
        index = self.windows.index.reshape(-1)
        found = np.where(index >= 0, flat[:, :, np.maximum(index, 0)], np.zeros((), flat.dtype)).reshape(self._parts)
        found = np.transpose(found, (0, 2, 1, 4, 3, 5))
        return found.reshape(self.groups, self.n * self.sites, -1)

    def image_of(self, patches: Array) -> Array:
        """The transpose of `patches`."""
        batches, n, features, each, sites, window = self._parts
        found = patches.reshape(batches, features, n, sites, each, window)
        found = np.transpose(found, (0, 2, 1, 4, 3, 5)).reshape(self.image[0] * self.image[1], -1)
        index = self.windows.index.reshape(-1)
        a = np.zeros((size_of(self.image[2:]), len(found)))
        np.add.at(a, index[index >= 0], found.T[index >= 0])
        return np.transpose(a.T.reshape(self.image), np.argsort(self.lhs))

    def weights(self, b: Array) -> Array:
        """Return (groups, features a group · window, features out a group)."""
        parts = np.transpose(b, self.rhs).reshape(self.groups, self.kernel[0] // self.groups, -1)
        return np.swapaxes(parts, 1, 2)

    def kernel_of(self, weights: Array) -> Array:
        """The transpose, and inverse, of `weights`."""
        return np.transpose(np.swapaxes(weights, 1, 2).reshape(self.kernel), np.argsort(self.rhs))

    def result(self, rows: Array) -> Array:
        """Return (groups, batch · sites, features out a group) as the result."""
        parts, _, each = rows.shape
        rows = np.transpose(rows.reshape(parts, self.n, self.sites, each), (1, 0, 3, 2))
        return np.transpose(rows.reshape(self.n, parts * each, *self.space), np.argsort(self.out))

    def rows(self, dy: Array) -> Array:
        """The transpose, and inverse, of `result`."""
        each = self.kernel[0] // self.groups
        dy = np.transpose(dy, self.out).reshape(self.n, self.groups, each, self.sites)
        return np.transpose(dy, (1, 0, 3, 2)).reshape(self.groups, self.n * self.sites, each)

    def product(self, a: Array, b: Array) -> Array:
        """Return the result of an image and a kernel."""
        return self.result(self.patches(a) @ self.weights(b))

    def image_back(self, dy: Array, b: Array) -> Array:
        """Return the adjoint of the image."""
        return self.image_of(self.rows(dy) @ np.swapaxes(self.weights(b), 1, 2))

    def kernel_back(self, dy: Array, a: Array) -> Array:
        """Return the adjoint of the kernel."""
        return self.kernel_of(np.swapaxes(self.patches(a), 1, 2) @ self.rows(dy))


def _maps(call: Call) -> tuple[Map, Map]:
    form = _Convolution(call)
    length, sites = form.kernel[1] * form.window, form.n * form.sites
    return (
        Bilinear(form.product, form.image_back, length, form.kernel[0] // form.groups * form.window),
        Bilinear(lambda db, a: form.product(a, db), form.kernel_back, length, sites),
    )


_CONV = "lax.conv_general_dilated(x, k, {})"

register(
    Product(
        "conv_general_dilated",
        maps=_maps,
        examples=(
            example(_CONV.format("(1, 2), 'SAME'"), x=real(2, 3, 5, 6), k=real(4, 3, 3, 2)),
            example(
                _CONV.format(
                    "(2, 1), ((1, 2), (0, 1)), lhs_dilation=(1, 2), rhs_dilation=(2, 1),"
                    " dimension_numbers=('NHWC', 'HWIO', 'NHWC')"
                ),
                x=real(1, 5, 4, 2),
                k=real(2, 3, 2, 3),
            ),
            example(_CONV.format("(1,), 'VALID', feature_group_count=2"), x=real(2, 4, 6), k=real(6, 2, 3)),
            example(_CONV.format("(1,), 'VALID', batch_group_count=2"), x=real(4, 3, 6), k=real(6, 3, 3)),
            example("jnp.convolve(x, k)", x=real(8), k=real(3)),
            example("jax.nn.relu(lax.conv(x, k, (1, 1), 'SAME'))", x=real(1, 1, 4, 4), k=real(1, 1, 3, 3)),
            example("jnp.convolve(x, k)", x=whole(8), k=whole(3)),
        ),
    )
)
