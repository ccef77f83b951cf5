"""Structural primitives: components are moved, repeated or left out; none is computed.

Most of them need one function, which moves an array: applied to values it gives the value, applied to errors the errors, and
applied to the places 0, 1, 2, … of an operand the selection that is its map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainback.operations.primitives.calls import Array, Call, Edge
from chainback.operations.primitives.examples import Example, example, real, whole
from chainback.operations.primitives.maps import Map, Scaled, reshaped, size_of, sum_to
from chainback.operations.primitives.record import Structural, Zero, register

_MATRIX = real(3, 4)


def _one_to_one(
    name: str,
    forward: Callable[[Array, Call], Array],
    backward: Callable[[Array, Call], Array],
    examples: tuple[Example, ...],
    **options: Any,
) -> Structural:
    """Return the record of a primitive that moves each component of its one operand to one place, or to several."""

    def maps(call: Call) -> list[tuple[int, int, Map]]:
        repeats = max(1, size_of(call.outs[0][0]) // max(1, size_of(np.shape(call.inputs[0]))))
        return [(0, 0, Scaled(lambda dx: forward(dx, call), lambda dy: backward(dy, call), roundings=repeats - 1))]

    return Structural(
        name, move=lambda arrays, call: forward(np.asarray(arrays[0]), call), maps=maps, examples=examples, **options
    )


def _in_order(x: Array, call: Call) -> Array:
    """Return an array with its axes in the order in which JAX's own reshapes read them."""
    order = call.params.get("dimensions") if "new_sizes" in call.params else None
    return x if order is None else np.transpose(x, order)


def _reshaped_back(dy: Array, call: Call) -> Array:
    shape = np.shape(call.inputs[0])
    order = call.params.get("dimensions") if "new_sizes" in call.params else None
    if order is None:
        return np.reshape(dy, shape)
    return np.transpose(np.reshape(dy, [shape[k] for k in order]), np.argsort(order))


def _reshaping(name: str, *examples: Example, **options: Any) -> Structural:
    return _one_to_one(
        name, lambda x, call: np.reshape(_in_order(x, call), call.outs[0][0]), _reshaped_back, examples, **options
    )


def _same(name: str, *examples: Example, **options: Any) -> Structural:
    """Return the record of a primitive whose results are its operands."""

    def maps(call: Call) -> list[tuple[int, int, Map]]:
        return [(k, k, reshaped(np.shape(x), np.shape(x))) for k, x in enumerate(call.inputs)]

    return Structural(
        name, move=lambda arrays, call: [np.asarray(a) for a in arrays], maps=maps, examples=examples, **options
    )


class _Stopped(Structural):
    """stop_gradient: the value passes, no derivative does."""

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return none."""
        return []


def _middle(shape: Sequence[int], axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return the shape in which an array is broadcast, its axes put at some of the result's."""
    middle = [1] * ndim
    for axis, n in zip(axes, shape, strict=True):
        middle[axis] = n
    return tuple(middle)


def _broadcast(x: Array, call: Call) -> Array:
    shape = call.outs[0][0]
    return np.broadcast_to(np.reshape(x, _middle(x.shape, call.params["broadcast_dimensions"], len(shape))), shape)


def _broadcast_back(dy: Array, call: Call) -> Array:
    shape = np.shape(call.inputs[0])
    return np.reshape(sum_to(dy, _middle(shape, call.params["broadcast_dimensions"], dy.ndim)), shape)


def _slice(arrays: Sequence[Array], call: Call) -> Array:
    p = call.params
    strides = p["strides"] or (1,) * len(p["start_indices"])
    bounds = zip(p["start_indices"], p["limit_indices"], strides, strict=True)
    return arrays[0][tuple(slice(a, b, s) for a, b, s in bounds)]


def _pad(arrays: Sequence[Array], call: Call) -> Array:
    x, fill = (np.asarray(a) for a in arrays)
    for axis, (low, high, interior) in enumerate(call.params["padding_config"]):
        n = x.shape[axis]
        inner = n + max(0, n - 1) * interior
        shape = list(x.shape)
        shape[axis] = inner + max(low, 0) + max(high, 0)
        made = np.full(shape, fill.reshape(()), np.result_type(x, fill))
        at: list[Any] = [slice(None)] * x.ndim
        at[axis] = slice(max(low, 0), max(low, 0) + inner, interior + 1)
        if n:
            made[tuple(at)] = x
        at[axis] = slice(max(-low, 0), shape[axis] - max(-high, 0))
        x = made[tuple(at)]
    return x


def _split(arrays: Sequence[Array], call: Call) -> list[Array]:
    return np.split(arrays[0], np.cumsum(call.params["sizes"])[:-1], axis=call.params["axis"])


def _unstack(arrays: Sequence[Array], call: Call) -> list[Array]:
    return list(np.moveaxis(arrays[0], call.params["axis"], 0))


def _iota(call: Call) -> Array:
    shape, axis = call.outs[0][0], call.params["dimension"]
    dtype = np.float64 if call.makes_float else call.outs[0][1]
    return np.broadcast_to(np.arange(shape[axis]).reshape(_middle((shape[axis],), (axis,), len(shape))), shape).astype(
        dtype
    )


register(
    _reshaping("reshape", example("lax.reshape(x, (2, 6))", x=_MATRIX), example("x.ravel()", x=whole(3, 4))),
    _reshaping("squeeze", example("lax.squeeze(x, (0, 2))", x=real(1, 4, 1))),
    _one_to_one(
        "broadcast_in_dim",
        _broadcast,
        _broadcast_back,
        (
            example("lax.broadcast_in_dim(x, (3, 4, 2), (1,))", x=real(4)),
            example("lax.broadcast_in_dim(x, (3, 4), (0, 1))", x=real(3, 1)),
            example("jnp.full((2, 3), x)", x=real()),
        ),
    ),
    _one_to_one(
        "transpose",
        lambda x, call: np.transpose(x, call.params["permutation"]),
        lambda dy, call: np.transpose(dy, np.argsort(call.params["permutation"])),
        (example("lax.transpose(x, (2, 0, 1))", x=real(2, 3, 4)),),
    ),
    _one_to_one(
        "rev",
        lambda x, call: np.flip(x, call.params["dimensions"]),
        lambda dy, call: np.flip(dy, call.params["dimensions"]),
        (example("lax.rev(x, (0, 1))", x=_MATRIX),),
    ),
    Structural(
        "slice",
        move=_slice,
        examples=(
            example("lax.slice(x, (0, 1), (3, 4))", x=_MATRIX),
            example("lax.slice(x, (0, 1), (3, 4), (2, 2))", x=_MATRIX),
        ),
    ),
    Structural(
        "pad",
        move=_pad,
        examples=(
            example("lax.pad(x, c, ((1, 0, 2), (0, 2, 0)))", x=_MATRIX, c=real()),
            example("lax.pad(x, c, ((-1, 1, 1), (2, -1, 0)))", x=_MATRIX, c=real()),
            example("lax.pad(x, jnp.int32(3), ((-1, 1, 1), (2, -1, 0)))", x=whole(3, 4)),
        ),
    ),
    Structural(
        "concatenate",
        move=lambda arrays, call: np.concatenate(arrays, axis=call.params["dimension"]),
        examples=(
            example("lax.concatenate([x, y, x], 1)", x=_MATRIX, y=real(3, 2)),
            example("lax.concatenate([x, y], 0)", x=whole(3), y=whole(2)),
        ),
    ),
    Structural(
        "stack",
        move=lambda arrays, call: np.stack(arrays, axis=call.params["axis"]),
        since="0.10.1",
        examples=(example("jnp.stack([x, y], 1)", x=_MATRIX, y=_MATRIX, since="0.10.1"),),
    ),
    Structural(
        "unstack",
        move=_unstack,
        since="0.10.1",
        examples=(example("jnp.stack(jnp.unstack(x, axis=1)[1:])", x=_MATRIX, since="0.10.1"),),
    ),
    Structural(
        "tile",
        move=lambda arrays, call: np.tile(arrays[0], call.params["reps"]),
        since="0.9.0",
        examples=(example("jnp.tile(x, (2, 3))", x=_MATRIX, since="0.9.0"),),
    ),
    Structural(
        "split",
        move=_split,
        since="0.4.38",
        examples=(example("lax.split(x, (1, 3), 1)", x=_MATRIX, since="0.4.38"),),
    ),
    _same("copy", example("jnp.array(x, copy=True)", x=_MATRIX)),
    _same("device_put", example("jax.device_put(x, jax.devices()[0])", x=_MATRIX)),
    _same("optimization_barrier", example("lax.optimization_barrier((x, n))", x=_MATRIX, n=whole(2))),
    _same(
        "sharding_constraint",
        example(
            "lax.with_sharding_constraint(x, jax.sharding.SingleDeviceSharding(jax.devices()[0]))",
            x=_MATRIX,
        ),
    ),
    _same("name", example("jax.ad_checkpoint.checkpoint_name(x, 'kept')", x=_MATRIX)),
    _Stopped(
        "stop_gradient",
        move=lambda arrays, call: [np.asarray(a) for a in arrays],
        maps=lambda call: [],
        examples=(example("x * lax.stop_gradient(x)", x=_MATRIX),),
    ),
    Zero(
        "iota", value=_iota, examples=(example("lax.broadcasted_iota('float32', (3, 4), 1)"), example("jnp.arange(5)"))
    ),
)
