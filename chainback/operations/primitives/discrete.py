"""Comparisons, logic, integers and bits: no derivative, but for what a float's bits say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainback.operations.primitives.calls import Array, Call, is_float
from chainback.operations.primitives.examples import Example, example, flags, real, whole
from chainback.operations.primitives.record import Zero, register

_WORDS = {"x": whole(20, low=-(2**31), high=2**31 - 1), "y": whole(20, low=-(2**31), high=2**31 - 1)}
_NATURAL = {"x": whole(20, low=0, high=2**32 - 1, dtype="uint32"), "n": whole(20, low=0, high=40, dtype="uint32")}
_PAIR = {"x": real(20), "y": real(20)}


def _near(call: Call, E: Sequence[Array]) -> Array:
    """Where rounding may turn a comparison: where the operands are nearer than their errors."""
    x, y = call.inputs
    if x.dtype.kind != "f":
        return np.asarray(E[0]).astype(bool) | np.asarray(E[1]).astype(bool)
    reach = np.asarray(E[0]) + np.asarray(E[1])
    if x is y:  # x != x asks whether x is NaN, which rounding does not change
        return np.zeros((), bool)
    with np.errstate(all="ignore"):
        return (np.abs(x - y) <= reach) & (reach > 0)


def _comparison(name: str, how: Callable[..., Array], examples: tuple[Example, ...] = ()) -> Zero:
    usual = (example(f"lax.{name}(x, y)", **_PAIR), example(f"lax.{name}(x, y)", x=whole(20), y=whole(20)))
    return Zero(name, value=lambda call: how(*call.inputs), uncertain=_near, examples=examples or usual)


def _total(how: Callable[..., Array]) -> Callable[[Call], Array]:
    """A comparison in the total order, −NaN < −∞ < … < −0 < 0 < … < ∞ < NaN, by the bits of float64."""

    def value(call: Call) -> Array:
        x, y = call.inputs
        if x.dtype.kind == "f":
            keys = (np.array(v, np.float64, order="C").view(np.int64) for v in (x, y))
            x, y = (np.where(k < 0, k ^ np.int64(0x7FFFFFFFFFFFFFFF), k) for k in keys)
        return how(x, y)

    return value


def _of_sort(flag: str) -> tuple[Example, ...]:
    """JAX compares in the total order inside the comparator of a sort only, and binds the primitive nowhere in public."""
    return (example(f"jax.extend.core.primitives.{flag}_to_p.bind(x, y)", **_PAIR),)


def _bitwise(name: str, how: Callable[..., Array], call: str) -> Zero:
    return Zero(
        name,
        value=lambda call: how(*call.inputs),
        examples=(example(call, **_WORDS), example(call, x=flags(20), y=flags(20))),
    )


def _shift(how: str) -> Callable[[Call], Array]:
    """Shifts by more than the width leave nothing, or the sign."""

    def value(call: Call) -> Array:
        x, n = call.inputs
        bits = x.dtype.itemsize * 8
        over = (n >= bits) | (n < 0)
        n = np.where(over, 0, n).astype(x.dtype)
        if how == "left":
            return np.where(over, np.zeros((), x.dtype), np.left_shift(x, n))
        if how == "arithmetic":
            return np.where(over, np.where(x < 0, -1, 0), np.right_shift(x, n)).astype(x.dtype)
        unsigned = np.dtype(f"u{x.dtype.itemsize}")
        moved = np.right_shift(np.array(x, order="C").view(unsigned), n.astype(unsigned))
        return np.where(over, np.zeros((), unsigned), moved).astype(unsigned).view(x.dtype)

    return value


def _bits(x: Array) -> Array:
    """Return the bits of integers, along a new last axis, the lowest first."""
    octets = np.array(x, order="C")[..., None].view(np.uint8)
    return np.unpackbits(octets, axis=-1, bitorder="little")


def _population(call: Call) -> Array:
    return _bits(call.inputs[0]).sum(axis=-1).astype(call.outs[0][1])


def _leading_zeros(call: Call) -> Array:
    bits = _bits(call.inputs[0])
    return np.where(bits.any(axis=-1), np.argmax(bits[..., ::-1], axis=-1), bits.shape[-1]).astype(call.outs[0][1])


def _high_half(call: Call) -> Array:
    """The upper half of the product of two integers."""
    x, y = (v.astype(object) for v in call.inputs)
    width = call.inputs[0].dtype.itemsize * 8
    return np.asarray((x * y) >> width).astype(call.outs[0][1])


def _reduced(name: str, how: Any, call: str, operand: Any) -> Zero:
    def uncertain(call: Call, E: Sequence[Array]) -> Array:
        doubt = np.broadcast_to(np.asarray(E[0]).astype(bool), call.inputs[0].shape)
        return np.asarray(doubt.any(axis=tuple(call.params["axes"])))

    return Zero(
        name,
        value=lambda call: how.reduce(call.inputs[0], axis=tuple(call.params["axes"])).astype(call.outs[0][1]),
        uncertain=uncertain,
        examples=(example(call, x=operand), example(call, x=whole(3, 4, low=0, high=7))),
    )


def _extreme(name: str, pick: Callable[..., Array]) -> Zero:
    """The place of the first extreme component, or of the first NaN."""

    def value(call: Call) -> Array:
        return pick(call.inputs[0], axis=call.params["axes"][0]).astype(call.outs[0][1])

    def uncertain(call: Call, E: Sequence[Array]) -> Array:
        x, axis = call.inputs[0], call.params["axes"][0]
        e = np.broadcast_to(np.asarray(E[0], float), x.shape)
        best = np.expand_dims(value(call).astype(np.int64), axis)
        top, E_top = np.take_along_axis(x, best, axis), np.take_along_axis(e, best, axis)
        with np.errstate(all="ignore"):
            rival = (np.abs(np.asarray(top, float) - x) <= e + E_top) & (e + E_top > 0)
        np.put_along_axis(rival, best, False, axis)
        return np.asarray(rival.any(axis=axis))

    return Zero(
        name,
        value=value,
        uncertain=uncertain,
        examples=(
            example(f"lax.{name}(x, 1, 'int32')", x=real(4, 5)),
            example(f"lax.{name}(x, 0, 'int32')", x=whole(4, 5)),
        ),
    )


def _bitcast(call: Call) -> Array:
    (x,), before, after = call.inputs, call.ins[0][1], call.outs[0][1]
    source = np.array(x, before if is_float(before) else None, order="C")
    narrow, wide = source.dtype.itemsize, np.dtype(after).itemsize
    if wide < narrow:
        source = source[..., None]
    found = source.view(after).reshape(call.outs[0][0])
    return found.astype(np.float64) if is_float(after) else found


register(
    _comparison("eq", np.equal),
    _comparison("ne", np.not_equal),
    _comparison("lt", np.less),
    _comparison("le", np.less_equal),
    _comparison("gt", np.greater),
    _comparison("ge", np.greater_equal),
    Zero("lt_to", value=_total(np.less), uncertain=_near, examples=_of_sort("lt")),
    Zero("le_to", value=_total(np.less_equal), uncertain=_near, examples=_of_sort("le")),
    Zero("eq_to", value=_total(np.equal), uncertain=_near, examples=_of_sort("eq")),
    _bitwise("and", np.bitwise_and, "lax.bitwise_and(x, y)"),
    _bitwise("or", np.bitwise_or, "lax.bitwise_or(x, y)"),
    _bitwise("xor", np.bitwise_xor, "lax.bitwise_xor(x, y)"),
    Zero(
        "not",
        value=lambda call: np.invert(call.inputs[0]),
        examples=(example("lax.bitwise_not(x)", x=whole(20)), example("lax.bitwise_not(x)", x=flags(20))),
    ),
    Zero("shift_left", value=_shift("left"), examples=(example("lax.shift_left(x, n)", **_NATURAL),)),
    Zero(
        "shift_right_logical",
        value=_shift("logical"),
        examples=(
            example("lax.shift_right_logical(x, n)", **_NATURAL),
            example("lax.shift_right_logical(x, n)", x=_WORDS["x"], n=whole(20, low=0, high=40)),
        ),
    ),
    Zero(
        "shift_right_arithmetic",
        value=_shift("arithmetic"),
        examples=(example("lax.shift_right_arithmetic(x, n)", x=_WORDS["x"], n=whole(20, low=0, high=40)),),
    ),
    Zero("population_count", value=_population, examples=(example("lax.population_count(x)", x=_NATURAL["x"]),)),
    Zero("clz", value=_leading_zeros, examples=(example("lax.clz(x)", x=whole(20, low=-2, high=70)),)),
    Zero("mulhi", value=_high_half, since="0.10.2", examples=(example("lax.mulhi(x, y)", **_WORDS, since="0.10.2"),)),
    Zero(
        "is_finite",
        value=lambda call: np.isfinite(call.inputs[0]),
        uncertain=lambda call, E: np.zeros((), bool),
        examples=(example("lax.is_finite(1.0 / x)", x=real(20, at=(0.0,))),),
    ),
    _reduced("reduce_and", np.bitwise_and, "lax.reduce_and(x, (1,))", flags(3, 4)),
    _reduced("reduce_or", np.bitwise_or, "lax.reduce_or(x, (0,))", flags(3, 4)),
    _reduced("reduce_xor", np.bitwise_xor, "lax.reduce_xor(x, (0, 1))", flags(3, 4)),
    _extreme("argmax", np.argmax),
    _extreme("argmin", np.argmin),
    Zero(
        "bitcast_convert_type",
        value=_bitcast,
        examples=(
            example("lax.bitcast_convert_type(x, 'int32')", x=real(20)),
            example("lax.bitcast_convert_type(lax.convert_element_type(x, 'float32'), 'uint8')", x=real(20)),
            example("lax.bitcast_convert_type(n, 'float32')", n=whole(20, low=0, high=2**30, dtype="uint32")),
        ),
    ),
)
