"""Selections by value: select_n and clamp."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainback.operations.primitives.calls import Array, Call, Edge, Errors, may_differ
from chainback.operations.primitives.examples import example, flags, real, whole
from chainback.operations.primitives.maps import elementwise
from chainback.operations.primitives.record import Picked, register


def _which(call: Call) -> Array:
    return np.broadcast_to(np.asarray(call.inputs[0]).astype(np.int64), call.outs[0][0])


def _selected(call: Call) -> list[Array]:
    which, shape = _which(call), call.outs[0][0]
    found = np.broadcast_to(call.inputs[1], shape)
    for k, case in enumerate(call.inputs[2:], start=1):
        found = np.where(which == k, case, found)
    return [found]


def _selected_maps(call: Call, results: Sequence[Array]) -> list[Edge]:
    which, shape = _which(call), call.outs[0][0]
    return [
        Edge(k + 1, 0, elementwise(np.shape(case), shape), (which == k).astype(float))
        for k, case in enumerate(call.inputs[1:])
    ]


def _selected_doubt(call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array]) -> Errors:
    """On an uncertain flag any case may be taken."""
    shape, which = call.outs[0][0], _which(call)
    doubt = np.broadcast_to(np.asarray(E[0]).astype(bool), shape)
    if not call.makes_float:
        taken = [np.broadcast_to(e, shape).astype(bool) & (which == k) for k, e in enumerate(E[1:])]
        return Errors([doubt | np.any(taken, axis=0)], [])
    error = np.zeros(shape)
    with np.errstate(all="ignore"):
        for k, (case, e) in enumerate(zip(call.inputs[1:], E[1:], strict=True)):
            apart = np.where(case == results[0], 0.0, np.abs(case - results[0]))
            apart = np.where(np.isnan(apart), np.inf, apart)
            error = np.maximum(error, np.where(which == k, e, np.where(doubt, apart + e, 0.0)))
    return Errors([error], [doubt.astype(float) if doubt.any() else None for _ in edges])


def _clamped(call: Call) -> list[Array]:
    low, x, high = call.inputs
    return [np.broadcast_to(np.minimum(np.maximum(x, low), high), call.outs[0][0])]


def _clamped_maps(call: Call, results: Sequence[Array]) -> list[Edge]:
    """At an end the share is ½; JAX says 0, and the other one-sided value is 1."""
    low, x, high = call.inputs
    shape = call.outs[0][0]
    below = np.where(x < low, 1.0, np.where(x == low, 0.5, 0.0))
    above = np.where(x > high, 1.0, np.where(x == high, 0.5, 0.0))
    shares = (below, np.maximum(1.0 - below - above, 0.0), above)
    return [
        Edge(k, 0, elementwise(np.shape(operand), shape), np.broadcast_to(share, shape))
        for k, (operand, share) in enumerate(zip(call.inputs, shares, strict=True))
    ]


def _clamped_doubt(call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array]) -> Errors:
    """Near an end either side is possible; the value moves no further than the operands that it may be."""
    shape = call.outs[0][0]
    if not call.makes_float:
        return Errors([may_differ(E, shape)], [])
    low, x, high = (np.broadcast_to(v, shape) for v in call.inputs)
    E_low, E_x, E_high = (np.broadcast_to(np.asarray(e, float), shape) for e in E)
    at_low, at_high = np.abs(x - low) <= E_x + E_low, np.abs(x - high) <= E_x + E_high
    closed = high - low <= E_low + E_high
    at_low, at_high = at_low | (closed & (x <= high + E_high)), at_high | (closed & (x >= low - E_low))
    candidates = (
        (at_low | (x < low), E_low),
        (((x > low) | at_low) & ((x < high) | at_high), E_x),
        (at_high | (x > high), E_high),
    )
    error = np.zeros(shape)
    for possible, e in candidates:
        error = np.maximum(error, np.where(possible, e, 0.0))
    return Errors([error], [_or_none(at_low), _or_none(at_low | at_high), _or_none(at_high)])


def _or_none(near: Array) -> Array | None:
    return near.astype(float) if near.any() else None


register(
    Picked(
        "select_n",
        value=_selected,
        maps=_selected_maps,
        doubt=_selected_doubt,
        examples=(
            example("lax.select_n(b, x, y)", b=flags(3, 4), x=real(3, 4), y=real(3, 4)),
            example("jnp.where(x > y, x * y, y)", x=real(20), y=real(20)),
            example("lax.select_n(n, x, y, x)", n=whole(4, low=0, high=2), x=real(4), y=real(4)),
            example("lax.select_n(b, x, y)", b=flags(), x=whole(4), y=whole(4)),
        ),
    ),
    Picked(
        "clamp",
        value=_clamped,
        maps=_clamped_maps,
        doubt=_clamped_doubt,
        examples=(
            example("lax.clamp(-0.5, x, 1.0)", x=real(20, at=(-0.5, 1.0))),
            example("lax.clamp(a, x, a + 1.0)", a=real(20), x=real(20)),
            example("lax.clamp(jnp.int32(-2), x, jnp.int32(3))", x=whole(20)),
        ),
    ),
)
