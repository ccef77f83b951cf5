"""Elementwise primitives: arithmetic, and the functions of one, two or three numbers.

Each record has the value and the partial derivatives in closed form, in float64, and how many u a float32 implementation may
lose of each. Roundings of values start from JAX's own table of accuracies (docs, accuracy.md: ulp, doubled to u, and a small
factor); those of slopes from the formula that JAX's rule evaluates, whose cancelling terms are the slope's `size`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from chainback.operations.primitives.record import Elementwise, register

Array = np.ndarray
_ROOT_PI = float(np.sqrt(np.pi))


def _unary(name: str, value: Any, slope: Any, **options: Any) -> Elementwise:
    """A function of one number; `slope` maps (x, y) to y'."""
    return Elementwise(name, value=value, partials=lambda *xs: (slope(*xs),), **options)


def _exactly(name: str, value: Any, *slopes: Any, **options: Any) -> Elementwise:
    """An operation whose value is rounded once, or never, and whose partial derivatives are exact."""
    return Elementwise(
        name,
        value=value,
        partials=lambda *xs: tuple(slope(*xs) for slope in slopes),
        **{"slope_rounds": 0.0} | options,
    )


def _one(*xs: Array) -> Array:
    return np.ones_like(xs[-1])


def _minus_one(*xs: Array) -> Array:
    return -np.ones_like(xs[-1])


def _zero(*xs: Array) -> Array:
    return np.zeros_like(xs[-1])


def _ones_like_floats(value: Any) -> Any:
    return value


def _divided(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu" and np.asarray(y).dtype.kind in "iu":
        quotient = np.floor_divide(np.abs(x.astype(object)), np.abs(np.where(y == 0, 1, y).astype(object)))
        signed = np.where((x < 0) != (y < 0), -quotient, quotient)
        return np.where(y == 0, -1, signed).astype(x.dtype)
    return x / y


def _remainder(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu":
        return np.where(y == 0, x, np.fmod(x, np.where(y == 0, 1, y))).astype(x.dtype)
    return np.fmod(x, y)


def _larger(x: Array, y: Array, z: Array) -> tuple[Array, Array]:
    """Shares of two operands in their maximum: ½ each where they are equal."""
    share = np.where(x > y, 1.0, np.where(x == y, 0.5, 0.0))
    return share, 1.0 - share


def _power(x: Array, y: Array) -> Array:
    return np.power(x, y)


def _power_slopes(x: Array, y: Array, z: Array) -> tuple[Array, ...]:
    by_base = np.where(y == 0, 0.0, y * np.power(x, np.where(y == 0, 1.0, y - 1.0)))
    if np.asarray(y).dtype.kind in "iu":
        return (by_base,)
    log = np.log(np.where(x == 0, 1.0, x))
    by_exponent = np.where(x == 0, np.where(y > 0, 0.0, np.where(y == 0, -np.inf, -np.inf)), log * z)
    return by_base, by_exponent


def _integer_power(x: Array, y: int) -> Array:
    return np.power(x, y) if np.asarray(x).dtype.kind == "f" or y >= 0 else np.power(x.astype(float), y)


def _integer_power_slope(x: Array, z: Array, y: int) -> Array:
    return np.zeros_like(x) if y == 0 else y * np.power(x, y - 1)


def _polygamma_slopes(n: Array, x: Array, y: Array) -> tuple[Array, ...]:
    return np.full(np.shape(y), np.nan), special.polygamma(np.round(n + 1).astype(int), x)


def _polygamma(n: Array, x: Array) -> Array:
    return special.polygamma(np.round(n).astype(int), x)


def _zeta_slopes(s: Array, q: Array, y: Array) -> tuple[Array, ...]:
    return np.full(np.shape(y), np.nan), -s * special.zeta(s + 1.0, q)


def _gamma_density(a: Array, x: Array) -> Array:
    return np.exp(special.xlogy(a - 1.0, x) - x - special.gammaln(a))


def _by_differences(function: Any, a: Array, *rest: Array) -> Array:
    """d/da of a function without a closed form for it: central differences, extrapolated four times (Richardson)."""
    h = 1e-2 * np.maximum(np.abs(a), 1e-3)
    table = [(function(a + h / 2**k, *rest) - function(a - h / 2**k, *rest)) / (2 * h / 2**k) for k in range(5)]
    for order in range(1, 5):
        table = [(4**order * table[k + 1] - table[k]) / (4**order - 1) for k in range(len(table) - 1)]
    return table[0]


def _beta_slopes(a: Array, b: Array, x: Array, y: Array) -> tuple[Array, ...]:
    density = np.exp(special.xlogy(a - 1.0, x) + special.xlog1py(b - 1.0, -x) - special.betaln(a, b))
    return (
        _by_differences(special.betainc, a, b, x),
        _by_differences(lambda b, a, x: special.betainc(a, b, x), b, a, x),
        density,
    )


def _tan_y(x: Array, y: Array) -> Array:
    return 1.0 + y * y


register(
    _exactly("add", np.add, _one, _one, size=lambda x, y, z: np.abs(z)),
    _exactly("add_any", np.add, _one, _one),
    _exactly("sub", np.subtract, _one, _minus_one),
    Elementwise("mul", value=np.multiply, partials=lambda x, y, z: (y, x), takes=(), slope_rounds=0.0),
    _exactly("neg", np.negative, _minus_one, rounds=0.0),
    Elementwise("div", value=_divided, partials=lambda x, y, z: (1.0 / y, -z / y), rounds=3.0, slope_rounds=6.0),
    Elementwise(
        "rem",
        value=_remainder,
        partials=lambda x, y, z: (np.ones_like(z), -np.trunc(x / y)),
        rounds=1.0,
        size=lambda x, y, z: np.abs(z),
        slope_rounds=2.0,
    ),
    Elementwise("max", value=np.maximum, partials=_larger, rounds=0.0, slope_rounds=0.0, jumps=True),
    Elementwise(
        "min", value=np.minimum, partials=lambda x, y, z: _larger(y, x, z), rounds=0.0, slope_rounds=0.0, jumps=True
    ),
    _unary("abs", np.abs, lambda x, y: np.sign(x), rounds=0.0, slope_rounds=0.0, jumps=True),
    _unary("sign", np.sign, _zero, rounds=0.0, slope_rounds=0.0),
    _unary("floor", np.floor, _zero, rounds=0.0, slope_rounds=0.0),
    _unary("ceil", np.ceil, _zero, rounds=0.0, slope_rounds=0.0),
    Elementwise(
        "nextafter",
        value=lambda x, y: x + np.sign(y - x) * np.abs(x) * 2.0**-24,
        partials=lambda x, y, z: (np.ones_like(z), np.zeros_like(z)),
        rounds=2.0,
    ),
    _unary(
        "round",
        lambda x, rounding_method: (
            np.rint(x)
            if "EVEN" in str(rounding_method) or str(rounding_method) == "1"
            else np.trunc(x + np.copysign(0.5, x))
        ),
        lambda x, y, rounding_method: np.zeros_like(x),
        takes=("rounding_method",),
        rounds=0.0,
        slope_rounds=0.0,
    ),
    _unary("exp", np.exp, lambda x, y: y, rounds=4.0),
    _unary("exp2", np.exp2, lambda x, y: np.log(2.0) * y, rounds=150.0, slope_rounds=160.0),
    _unary("expm1", np.expm1, lambda x, y: 1.0 + y, rounds=6.0, slope_size=lambda x, y, c: [1.0 + np.abs(y)]),
    _unary("log", np.log, lambda x, y: 1.0 / x, rounds=4.0),
    _unary(
        "log1p",
        np.log1p,
        lambda x, y: 1.0 / (1.0 + x),
        rounds=6.0,
        slope_size=lambda x, y, c: [np.abs(c) * (1.0 + np.abs(x) * np.abs(c))],
    ),
    _unary("sqrt", np.sqrt, lambda x, y: 0.5 / y, rounds=2.0),
    _unary("rsqrt", lambda x: 1.0 / np.sqrt(x), lambda x, y: -0.5 * y / x, rounds=5.0, slope_rounds=12.0),
    _unary("cbrt", np.cbrt, lambda x, y: 1.0 / (3.0 * y * y), rounds=8.0, slope_rounds=16.0),
    _unary("square", np.square, lambda x, y: 2.0 * x, rounds=1.0, slope_rounds=0.0, since="0.5.1"),
    _unary("integer_pow", _integer_power, _integer_power_slope, takes=("y",), rounds=8.0, slope_rounds=8.0),
    Elementwise(
        "pow",
        value=_power,
        partials=_power_slopes,
        rounds=8.0,
        size=lambda x, y, z: np.abs(z) * (1.0 + np.abs(y * np.log(np.where(x == 0, 1.0, np.abs(x))))),
        slope_rounds=12.0,
        slope_size=lambda x, y, z, *cs: [
            np.abs(c) * (1.0 + np.abs(y * np.log(np.where(x == 0, 1.0, np.abs(x))))) for c in cs
        ],
    ),
    _unary("sin", np.sin, lambda x, y: np.cos(x), rounds=4.0, slope_size=lambda x, y, c: [np.ones_like(c)]),
    _unary("cos", np.cos, lambda x, y: -np.sin(x), rounds=4.0, size=lambda x, y: np.ones_like(y)),
    _unary("tan", np.tan, _tan_y, rounds=8.0, slope_rounds=24.0),
    _unary(
        "asin",
        np.arcsin,
        lambda x, y: 1.0 / np.sqrt((1.0 - x) * (1.0 + x)),
        rounds=8.0,
        slope_size=lambda x, y, c: [np.abs(c) * np.maximum(1.0, c * c)],
    ),
    _unary(
        "acos",
        np.arccos,
        lambda x, y: -1.0 / np.sqrt((1.0 - x) * (1.0 + x)),
        rounds=12.0,
        slope_size=lambda x, y, c: [np.abs(c) * np.maximum(1.0, c * c)],
    ),
    _unary("atan", np.arctan, lambda x, y: 1.0 / (1.0 + x * x), rounds=8.0),
    Elementwise(
        "atan2",
        value=np.arctan2,
        partials=lambda y, x, z: (x / (x * x + y * y), -y / (x * x + y * y)),
        rounds=8.0,
        slope_rounds=8.0,
    ),
    _unary("sinh", np.sinh, lambda x, y: np.cosh(x), rounds=60.0, slope_rounds=60.0),
    _unary("cosh", np.cosh, lambda x, y: np.sinh(x), rounds=60.0, slope_rounds=60.0),
    _unary(
        "tanh",
        np.tanh,
        lambda x, y: 1.0 / np.cosh(np.clip(x, -350, 350)) ** 2,
        rounds=12.0,
        slope_rounds=12.0,
        slope_size=lambda x, y, c: [np.ones_like(c)],
    ),
    _unary("asinh", np.arcsinh, lambda x, y: 1.0 / np.hypot(1.0, x), rounds=12.0, slope_rounds=8.0),
    _unary(
        "acosh",
        np.arccosh,
        lambda x, y: 1.0 / np.sqrt((x - 1.0) * (x + 1.0)),
        rounds=12.0,
        slope_size=lambda x, y, c: [np.abs(c) * np.maximum(1.0, c * c)],
    ),
    _unary(
        "atanh",
        np.arctanh,
        lambda x, y: 1.0 / ((1.0 - x) * (1.0 + x)),
        rounds=12.0,
        slope_size=lambda x, y, c: [np.abs(c) * np.maximum(1.0, np.abs(c))],
    ),
    _unary(
        "logistic",
        special.expit,
        lambda x, y: y * special.expit(-x),
        rounds=6.0,
        slope_rounds=8.0,
        slope_size=lambda x, y, c: [y],
    ),
    _unary(
        "erf",
        special.erf,
        lambda x, y: 2.0 / _ROOT_PI * np.exp(-x * x),
        rounds=16.0,
        slope_rounds=6.0,
        slope_size=lambda x, y, c: [np.abs(c) * (1.0 + x * x)],
    ),
    _unary(
        "erfc",
        special.erfc,
        lambda x, y: -2.0 / _ROOT_PI * np.exp(-x * x),
        rounds=150.0,
        slope_rounds=6.0,
        slope_size=lambda x, y, c: [np.abs(c) * (1.0 + x * x)],
    ),
    _unary(
        "erf_inv",
        special.erfinv,
        lambda x, y: _ROOT_PI / 2.0 * np.exp(y * y),
        rounds=150.0,
        slope_rounds=300.0,
        slope_size=lambda x, y, c: [np.abs(c) * (1.0 + y * y)],
    ),
    _unary(
        "lgamma",
        special.gammaln,
        lambda x, y: special.digamma(x),
        rounds=16.0,
        size=lambda x, y: np.abs(y) + np.abs(x * np.log(np.maximum(np.abs(x), 1e-30))) + 1.0,
        slope_rounds=16.0,
        slope_size=lambda x, y, c: [np.abs(c) + 1.0 + 1.0 / np.maximum(np.abs(x), 1e-30)],
    ),
    _unary(
        "digamma",
        special.digamma,
        lambda x, y: special.polygamma(1, x),
        rounds=16.0,
        size=lambda x, y: np.abs(y) + 1.0 + 1.0 / np.maximum(np.abs(x), 1e-30),
        slope_rounds=64.0,
    ),
    Elementwise("polygamma", value=_polygamma, partials=_polygamma_slopes, rounds=64.0, slope_rounds=64.0),
    Elementwise("zeta", value=special.zeta, partials=_zeta_slopes, rounds=64.0, slope_rounds=64.0),
    Elementwise(
        "igamma",
        value=special.gammainc,
        partials=lambda a, x, y: (_by_differences(special.gammainc, a, x), _gamma_density(a, x)),
        rounds=64.0,
        slope_rounds=256.0,
        slope_size=lambda a, x, y, *cs: [
            np.abs(c) * (1.0 + np.abs(a * np.log(np.maximum(x, 1e-30)))) + np.abs(y) for c in cs
        ],
    ),
    Elementwise(
        "igammac",
        value=special.gammaincc,
        partials=lambda a, x, y: (_by_differences(special.gammaincc, a, x), -_gamma_density(a, x)),
        rounds=64.0,
        size=lambda a, x, y: np.ones_like(y),
        slope_rounds=256.0,
        slope_size=lambda a, x, y, *cs: [
            np.abs(c) * (1.0 + np.abs(a * np.log(np.maximum(x, 1e-30)))) + 1.0 for c in cs
        ],
    ),
    Elementwise(
        "regularized_incomplete_beta",
        value=special.betainc,
        partials=_beta_slopes,
        rounds=256.0,
        size=lambda a, b, x, y: np.ones_like(y),
        slope_rounds=256.0,
    ),
    _unary(
        "bessel_i0e",
        special.i0e,
        lambda x, y: special.i1e(x) - np.sign(x) * y,
        rounds=16.0,
        slope_rounds=16.0,
        slope_size=lambda x, y, c: [np.abs(y)],
    ),
    _unary(
        "bessel_i1e",
        special.i1e,
        lambda x, y: np.where(
            np.abs(x) < 1e-8, 0.5, special.i0e(x) - y * (np.sign(x) + 1.0 / np.where(x == 0, 1.0, x))
        ),
        rounds=16.0,
        slope_rounds=32.0,
        slope_size=lambda x, y, c: [special.i0e(x)],
    ),
)
