"""Structural primitives: components are moved, repeated, replaced or left out; none is computed.

Most of them need one function, which moves an array: applied to values it gives the value, applied to errors the errors, and
applied to the places 0, 1, 2, … of an operand the selection that is its map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainback.operations.primitives.indices import gather_places, scatter_places
from chainback.operations.primitives.maps import Map, Scaled, Selection, reshaped, sum_to
from chainback.operations.primitives.record import (
    Call,
    Edge,
    Errors,
    Linear,
    Picked,
    Precision,
    Structural,
    Zero,
    gamma,
    is_float,
    register,
)

Array = np.ndarray
Move = Callable[[Sequence[Array], Call], Any]


def _places(shape: tuple[int, ...]) -> Array:
    return np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)


def _moved(name: str, move: Move, operands: Sequence[int] | None = (0,), **options: Any) -> Structural:
    """Return the record of a primitive that moves its operands, or some of them, as one function says; the others are indices."""

    def whole(arrays: Sequence[Array], call: Call) -> Any:
        which = range(len(call.inputs)) if operands is None else operands
        return move([arrays[k] if k in which else call.inputs[k] for k in range(len(call.inputs))], call)

    def maps(call: Call) -> list[tuple[int, int, Map]]:
        found = []
        which = range(len(call.inputs)) if operands is None else operands
        for k in which:
            arrays = [np.full(np.shape(x), -1) if j in which else x for j, x in enumerate(call.inputs)]
            arrays[k] = _places(np.shape(call.inputs[k]))
            results = move(arrays, call._replace(params=call.params | {"filled": -1}))
            results = results if isinstance(results, list | tuple) else [results]
            found += [(k, r, Selection(np.asarray(index), np.shape(call.inputs[k]))) for r, index in enumerate(results)]
        return found

    return Structural(name, move=whole, maps=maps, **options)


def _one_to_one(
    name: str, forward: Callable[[Array, Call], Array], backward: Callable[[Array, Call], Array], **options: Any
) -> Structural:
    """Return the record of a primitive that moves each component of its one operand to one place, or to several."""

    def maps(call: Call) -> list[tuple[int, int, Map]]:
        size, before = (
            int(np.prod(call.outs[0][0], dtype=np.int64)),
            int(np.prod(np.shape(call.inputs[0]), dtype=np.int64)),
        )
        repeats = max(1, size // max(1, before))
        return [(0, 0, Scaled(lambda dx: forward(dx, call), lambda dy: backward(dy, call), roundings=repeats - 1))]

    return Structural(name, move=lambda arrays, call: forward(np.asarray(arrays[0]), call), maps=maps, **options)


def _shape(call: Call) -> tuple[int, ...]:
    return call.outs[0][0]


def _broadcast(x: Array, call: Call) -> Array:
    shape, axes = call.outs[0][0], call.params["broadcast_dimensions"]
    middle = [1] * len(shape)
    for axis, n in zip(axes, np.shape(x), strict=True):
        middle[axis] = n
    return np.broadcast_to(np.reshape(x, middle), shape)


def _broadcast_back(dy: Array, call: Call) -> Array:
    shape, axes = np.shape(call.inputs[0]), call.params["broadcast_dimensions"]
    middle = [1] * dy.ndim
    for axis, n in zip(axes, shape, strict=True):
        middle[axis] = n
    return np.reshape(sum_to(dy, tuple(middle)), shape)


def _transposed_back(dy: Array, call: Call) -> Array:
    return np.transpose(dy, np.argsort(call.params["permutation"]))


def _slice(arrays: Sequence[Array], call: Call) -> Array:
    p = call.params
    strides = p["strides"] or (1,) * len(p["start_indices"])
    where = tuple(slice(a, b, s) for a, b, s in zip(p["start_indices"], p["limit_indices"], strides, strict=True))
    return arrays[0][where]


def _pad(arrays: Sequence[Array], call: Call) -> Array:
    x, fill = arrays
    for axis, (low, high, interior) in enumerate(call.params["padding_config"]):
        n = x.shape[axis]
        inner = n + max(0, n - 1) * interior
        shape = list(x.shape)
        shape[axis] = inner + max(low, 0) + max(high, 0)
        made = np.broadcast_to(np.asarray(fill).reshape((1,) * x.ndim), shape).astype(np.result_type(x, fill)).copy()
        where: list[Any] = [slice(None)] * x.ndim
        where[axis] = slice(max(low, 0), max(low, 0) + inner, interior + 1)
        if n:
            made[tuple(where)] = x
        where[axis] = slice(max(-low, 0), shape[axis] - max(-high, 0))
        x = made[tuple(where)]
    return x


def _starts(indices: Sequence[Array], shape: Sequence[int], sizes: Sequence[int]) -> list[int]:
    return [int(np.clip(int(i), 0, n - k)) for i, n, k in zip(indices, shape, sizes, strict=True)]


def _dynamic_slice(arrays: Sequence[Array], call: Call) -> Array:
    x, sizes = arrays[0], call.params["slice_sizes"]
    starts = _starts(call.inputs[1 : 1 + x.ndim], x.shape, sizes)
    return x[tuple(slice(a, a + n) for a, n in zip(starts, sizes, strict=True))]


def _dynamic_update_slice(arrays: Sequence[Array], call: Call) -> Array:
    x, update = arrays[0].copy(), arrays[1]
    starts = _starts(call.inputs[2 : 2 + x.ndim], x.shape, update.shape)
    x[tuple(slice(a, a + n) for a, n in zip(starts, update.shape, strict=True))] = update
    return x


def _split(arrays: Sequence[Array], call: Call) -> list[Array]:
    return np.split(arrays[0], np.cumsum(call.params["sizes"])[:-1], axis=call.params["axis"])


def _gather(arrays: Sequence[Array], call: Call) -> Array:
    x, places = arrays[0], gather_places(np.shape(call.inputs[0]), call.inputs[1], call.params)
    filled = call.params.get("filled", call.params.get("fill_value"))
    if filled is None:
        filled = np.nan if x.dtype.kind == "f" else -(2**31) if x.dtype == np.int32 else 0
    if x.size == 0:
        return np.full(places.shape, filled)
    found = x.reshape(-1)[np.maximum(places, 0)]
    return np.where(places >= 0, found, np.asarray(filled).astype(found.dtype)) if (places < 0).any() else found


def _written(arrays: Sequence[Array], call: Call) -> Array:
    x, update = arrays[0], arrays[2]
    places = scatter_places(x.shape, call.inputs[1], update.shape, call.params).ravel()
    flat, keep = x.reshape(-1).copy(), places >= 0
    flat[places[keep]] = np.broadcast_to(update, update.shape).ravel()[keep]
    return flat.reshape(x.shape)


class _Added(Structural):
    """scatter-add: the operand plus what is added at places."""

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        added = np.broadcast_to(E[2], np.shape(call.inputs[2]))
        carried = np.broadcast_to(E[0], np.shape(call.inputs[0])) + edges[-1].map.push(None, added)
        n = 1 + edges[-1].map.roundings
        size = np.abs(call.inputs[0]) + edges[-1].map.push(None, np.abs(call.inputs[2]))
        dtype = call.outs[0][1]
        return Errors([carried + gamma(n, how.u(dtype)) * (size + carried) + n * how.tiny(dtype)], [None] * len(edges))


def _scatter_map(call: Call, sign: float = 1.0) -> Map:
    shape, updates = np.shape(call.inputs[0]), np.shape(call.inputs[2])
    places = scatter_places(shape, call.inputs[1], updates, call.params)
    back = Selection(places, shape)
    most = back.roundings
    return Scaled(
        lambda dx: sign * back.pull(None, np.broadcast_to(dx, updates)),
        lambda dy: sign * back.push(None, dy),
        roundings=most,
    )


def _adding(name: str, sign: float, **options: Any) -> _Added:
    def move(arrays: Sequence[Array], call: Call) -> Array:
        total = arrays[0] + _scatter_map(call, sign).push(None, np.asarray(arrays[2], float))
        return total if is_float(call.outs[0][1]) else total.astype(call.outs[0][1])

    def maps(call: Call) -> list[tuple[int, int, Map]]:
        shape = np.shape(call.inputs[0])
        return [(0, 0, reshaped(shape, shape)), (2, 0, _scatter_map(call, sign))]

    return _Added(name, move=move, maps=maps, **options)


def _selected(call: Call) -> list[Array]:
    which, *cases = call.inputs
    which = np.broadcast_to(which, call.outs[0][0]).astype(np.int64)
    found = cases[0]
    for k, case in enumerate(cases[1:], start=1):
        found = np.where(which == k, case, found)
    return [np.broadcast_to(found, call.outs[0][0])]


def _selected_maps(call: Call, results: Sequence[Array]) -> list[Edge]:
    if not is_float(call.outs[0][1]):
        return []
    shape = call.outs[0][0]
    which = np.broadcast_to(call.inputs[0], shape).astype(np.int64)
    same = Scaled(lambda dx: np.broadcast_to(dx, shape), lambda dy: dy, roundings=0)
    return [Edge(k + 1, 0, same, (which == k).astype(float)) for k in range(len(call.inputs) - 1)]


def _selected_doubt(call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array]) -> Errors:
    shape = call.outs[0][0]
    doubt = np.broadcast_to(np.asarray(E[0]).astype(bool), shape)
    which = np.broadcast_to(call.inputs[0], shape).astype(np.int64)
    cases = [np.broadcast_to(x, shape) for x in call.inputs[1:]]
    if not is_float(call.outs[0][1]):
        found = doubt.copy()
        for k, e in enumerate(E[1:]):
            found |= np.broadcast_to(np.asarray(e).astype(bool), shape) & (which == k)
        return Errors([found], [])
    error = np.zeros(shape)
    with np.errstate(all="ignore"):
        for k, (case, e) in enumerate(zip(cases, E[1:], strict=True)):
            e = np.broadcast_to(np.asarray(e, float), shape)
            apart = np.where(case == results[0], 0.0, np.abs(case - results[0]))
            error = np.maximum(error, np.where(which == k, e, np.where(doubt, apart + e, 0.0)))
    return Errors([error], [doubt.astype(float) if doubt.any() else None for _ in edges])


def _clamped_maps(call: Call, results: Sequence[Array]) -> list[Edge]:
    if not is_float(call.outs[0][1]):
        return []
    low, x, high = call.inputs
    shape = call.outs[0][0]

    def map_of(operand: Array) -> Map:
        return Scaled(
            lambda dx: np.broadcast_to(dx, shape),
            lambda dy: sum_to(dy, np.shape(operand)),
            roundings=max(1, int(np.prod(shape)) // max(1, operand.size)) - 1,
        )

    below, above = np.broadcast_to(x < low, shape), np.broadcast_to(x > high, shape)
    at = np.broadcast_to((x == low) | (x == high), shape)
    inside = np.where(below | above, 0.0, np.where(at, 0.5, 1.0))
    return [
        Edge(0, 0, map_of(low), np.where(below, 1.0, np.where(np.broadcast_to(x == low, shape), 0.5, 0.0))),
        Edge(1, 0, map_of(x), inside),
        Edge(2, 0, map_of(high), np.where(above, 1.0, np.where(np.broadcast_to(x == high, shape), 0.5, 0.0))),
    ]


def _clamped_doubt(call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array]) -> Errors:
    shape = call.outs[0][0]
    if not is_float(call.outs[0][1]):
        doubt = np.zeros(shape, bool)
        for e in E:
            doubt = doubt | np.broadcast_to(np.asarray(e).astype(bool), shape)
        return Errors([doubt], [])
    low, x, high = (np.broadcast_to(v, shape) for v in call.inputs)
    E_low, E_x, E_high = (np.broadcast_to(np.asarray(e, float), shape) for e in E)
    near_low, near_high = np.abs(x - low) <= E_x + E_low, np.abs(x - high) <= E_x + E_high
    error = np.maximum(
        E_x, np.maximum(np.where(near_low | (x < low), E_low, 0.0), np.where(near_high | (x > high), E_high, 0.0))
    )
    error = np.where((x < low) & ~near_low, E_low, np.where((x > high) & ~near_high, E_high, error))
    jump = [np.where(near_low, 1.0, 0.0), np.where(near_low | near_high, 1.0, 0.0), np.where(near_high, 1.0, 0.0)]
    return Errors([error], [j if j.any() else None for j in jump])


def _converted(x: Array, call: Call) -> Array:
    return np.asarray(x)


class _Converted(Structural):
    """convert_element_type: between floats a rounding; from or to another type no derivative."""

    def evaluate(self, call: Call) -> list[Array]:
        (x,), after = call.inputs, call.outs[0][1]
        if is_float(after):
            return [np.asarray(x, np.float64)]
        if np.asarray(x).dtype.kind == "f":
            if after == "bool":
                return [np.asarray(x) != 0]
            info = np.iinfo(after)
            return [np.clip(np.nan_to_num(np.trunc(x)), float(info.min), float(info.max)).astype(after)]
        return [np.asarray(x).astype(after)]

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        (x,), before, after = call.inputs, call.ins[0][1], call.outs[0][1]
        e = np.broadcast_to(E[0], np.shape(x))
        if is_float(before) and is_float(after):
            narrower = how.u(after) > how.u(before)
            lost = how.u(after) * (np.abs(x) + e) + how.tiny(after) if narrower else 0.0
            return Errors([np.where(np.isfinite(x), e + lost, 0.0)], [None] * len(edges))
        if is_float(before):
            with np.errstate(all="ignore"):
                crossed = np.trunc(x - e) != np.trunc(x + e)
            return Errors([crossed & (e > 0)], [])
        if is_float(after):
            reason = "an integer that rounding may change becomes a float" if np.any(e) else ""
            wide = np.abs(np.asarray(x, np.float64)) * how.u(after) if np.asarray(x).dtype.kind in "iu" else 0.0
            return Errors(
                [
                    np.broadcast_to(
                        np.where(np.abs(np.asarray(x, np.float64)) * how.u(after) > 0.5, wide, 0.0), np.shape(x)
                    )
                ],
                [],
                reason,
            )
        return Errors([np.asarray(e).astype(bool)], [])


class _Rounded(Structural):
    """reduce_precision: rounds to fewer bits; JAX lets tangents pass."""

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        x, bits = call.inputs[0], call.params["mantissa_bits"]
        e = np.broadcast_to(E[0], np.shape(x))
        return Errors([np.where(np.isfinite(x), e + 2.0 ** -(bits + 1) * (np.abs(x) + e), 0.0)], [None])


def _iota(call: Call) -> Array:
    shape, axis = call.outs[0][0], call.params["dimension"]
    middle = [1] * len(shape)
    middle[axis] = shape[axis]
    dtype = np.float64 if is_float(call.outs[0][1]) else call.outs[0][1]
    return np.broadcast_to(np.arange(shape[axis]).reshape(middle), shape).astype(dtype)


def _stopped_errors(call: Call, E: Sequence[Array]) -> Array:
    return np.asarray(E[0])


def _reshaped(x: Array, call: Call) -> Array:
    order = call.params.get("dimensions")
    return np.reshape(x if order is None else np.transpose(x, order), _shape(call))


def _reshaped_back(dy: Array, call: Call) -> Array:
    shape, order = np.shape(call.inputs[0]), call.params.get("dimensions")
    if order is None:
        return np.reshape(dy, shape)
    return np.transpose(np.reshape(dy, [shape[k] for k in order]), np.argsort(order))


def _reshape_record(name: str, **options: Any) -> Structural:
    """Return the record of a reshape; JAX's own, of an array that is transposed before, where `dimensions` says so."""
    return _one_to_one(name, _reshaped, _reshaped_back, **options)


def _same_order_record(name: str, **options: Any) -> Structural:
    return _one_to_one(
        name,
        lambda x, call: np.reshape(x, _shape(call)),
        lambda dy, call: np.reshape(dy, np.shape(call.inputs[0])),
        **options,
    )


def _same_record(name: str, **options: Any) -> Structural:
    def maps(call: Call) -> list[tuple[int, int, Map]]:
        return [(k, k, reshaped(np.shape(x), np.shape(x))) for k, x in enumerate(call.inputs)]

    return Structural(name, move=lambda arrays, call: [np.asarray(a) for a in arrays], maps=maps, **options)


class _Stopped(Structural):
    """stop_gradient: the value passes, no derivative does."""

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        return []


register(
    _reshape_record("reshape"),
    _same_order_record("squeeze"),
    _same_order_record("expand_dims"),
    _one_to_one("broadcast_in_dim", _broadcast, _broadcast_back),
    _one_to_one("transpose", lambda x, call: np.transpose(x, call.params["permutation"]), _transposed_back),
    _one_to_one(
        "rev",
        lambda x, call: np.flip(x, call.params["dimensions"]),
        lambda dy, call: np.flip(dy, call.params["dimensions"]),
    ),
    _moved("slice", _slice),
    _moved("pad", _pad, None),
    _moved("concatenate", lambda arrays, call: np.concatenate(arrays, axis=call.params["dimension"]), None),
    _moved("stack", lambda arrays, call: np.stack(arrays, axis=call.params["axis"]), None, since="0.12"),
    _moved("unstack", lambda arrays, call: list(np.moveaxis(arrays[0], call.params["axis"], 0)), since="0.9"),
    _moved("tile", lambda arrays, call: np.tile(arrays[0], call.params["reps"]), since="0.8"),
    _moved("split", _split, since="0.4.36"),
    _moved("dynamic_slice", _dynamic_slice),
    _moved("dynamic_update_slice", _dynamic_update_slice, (0, 1)),
    _moved("gather", _gather),
    _moved("scatter", _written, (0, 2)),
    _adding("scatter-add", 1.0),
    _adding("scatter-sub", -1.0, since="0.8"),
    _same_record("copy"),
    _same_record("copy_p"),
    _same_record("device_put"),
    _same_record("optimization_barrier"),
    _same_record("sharding_constraint"),
    _same_record("name"),
    _Stopped(
        "stop_gradient", move=lambda arrays, call: [np.asarray(a) for a in arrays], maps=lambda call: [], since="0.12"
    ),
    _Converted(
        "convert_element_type",
        move=lambda arrays, call: arrays[0],
        maps=lambda call: [(0, 0, reshaped(np.shape(call.inputs[0]), np.shape(call.inputs[0])))],
    ),
    _Rounded(
        "reduce_precision",
        move=lambda arrays, call: arrays[0],
        maps=lambda call: [(0, 0, reshaped(np.shape(call.inputs[0]), np.shape(call.inputs[0])))],
    ),
    Picked("select_n", value=_selected, maps=_selected_maps, doubt=_selected_doubt),
    Picked(
        "clamp",
        value=lambda call: [
            np.broadcast_to(np.minimum(np.maximum(call.inputs[1], call.inputs[0]), call.inputs[2]), call.outs[0][0])
        ],
        maps=_clamped_maps,
        doubt=_clamped_doubt,
    ),
    Zero("iota", value=_iota, uncertain=lambda call, E: np.zeros((), bool)),
)
_ = Linear
