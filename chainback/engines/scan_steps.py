"""Steps of a scan over layers that XLA compiles to one kernel: small products written out, few branches, few operations.

XLA's CPU compiler runs a scan as one kernel where its body is a few fused loops, and else as many small calls, handed from
thread to thread. So the body holds no product that becomes a call of its own, branches between no more activations than the
chain has, and joins layers of a deep chain of numbers. `chainback bench` measures the result.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jax import numpy as jnp

from chainback.engines.closed_forms import value_and_slope
from chainback.engines.networks import Activations, Array

__all__ = ["layers_per_step", "product", "value_and_slope_of"]

#: Up to this width a product is written out.
_NARROW = 8
#: In a chain of numbers this deep, so many layers without a branch make one step of a scan.
_DEEP, _PER_STEP = 256, 4


def product(matrix: Array, vector: Array) -> Array:
    """Return a matrix times a vector; a small one as a sum of columns, which XLA fuses with what surrounds it."""
    width = vector.shape[0]
    if width > _NARROW:
        return matrix @ vector
    total = matrix[:, 0] * vector[0]
    for column in range(1, width):
        total = total + matrix[:, column] * vector[column]
    return total


def layers_per_step(activations: Activations, biases: Array) -> int:
    """Return how many layers without a branch make one step of a scan: one where they are few, or wider than a number.

    One, too, where the activations are codes, as in a batch: joining layers makes a batch slower.

    Args:
        activations: Names, or codes.
        biases: (depth, width).
    """
    depth, width = biases.shape
    return _PER_STEP if isinstance(activations, tuple) and width == 1 and depth >= _DEEP else 1


def value_and_slope_of(activations: Activations) -> tuple[Callable[[Array, Array], tuple[Array, Array]], Array, bool]:
    """Return how a step computes the value and slope of its layer.

    Args:
        activations: Names, or codes.

    Returns:
        A function (index, z) to (value, slope); the index of each layer's activation, (depth,); whether a step branches.
    """
    if not isinstance(activations, tuple):
        return value_and_slope, activations, True
    among = tuple(dict.fromkeys(activations))
    indices = np.array([among.index(name) for name in activations], np.int32)
    if len(among) == 1:
        return lambda index, z: value_and_slope(among[0], z), indices, False

    def all_but_the_last(index: Array, z: Array) -> tuple[Array, Array]:
        """The identity, which is the last layer, computes more than it takes, so that all others are spared a branch."""
        value, slope = value_and_slope(among[0], z)
        return jnp.where(index == 0, value, z), jnp.where(index == 0, slope, jnp.ones_like(z))

    if len(among) == 2 and activations.count("identity") == 1 and activations[-1] == "identity":
        return all_but_the_last, indices, False
    return lambda index, z: value_and_slope(index, z, among), indices, True
