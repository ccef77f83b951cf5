"""Arithmetic: sums, products, quotients, powers, roots, maxima, steps; polynomials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainback.operations.primitives.calls import Array, Call, Precision
from chainback.operations.primitives.elementwise import Elementwise, unary
from chainback.operations.primitives.examples import example, real, whole
from chainback.operations.primitives.record import register

_PAIR = {"x": real(40), "y": real(40)}


def _zero(*xs: Any) -> Array:
    return np.zeros(np.shape(xs[0]))


def _is_whole(x: Any) -> bool:
    return np.asarray(x).dtype.kind in "iu"


def _divided(x: Array, y: Array) -> Array:
    """Quotients of integers are cut towards 0; by 0 they are −1, all bits set."""
    if not _is_whole(x):
        return x / y
    floor = np.floor_divide(x, np.where(y == 0, 1, y))
    cut = (floor * y != x) & ((x < 0) != (y < 0))
    return np.where(y == 0, np.array(-1).astype(x.dtype), floor + cut.astype(x.dtype))


def _remainder(x: Array, y: Array) -> Array:
    return np.where(y == 0, x, np.fmod(x, np.where(y == 0, 1, y))) if _is_whole(x) else np.fmod(x, y)


def _remainder_breaks(inputs: Sequence[Array], E: Sequence[Array]) -> Array:
    """The quotient passes an integer, where the remainder jumps."""
    (x, y), (e, f) = inputs, E
    low, high = (np.abs(x) - e) / (np.abs(y) + f), (np.abs(x) + e) / (np.abs(y) - f)
    return (np.floor(low) != np.floor(high)) | (f >= np.abs(y)) | ((e >= np.abs(x)) & (e > 0))


class _Remainder(Elementwise):
    """rem: JAX's rule rounds the quotient before it cuts, so that one near an integer may fall on its other side."""

    def _rounded_slopes(self, call: Call, y: Array, edges: Any, E_c: Any, how: Precision) -> list[Array | None]:
        found = super()._rounded_slopes(call, y, edges, E_c, how)
        quotient, slack = np.abs(call.inputs[0] / call.inputs[1]), 4.0 * how.u(call.outs[0][1])
        other = np.floor(quotient * (1.0 + slack)) - np.floor(quotient * (1.0 - slack))
        return [found[0], other if found[1] is None else found[1] + other]


class _Neighbour(Elementwise):
    """nextafter, which takes the unit roundoff of the program's dtype."""

    def _params(self, call: Call) -> list[Any]:
        return [Precision().u(call.outs[0][1])]


def _larger(x: Array, y: Array) -> Array:
    """The first operand's share in the maximum: ½ where both are equal."""
    return np.where(x > y, 1.0, np.where(x == y, 0.5, 0.0))


def _power_slopes(x: Array, y: Array, z: Array) -> tuple[Array, ...]:
    by_base = np.where(y == 0, 0.0, y * np.power(x, np.where(y == 0, 1.0, y - 1.0)))
    if _is_whole(y):
        return (by_base,)
    by_exponent = np.where(x == 0, np.where(y > 0, 0.0, -np.inf), np.log(np.where(x == 0, 1.0, x)) * z)
    return by_base, by_exponent


def _power_size(x: Array, y: Array) -> Array:
    """The relative error of exp(y log x) in units of u: that of its exponent."""
    return 1.0 + np.abs(y * np.log(np.where(x == 0, 1.0, np.abs(x))))


def _power_floors(x: Array, y: Array, z: Array) -> tuple[Array, ...]:
    """Powers that may underflow are multiplied with the exponent, and with the logarithm of the base."""
    found = (np.abs(y), np.abs(np.log(np.where(x == 0, 1.0, np.abs(x)))))
    return found[:1] if _is_whole(y) else found


def _power_breaks(inputs: Sequence[Array], E: Sequence[Array]) -> tuple[Array, ...]:
    """The logarithm of the base may be that of 0."""
    at_zero = (inputs[0] - E[0] <= 0) & (np.asarray(E[0]) > 0)
    return (np.zeros((), bool),) if _is_whole(inputs[1]) else (np.zeros((), bool), at_zero)


def _integer_power(x: Array, y: int) -> Array:
    return np.power(x, y) if y >= 0 else 1.0 / np.power(x, -y)


def _integer_power_slope(x: Array, z: Array, y: int) -> Array:
    return np.zeros_like(x) if y == 0 else y * _integer_power(x, y - 1)


def _reciprocals(x: Array, z: Array, y: int) -> tuple[Array, ...]:
    """A negative power is the reciprocal of a positive one, which must not underflow."""
    return (4.0 * np.abs(z),) if y < 0 else ()


def _rounded(x: Array, method: Any) -> Array:
    to_even = "EVEN" in str(method) or str(method) == "1"
    return np.rint(x) if to_even else np.trunc(x + np.copysign(0.5, x) * (np.abs(x) < 2.0**52))


def _polynomial(x: Array, *coefficients: Array) -> Array:
    total = np.asarray(coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


def _slope_of_polynomial(x: Array, coefficients: Sequence[Array]) -> Array:
    return _polynomial(x, *(k * c for k, c in enumerate(coefficients[1:], start=1)), np.zeros(()))


def _polynomial_slopes(x: Array, *rest: Array) -> tuple[Array, ...]:
    *coefficients, y = rest
    return _slope_of_polynomial(x, coefficients), *(np.power(x, k) * np.ones_like(y) for k in range(len(coefficients)))


def _polynomial_moved(inputs: Sequence[Array], E: Sequence[Array]) -> list[Array]:
    """Polynomials of magnitudes grow with each of them."""
    x, *cs = (np.abs(a) for a in inputs)
    far, *Cs = (np.abs(a) + e for a, e in zip(inputs, E, strict=True))
    return [
        _slope_of_polynomial(far, Cs) - _slope_of_polynomial(x, cs),
        *(np.power(far, k) - np.power(x, k) for k in range(len(cs))),
    ]


def _polynomial_sizes(x: Array, *rest: Array) -> list[Array]:
    """Of n coefficients: n sums and n products in either derivative."""
    n = len(rest) // 2 - 1
    slopes = [_slope_of_polynomial(np.abs(x), _magnitudes(rest[:n])), *_magnitudes(rest[n + 2 :])]
    return [(n + 1) * slope for slope in slopes]


def _magnitudes(inputs: Sequence[Array]) -> list[Array]:
    return [np.abs(a) for a in inputs]


register(
    Elementwise(
        "add",
        value=np.add,
        partials=lambda x, y, z: (None, None),
        examples=(
            example("lax.add(x, y)", **_PAIR),
            example("x + 2.5", x=real(40)),
            example("lax.add(x, y)", x=whole(40), y=whole(40)),
        ),
    ),
    Elementwise(
        "add_any",
        value=np.add,
        partials=lambda x, y, z: (None, None),
        examples=(example("jax.vjp(lambda t: (t, t), x)[1]((x, y))[0]", **_PAIR),),
    ),
    Elementwise(
        "sub",
        value=np.subtract,
        partials=lambda x, y, z: (None, -1.0),
        slope_rounds=0.0,
        examples=(
            example("lax.sub(x, y)", **_PAIR),
            example("1.5 - x", x=real(40)),
            example("lax.sub(x, y)", x=whole(40), y=whole(40)),
        ),
    ),
    Elementwise(
        "mul",
        value=np.multiply,
        partials=lambda x, y, z: (y, x),
        moved=lambda inputs, E: (E[1], E[0]),
        slope_rounds=0.0,
        examples=(
            example("lax.mul(x, y)", **_PAIR),
            example("x * x", x=real(40)),
            example("0.7 * x", x=real(40)),
            example("x * y", x=real(3, 4), y=real(3, 1)),
            example("lax.mul(x, y)", x=whole(40), y=whole(40)),
        ),
    ),
    unary("neg", np.negative, lambda x, y: -1.0, rounds=0.0, slope_rounds=0.0, moved=lambda inputs, E: (None,)),
    Elementwise(
        "div",
        value=_divided,
        partials=lambda x, y, z: (1.0 / y, -z / y),
        rounds=3.0,  # 1 ulp on a GPU; a division by a constant becomes a product with its rounded reciprocal
        slope_rounds=6.0,  # −x · (1 / y²): two products and a quotient
        breaks=lambda inputs, E: (np.abs(inputs[1]) <= E[1]) & (np.asarray(E[1]) > 0),
        through=lambda x, y, z: (4.0 / (y * y),),
        slope_floors=lambda x, y, z: (1.0, np.abs(x)),
        examples=(
            example("lax.div(x, y)", **_PAIR),
            example("x / 3.0", x=real(40)),
            example("lax.div(x, y)", x=whole(40), y=whole(40, low=-3, high=3)),
            example("lax.div(x, y)", x=whole(40, low=0, dtype="uint32"), y=whole(40, low=0, high=3, dtype="uint32")),
        ),
    ),
    _Remainder(
        "rem",
        value=_remainder,
        partials=lambda x, y, z: (None, -np.trunc(x / y)),
        rounds=1.0,
        slope_rounds=2.0,
        breaks=_remainder_breaks,
        examples=(
            example("lax.rem(x, y)", **_PAIR),
            example("lax.rem(x, y)", x=whole(40), y=whole(40, low=-3, high=3)),
        ),
    ),
    Elementwise(
        "max",
        value=np.maximum,
        partials=lambda x, y, z: (_larger(x, y), 1.0 - _larger(x, y)),
        rounds=0.0,
        slope_rounds=0.0,
        jumps=True,
        examples=(
            example("lax.max(x, y)", **_PAIR),
            example("lax.max(x, 0.0)", x=real(40)),
            example("lax.max(x, y)", x=whole(40), y=whole(40)),
        ),
    ),
    Elementwise(
        "min",
        value=np.minimum,
        partials=lambda x, y, z: (_larger(y, x), 1.0 - _larger(y, x)),
        rounds=0.0,
        slope_rounds=0.0,
        jumps=True,
        examples=(example("lax.min(x, y)", **_PAIR), example("lax.min(x, y)", x=whole(40), y=whole(40))),
    ),
    unary("abs", np.abs, lambda x, y: np.sign(x), rounds=0.0, slope_rounds=0.0, jumps=True),
    unary("sign", np.sign, _zero, steps=True),
    unary("floor", np.floor, _zero, steps=True, at=(3.0, -3.0)),
    unary("ceil", np.ceil, _zero, steps=True, at=(3.0, -3.0)),
    unary(
        "round",
        _rounded,
        _zero,
        takes=("rounding_method",),
        steps=True,
        at=(0.5, -0.5, 1.5, 2.5),
        examples=(
            example("lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN)", x=real(40, at=(1.5, 2.5, -0.5))),
            example("lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO)", x=real(40, at=(1.5, 2.5, -0.5))),
        ),
    ),
    _Neighbour(
        "nextafter",
        value=lambda x, y, u: x + np.sign(y - x) * np.abs(x) * u,
        partials=lambda x, y, z, u: (None, 0.0),
        rounds=4.0,  # the neighbour is up to 2 u away, here 1 u, on either side
        slope_rounds=0.0,
        examples=(
            example("lax.nextafter(x, y)", judged=(), **_PAIR),
            example("lax.nextafter(x, y)", judged=("x",), since="0.12.0", **_PAIR),
        ),
    ),
    unary("sqrt", np.sqrt, lambda x, y: 0.5 / y, rounds=2.0, low=0.0),  # 1 ulp on a GPU
    unary(
        "rsqrt",
        lambda x: 1.0 / np.sqrt(x),
        lambda x, y: -0.5 * y / x,
        rounds=5.0,  # documented 2 ulp
        slope_rounds=8.0,
        through=lambda x, y: (y / x,),
        low=0.0,
    ),
    unary(
        "cbrt",
        np.cbrt,
        lambda x, y: 1.0 / (3.0 * y * y),
        rounds=4.0,  # documented 1.5 ulp
        slope_rounds=16.0,  # ⅓ · (1 / y²): the value's error twice
        breaks=lambda inputs, E: (np.abs(inputs[0]) <= E[0]) & (np.asarray(E[0]) > 0),
    ),
    unary(
        "square",
        np.square,
        lambda x, y: 2.0 * x,
        slope_rounds=0.0,
        moved=lambda inputs, E: (2.0 * E[0],),
        since="0.4.36",
    ),
    unary(
        "one_minus_square",
        lambda x: (1.0 - x) * (1.0 + x),
        lambda x, y: -2.0 * x,
        rounds=3.0,  # two sums and a product
        slope_rounds=0.0,
        moved=lambda inputs, E: (2.0 * E[0],),
        since="0.12.0",
    ),
    unary(
        "integer_pow",
        _integer_power,
        _integer_power_slope,
        takes=("y",),
        rounds={"": 1.0},
        size=lambda x, z, y: np.abs(z) * (2.0 + abs(y)),  # |y| − 1 products, and a reciprocal
        slope_size=lambda x, z, c, y: (np.abs(c) * (3.0 + abs(y)),),
        slope_rounds=1.0,
        breaks=lambda inputs, E, y: (np.abs(inputs[0]) <= E[0]) & (np.asarray(E[0]) > 0) & (y < 0),
        within=_reciprocals,
        through=lambda x, z, y: _reciprocals(x, _integer_power(x, y - 1), y),
        slope_floors=lambda x, z, y: (abs(y),),
        examples=(
            *(example(f"lax.integer_pow(x, {n})", x=real(40)) for n in (2, 3, 5, 8, 1, -1, -2, -3)),
            example("lax.integer_pow(x, 3)", x=whole(40)),
        ),
    ),
    Elementwise(
        "pow",
        value=np.power,
        partials=_power_slopes,
        rounds=8.0,
        size=lambda x, y, z: np.abs(z) * _power_size(x, y),
        slope_rounds=12.0,
        slope_size=lambda x, y, z, *cs: [np.abs(c) * (_power_size(x, np.abs(y) + 1.0) + 1.0) for c in cs],
        through=lambda x, y, z: (np.where(y == 0, 0.0, np.abs(np.power(x, y - 1.0))),),
        slope_floors=_power_floors,
        breaks=_power_breaks,
        examples=(
            example("lax.pow(x, y)", x=real(40, low=1e-30), y=real(40, low=-20.0, high=20.0)),
            example("lax.pow(x, y)", x=real(40, low=0.0), y=real(40, low=1.0, high=20.0)),  # 0⁰: JAX says NaN
            example("x ** 2.5", x=real(40, low=0.0)),
            example("lax.pow(x, 3.0)", x=real(40)),
            example("lax.pow(x, y)", x=real(40), y=whole(40, low=-3, high=4)),
        ),
    ),
    Elementwise(
        "polynomial",
        value=_polynomial,
        partials=_polynomial_slopes,
        rounds=1.0,
        size=lambda x, *rest: (2.0 * len(rest)) * _polynomial(*_magnitudes((x, *rest[:-1]))),
        slope_rounds=2.0,
        slope_size=_polynomial_sizes,
        moved=_polynomial_moved,
        since="0.12.0",
        examples=(
            example("lax.polynomial(x, (a, 0.5, -2.0, 0.3))", x=real(40), a=real(40)),
            example("lax.polynomial(x, tuple(1.0 / k for k in range(1, 12)))", x=real(40)),
        ),
    ),
)
