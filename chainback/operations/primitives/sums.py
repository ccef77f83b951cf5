"""Sums: over axes, along an axis, over windows."""

from __future__ import annotations

import numpy as np

from chainback.operations.primitives.calls import Array, Call
from chainback.operations.primitives.candidates import over_axes, over_windows
from chainback.operations.primitives.examples import example, real, whole
from chainback.operations.primitives.maps import Map, Scaled
from chainback.operations.primitives.record import Linear, register


def _along_axis(call: Call) -> Map:
    axis, reverse = call.params["axis"], call.params["reverse"]

    def one_way(x: Array) -> Array:
        return np.cumsum(x, axis=axis)

    def other_way(x: Array) -> Array:
        return np.flip(np.cumsum(np.flip(x, axis), axis=axis), axis)

    forward, backward = (other_way, one_way) if reverse else (one_way, other_way)
    return Scaled(forward, backward, on_input=True, roundings=max(np.shape(call.inputs[0])[axis] - 1, 0))


register(
    Linear(
        "reduce_sum",
        map=over_axes,
        examples=(
            example("jnp.sum(x, (0, 2))", x=real(3, 4, 2)),
            example("jnp.sum(x)", x=real(30)),
            example("jnp.sum(x, 0)", x=whole(3, 4)),
        ),
    ),
    Linear(
        "cumsum",
        map=_along_axis,
        examples=(
            example("lax.cumsum(x, 0)", x=real(7, 2)),
            example("lax.cumsum(x, 1, reverse=True)", x=real(2, 5)),
            example("lax.cumsum(x, 0)", x=whole(6)),
        ),
    ),
    Linear(
        "reduce_window_sum",
        map=over_windows,
        examples=(
            example("lax.reduce_window(x, 0.0, lax.add, (2, 3), (1, 2), 'SAME')", x=real(5, 6)),
            example(
                "lax.reduce_window(x, 0.0, lax.add, (2,), (2,), ((1, 1),), base_dilation=(2,), window_dilation=(2,))",
                x=real(6),
            ),
            example("lax.reduce_window(x, 0, lax.add, (2, 3), (1, 2), 'VALID')", x=whole(5, 6)),
        ),
    ),
)
