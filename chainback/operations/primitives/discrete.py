"""Primitives whose results have no derivative: comparisons, logic, integers and bits, steps, random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainback.operations.primitives.record import Call, Zero, is_float, register

Array = np.ndarray


def _compared(how: Any) -> Any:
    """Return a comparison's value, and where rounding may turn it: where the operands are nearer than their errors."""

    def uncertain(call: Call, E: Any) -> Array:
        x, y = call.inputs
        if x is y or (
            x.shape == y.shape and x.dtype.kind == "f" and (np.isnan(x) | (x == y)).all() and not np.any(E[0] + E[1])
        ):
            return np.zeros((), bool)
        if x.dtype.kind != "f":
            return np.asarray(E[0]).astype(bool) | np.asarray(E[1]).astype(bool)
        with np.errstate(all="ignore"):
            near = np.abs(x - y) <= np.asarray(E[0]) + np.asarray(E[1])
        moved = (np.asarray(E[0]) + np.asarray(E[1])) > 0
        return near & moved

    return {"value": lambda call: how(*call.inputs), "uncertain": uncertain}


def _binary(how: Any) -> Any:
    return {
        "value": lambda call: np.asarray(how(*call.inputs)).astype(
            call.outs[0][1] if call.outs[0][1] != "bool" else bool
        )
    }


def _logical(bits: Any, call: Call) -> Array:
    return bits(*call.inputs)


def _shift(call: Call, how: str) -> Array:
    x, n = call.inputs
    bits = x.dtype.itemsize * 8
    over = (n >= bits) | (n < 0)
    n = np.where(over, 0, n).astype(x.dtype)
    if how == "left":
        return np.where(over, 0, np.left_shift(x, n)).astype(x.dtype)
    if how == "logical":
        unsigned = x.view(f"u{x.dtype.itemsize}")
        return (
            np.where(over, 0, np.right_shift(unsigned, n.astype(unsigned.dtype))).astype(unsigned.dtype).view(x.dtype)
        )
    return np.where(over, np.where(x < 0, -1, 0), np.right_shift(x, n)).astype(x.dtype)


def _population(call: Call) -> Array:
    return np.bitwise_count(call.inputs[0]).astype(call.outs[0][1])


def _leading_zeros(call: Call) -> Array:
    (x,) = call.inputs
    bits = x.dtype.itemsize * 8
    wide = x.view(f"u{x.dtype.itemsize}").astype(np.uint64)
    lengths = np.zeros(wide.shape, np.int64)
    for place in range(bits):
        lengths = np.where(wide >> np.uint64(place) & np.uint64(1), place + 1, lengths)
    return (bits - lengths).astype(call.outs[0][1])


def _reduced(how: Any) -> Any:
    return {
        "value": lambda call: how(call.inputs[0], axis=tuple(call.params["axes"])).astype(call.outs[0][1]),
        "uncertain": lambda call, E: _reduced_doubt(call, E),
    }


def _reduced_doubt(call: Call, E: Any) -> Array:
    doubt = np.broadcast_to(np.asarray(E[0]).astype(bool), call.inputs[0].shape)
    return doubt.any(axis=tuple(call.params["axes"]))


def _extreme(largest: bool) -> Any:
    def value(call: Call) -> Array:
        x, axis = call.inputs[0], call.params["axes"][0]
        return (np.argmax if largest else np.argmin)(x, axis=axis).astype(call.outs[0][1])

    def uncertain(call: Call, E: Any) -> Array:
        x, axis = call.inputs[0], call.params["axes"][0]
        E = np.broadcast_to(np.asarray(E[0], float), x.shape)
        if not E.any():
            return np.zeros((), bool)
        best = np.expand_dims(value(call).astype(np.int64), axis)
        top, E_top = np.take_along_axis(x, best, axis), np.take_along_axis(E, best, axis)
        rival = np.abs(top - x) <= E + E_top
        np.put_along_axis(rival, best, False, axis)
        return rival.any(axis=axis)

    return {"value": value, "uncertain": uncertain}


def _rotate(x: Array, by: int) -> Array:
    return (x << np.uint32(by)) | (x >> np.uint32(32 - by))


def threefry(key: tuple[Array, Array], counts: tuple[Array, Array]) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (2011), section 4."""
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    schedule = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    with np.errstate(over="ignore"):
        a, b = counts[0] + schedule[0], counts[1] + schedule[1]
        for round_ in range(5):
            for by in rotations[round_ % 2]:
                a = a + b
                b = _rotate(b, by) ^ a
            a = a + schedule[(round_ + 1) % 3]
            b = b + schedule[(round_ + 2) % 3] + np.uint32(round_ + 1)
    return a, b


def _integers(call: Call) -> Array:
    x = call.inputs[0]
    dtype = np.dtype(call.outs[0][1])
    if x.dtype.kind == "f" and dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.clip(np.nan_to_num(np.trunc(x)), info.min, info.max).astype(dtype)
    return x.astype(dtype)


def _bitcast(call: Call) -> Array:
    (x,) = call.inputs
    before, after = call.ins[0][1], call.outs[0][1]
    source = x.astype(before) if is_float(before) else x
    found = np.ascontiguousarray(source).view(after).astype(np.float64 if is_float(after) else after)
    return found.reshape(call.outs[0][0])


register(
    *(
        Zero(name, **_compared(how))
        for name, how in (
            ("eq", np.equal),
            ("ne", np.not_equal),
            ("lt", np.less),
            ("le", np.less_equal),
            ("gt", np.greater),
            ("ge", np.greater_equal),
            ("lt_to", np.less),
            ("le_to", np.less_equal),
            ("eq_to", np.equal),
        )
    ),
    Zero("and", **_binary(np.bitwise_and)),
    Zero("or", **_binary(np.bitwise_or)),
    Zero("xor", **_binary(np.bitwise_xor)),
    Zero("not", **_binary(np.invert)),
    Zero("shift_left", value=lambda call: _shift(call, "left")),
    Zero("shift_right_logical", value=lambda call: _shift(call, "logical")),
    Zero("shift_right_arithmetic", value=lambda call: _shift(call, "arithmetic")),
    Zero("population_count", value=_population),
    Zero("clz", value=_leading_zeros),
    Zero("is_finite", value=lambda call: np.isfinite(call.inputs[0]), uncertain=lambda call, E: np.zeros((), bool)),
    Zero("reduce_and", **_reduced(np.logical_and.reduce)),
    Zero("reduce_or", **_reduced(np.logical_or.reduce)),
    Zero("reduce_xor", **_reduced(np.bitwise_xor.reduce)),
    Zero("argmax", **_extreme(True)),
    Zero("argmin", **_extreme(False)),
    Zero("threefry2x32", value=lambda call: list(threefry(call.inputs[:2], call.inputs[2:]))),
    Zero("bitcast_convert_type", value=_bitcast),
)
