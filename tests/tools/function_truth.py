"""The stored truth of every swept function, by mpmath: `python tests/tools/function_truth.py` writes it anew.

Each function is its value and its partial derivatives in closed form, evaluated with 400 bits at points that are float32
numbers, and rounded once to float64. At a kink, JAX's documented derivative stands, or the interval in which it must lie.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf
from scipy import special

from chainback.operations.elementwise import SweptFunction
from chainback.operations.functions import FUNCTIONS
from chainback.operations.reference import fingerprint, points_of

BITS = 400
mp.prec = BITS
TARGET = Path(__file__).parents[2] / "chainback" / "operations" / "function_truth.npz"
INF, NAN = math.inf, math.nan
#: A derivative of which only this interval is known: at a kink.
Interval = tuple[float, float]
Number = Any


@dataclass(frozen=True)
class Closed:
    """A function in closed form.

    Attributes:
        value: Of mpmath numbers.
        slopes: Its partial derivatives, likewise.
        at: Value and derivatives where no closed form applies: limits, kinks.
    """

    value: Callable[..., Number]
    slopes: Sequence[Callable[..., Number]]
    at: dict[float, tuple[Number, ...]] = field(default_factory=dict)


def one(value: Callable[[Any], Any], slope: Callable[[Any], Any], at: dict[float, tuple] | None = None) -> Closed:
    return Closed(value, (slope,), at or {})


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x)) if x > 0 else mp.exp(x) / (1 + mp.exp(x))


def sigmoid_slope(x: Any) -> Any:
    e = mp.exp(-abs(x))
    return e / (1 + e) ** 2


def softplus(x: Any) -> Any:
    return max(x, mpf(0)) + mp.log1p(mp.exp(-abs(x)))


def density(x: Any) -> Any:
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def distribution(x: Any) -> Any:
    return mp.erfc(-x / mp.sqrt(2)) / 2


def quantile(p: Any, q: Any) -> Any:
    """The x with Φ(x) = p = 1 − q, by Newton's method from a float64 start."""
    if p > q:
        return -quantile(q, p)
    x = mpf(float(special.ndtri(float(p)))) if p > mpf(2) ** -1000 else -mp.sqrt(-2 * mp.log(p))
    for _ in range(9):
        x -= (
            (distribution(x) - p) / density(x)
            if p > mpf("0.01")
            else ((mp.log(distribution(x)) - mp.log(p)) * distribution(x) / density(x))
        )
    return x


def erfinv(x: Any) -> Any:
    return quantile((1 + x) / 2, (1 - x) / 2) / mp.sqrt(2)


def mish(x: Any) -> tuple[Any, Any]:
    e = mp.exp(x)
    n = e * (e + 2)
    w = n / (n + 2)
    return x * w, w + x * 4 * e * (e + 1) / (n + 2) ** 2


def gelu_tanh(x: Any) -> tuple[Any, Any]:
    c, k = mp.sqrt(2 / mp.pi), mpf("0.044715")
    t, slope = 2 * c * (x + k * x**3), 2 * c * (1 + 3 * k * x**2)
    return x * sigmoid(t), sigmoid(t) + x * sigmoid_slope(t) * slope


def squareplus(x: Any) -> tuple[Any, Any]:
    root = mp.sqrt(x * x + 4)
    value = (x + root) / 2 if x > 0 else 2 / (root - x)
    return value, value / root


SELU_ALPHA = "1.6732632423543772848170429916717"
SELU_SCALE = "1.0507009873554804934193349852946"


def elu(alpha: str = "1", scale: str = "1") -> Closed:
    a, s = mpf(alpha), mpf(scale)
    kink = float(s), float(s * a)
    return one(
        lambda x: s * x if x > 0 else s * a * mp.expm1(x),
        lambda x: s if x > 0 else s * a * mp.exp(x),
        {0.0: (0, kink if a != 1 else 1), INF: (INF, s), -INF: (-s * a, 0)},
    )


def clipped(low: float, high: float, slope: Any = 1, at: dict | None = None) -> Closed:
    return one(
        lambda x: min(max(x, mpf(low)), mpf(high)),
        lambda x: slope if low < x < high else 0,
        {low: (low, (0, 1)), high: (high, (0, 1)), INF: (high, 0), -INF: (low, 0)} | (at or {}),
    )


def bessel(order: int, scaled: bool) -> Closed:
    def scale(x: Any) -> Any:
        return mp.exp(-abs(x)) if scaled else mpf(1)

    def value(x: Any) -> Any:
        return mp.besseli(order, x) * scale(x)

    def slope(x: Any) -> Any:
        zeroth, first = mp.besseli(0, x), mp.besseli(1, x)
        plain = first if order == 0 else zeroth - first / x
        if scaled:
            plain -= mp.sign(x) * (zeroth if order == 0 else first)
        return plain * scale(x)

    if scaled:
        at: dict[float, tuple] = {INF: (0, 0), -INF: (0, 0), 0.0: (1, (-1, 1)) if order == 0 else (0, 0.5)}
    else:
        at = {INF: (INF, INF), -INF: (INF, -INF) if order == 0 else (-INF, INF), 0.0: (1 - order, 0.5 * order)}
    return one(value, slope, at)


def dawson(x: Any) -> Any:
    return mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x)


def erfcx(x: Any) -> Any:
    return mp.exp(x * x) * mp.erfc(x)


def polygamma(order: int) -> Closed:
    return one(lambda x: mp.psi(order, x), lambda x: mp.psi(order + 1, x), {INF: (INF if order == 0 else 0, 0)})


def spence(x: Any) -> Any:
    return mp.re(mp.polylog(2, 1 - x))


def log_gamma(x: Any) -> Any:
    return mp.re(mp.loggamma(x))


LINEAR = {INF: (INF, 1), -INF: (-INF, 1)}

UNARY: dict[str, Closed] = {
    "exp": one(mp.exp, mp.exp, {INF: (INF, INF), -INF: (0, 0)}),
    "exp2": one(lambda x: mpf(2) ** x, lambda x: mpf(2) ** x * mp.ln2, {INF: (INF, INF), -INF: (0, 0)}),
    "expm1": one(mp.expm1, mp.exp, {INF: (INF, INF), -INF: (-1, 0)}),
    "log": one(mp.log, lambda x: 1 / x, {0.0: (-INF, INF), INF: (INF, 0)}),
    "log2": one(lambda x: mp.log(x, 2), lambda x: 1 / (x * mp.ln2), {0.0: (-INF, INF), INF: (INF, 0)}),
    "log10": one(mp.log10, lambda x: 1 / (x * mp.ln10), {0.0: (-INF, INF), INF: (INF, 0)}),
    "log1p": one(mp.log1p, lambda x: 1 / (1 + x), {-1.0: (-INF, INF), INF: (INF, 0)}),
    "sqrt": one(mp.sqrt, lambda x: 1 / (2 * mp.sqrt(x)), {0.0: (0, INF), INF: (INF, 0)}),
    "cbrt": one(
        lambda x: mp.sign(x) * mp.cbrt(abs(x)),
        lambda x: 1 / (3 * mp.cbrt(abs(x)) ** 2),
        {0.0: (0, INF), INF: (INF, 0), -INF: (-INF, 0)},
    ),
    "square": one(lambda x: x * x, lambda x: 2 * x, {INF: (INF, INF), -INF: (INF, -INF)}),
    "reciprocal": one(lambda x: 1 / x, lambda x: -1 / x**2, {0.0: (INF, -INF), INF: (0, 0), -INF: (0, 0)}),
    "rsqrt": one(lambda x: 1 / mp.sqrt(x), lambda x: -1 / (2 * x * mp.sqrt(x)), {0.0: (INF, -INF), INF: (0, 0)}),
    "sin": one(mp.sin, mp.cos),
    "cos": one(mp.cos, lambda x: -mp.sin(x)),
    "tan": one(mp.tan, lambda x: 1 / mp.cos(x) ** 2),
    "arcsin": one(mp.asin, lambda x: 1 / mp.sqrt((1 - x) * (1 + x)), {1.0: (mp.pi / 2, INF), -1.0: (-mp.pi / 2, INF)}),
    "arccos": one(mp.acos, lambda x: -1 / mp.sqrt((1 - x) * (1 + x)), {1.0: (0, -INF), -1.0: (mp.pi, -INF)}),
    "arctan": one(mp.atan, lambda x: 1 / (1 + x * x), {INF: (mp.pi / 2, 0), -INF: (-mp.pi / 2, 0)}),
    "sinh": one(mp.sinh, mp.cosh, {INF: (INF, INF), -INF: (-INF, INF)}),
    "cosh": one(mp.cosh, mp.sinh, {INF: (INF, INF), -INF: (INF, -INF)}),
    "tanh": one(mp.tanh, lambda x: 4 * sigmoid_slope(2 * x), {INF: (1, 0), -INF: (-1, 0)}),
    "arcsinh": one(mp.asinh, lambda x: 1 / mp.sqrt(1 + x * x), {INF: (INF, 0), -INF: (-INF, 0)}),
    "arccosh": one(mp.acosh, lambda x: 1 / mp.sqrt((x - 1) * (x + 1)), {1.0: (0, INF), INF: (INF, 0)}),
    "arctanh": one(mp.atanh, lambda x: 1 / ((1 - x) * (1 + x)), {1.0: (INF, INF), -1.0: (-INF, INF)}),
    "sinc": one(
        lambda x: mp.sin(mp.pi * x) / (mp.pi * x),
        lambda x: (mp.cos(mp.pi * x) - mp.sin(mp.pi * x) / (mp.pi * x)) / x,
        {0.0: (1, 0)},
    ),
    "abs": one(abs, mp.sign, {0.0: (0, (-1, 1)), INF: (INF, 1), -INF: (INF, -1)}),
    "negative": one(lambda x: -x, lambda x: -1, {INF: (-INF, -1), -INF: (INF, -1)}),
    "deg2rad": one(
        lambda x: x * mp.pi / 180, lambda x: mp.pi / 180, {INF: (INF, mp.pi / 180), -INF: (-INF, mp.pi / 180)}
    ),
    "rad2deg": one(
        lambda x: x * 180 / mp.pi, lambda x: 180 / mp.pi, {INF: (INF, 180 / mp.pi), -INF: (-INF, 180 / mp.pi)}
    ),
    "sign": one(mp.sign, lambda x: 0, {0.0: (0, NAN), INF: (1, 0), -INF: (-1, 0)}),
    "relu": one(lambda x: max(x, mpf(0)), lambda x: 1 if x > 0 else 0, {0.0: (0, 0), INF: (INF, 1), -INF: (0, 0)}),
    "relu6": clipped(0.0, 6.0),
    "sigmoid": one(sigmoid, sigmoid_slope, {INF: (1, 0), -INF: (0, 0)}),
    "log_sigmoid": one(lambda x: -softplus(-x), lambda x: sigmoid(-x), {INF: (0, 0), -INF: (-INF, 1)}),
    "softplus": one(softplus, sigmoid, {INF: (INF, 1), -INF: (0, 0)}),
    "silu": one(lambda x: x * sigmoid(x), lambda x: sigmoid(x) + x * sigmoid_slope(x), {INF: (INF, 1), -INF: (0, 0)}),
    "mish": one(lambda x: mish(x)[0], lambda x: mish(x)[1], {INF: (INF, 1), -INF: (0, 0)}),
    "gelu": one(
        lambda x: x * distribution(x), lambda x: distribution(x) + x * density(x), {INF: (INF, 1), -INF: (0, 0)}
    ),
    "gelu_tanh": one(lambda x: gelu_tanh(x)[0], lambda x: gelu_tanh(x)[1], {INF: (INF, 1), -INF: (0, 0)}),
    "elu": elu(),
    "celu": elu(),
    "selu": elu(SELU_ALPHA, SELU_SCALE),
    "leaky_relu": one(
        lambda x: x if x > 0 else x / 100,
        lambda x: 1 if x > 0 else mpf(1) / 100,
        {0.0: (0, (0.01, 1)), INF: (INF, 1), -INF: (-INF, mpf(1) / 100)},
    ),
    "hard_tanh": clipped(-1.0, 1.0),
    "hard_sigmoid": one(
        lambda x: min(max((x + 3) / 6, mpf(0)), mpf(1)),
        lambda x: mpf(1) / 6 if -3 < x < 3 else 0,
        {-3.0: (0, (0, 1 / 6)), 3.0: (1, (0, 1 / 6)), INF: (1, 0), -INF: (0, 0)},
    ),
    "hard_silu": one(
        lambda x: x * min(max((x + 3) / 6, mpf(0)), mpf(1)),
        lambda x: (2 * x + 3) / 6 if -3 < x < 3 else 1 if x > 3 else 0,
        {-3.0: (0, (-0.5, 0)), 3.0: (3, (1, 1.5)), INF: (INF, 1), -INF: (0, 0)},
    ),
    "soft_sign": one(lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2, {INF: (1, 0), -INF: (-1, 0)}),
    "squareplus": one(lambda x: squareplus(x)[0], lambda x: squareplus(x)[1], {INF: (INF, 1), -INF: (0, 0)}),
    "sparse_plus": one(
        lambda x: 0 if x <= -1 else x if x >= 1 else (x + 1) ** 2 / 4,
        lambda x: min(max((x + 1) / 2, mpf(0)), mpf(1)),
        {INF: (INF, 1), -INF: (0, 0)},
    ),
    "sparse_sigmoid": one(
        lambda x: min(max((x + 1) / 2, mpf(0)), mpf(1)),
        lambda x: mpf(1) / 2 if -1 < x < 1 else 0,
        {-1.0: (0, (0, 0.5)), 1.0: (1, (0, 0.5)), INF: (1, 0), -INF: (0, 0)},
    ),
    "log1mexp": one(
        lambda x: mp.log(-mp.expm1(-x)) if x < 1 else mp.log1p(-mp.exp(-x)),
        lambda x: 1 / mp.expm1(x),
        {0.0: (-INF, INF), INF: (0, 0)},
    ),
    "clip": clipped(-1.0, 2.0),
    "cube": one(lambda x: x**3, lambda x: 3 * x**2, {INF: (INF, INF), -INF: (-INF, INF)}),
    "inverse_square": one(lambda x: x**-2, lambda x: -2 / x**3, {0.0: (INF, -INF), INF: (0, 0), -INF: (0, 0)}),
    "erf": one(mp.erf, lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x), {INF: (1, 0), -INF: (-1, 0)}),
    "erfc": one(mp.erfc, lambda x: -2 / mp.sqrt(mp.pi) * mp.exp(-x * x), {INF: (0, 0), -INF: (2, 0)}),
    "erfcx": one(erfcx, lambda x: 2 * x * erfcx(x) - 2 / mp.sqrt(mp.pi), {INF: (0, 0)}),
    "erfinv": one(erfinv, lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(erfinv(x) ** 2), {1.0: (INF, INF), -1.0: (-INF, INF)}),
    "erfcinv": one(
        lambda x: -quantile(x / 2, 1 - x / 2) / mp.sqrt(2),
        lambda x: -mp.sqrt(mp.pi) / 2 * mp.exp(quantile(x / 2, 1 - x / 2) ** 2 / 2),
        {0.0: (INF, -INF), 2.0: (-INF, -INF)},
    ),
    "lgamma": one(log_gamma, mp.digamma, {INF: (INF, INF)}),
    "gamma": one(mp.gamma, lambda x: mp.gamma(x) * mp.digamma(x), {INF: (INF, INF)}),
    "factorial": one(lambda x: mp.gamma(x + 1), lambda x: mp.gamma(x + 1) * mp.digamma(x + 1), {INF: (INF, INF)}),
    "digamma": polygamma(0),
    "trigamma": polygamma(1),
    "tetragamma": polygamma(2),
    "zeta25": one(lambda q: mp.zeta(mpf("2.5"), q), lambda q: mpf("-2.5") * mp.zeta(mpf("3.5"), q), {INF: (0, 0)}),
    "i0": bessel(0, scaled=False),
    "i0e": bessel(0, scaled=True),
    "i1": bessel(1, scaled=False),
    "i1e": bessel(1, scaled=True),
    "ndtr": one(distribution, density, {INF: (1, 0), -INF: (0, 0)}),
    "ndtri": one(
        lambda p: quantile(p, 1 - p), lambda p: 1 / density(quantile(p, 1 - p)), {0.0: (-INF, INF), 1.0: (INF, INF)}
    ),
    "log_ndtr": one(
        lambda x: mp.log(distribution(x)) if x < 0 else mp.log1p(-distribution(-x)),
        lambda x: density(x) / distribution(x),
        {INF: (0, 0), -INF: (-INF, INF)},
    ),
    "logit": one(lambda p: mp.log(p / (1 - p)), lambda p: 1 / (p * (1 - p)), {0.0: (-INF, INF), 1.0: (INF, INF)}),
    "entr": one(lambda x: -x * mp.log(x), lambda x: -mp.log(x) - 1, {0.0: (0, INF), INF: (-INF, -INF)}),
    "exp1": one(mp.e1, lambda x: -mp.exp(-x) / x, {0.0: (INF, -INF), INF: (0, 0)}),
    "expi": one(mp.ei, lambda x: mp.exp(x) / x, {0.0: (-INF, NAN), INF: (INF, INF)}),
    "expn2": one(lambda x: mp.expint(2, x), lambda x: -mp.e1(x), {0.0: (1, -INF), INF: (0, 0)}),
    "spence": one(spence, lambda x: mp.log(x) / (1 - x), {0.0: (mp.pi**2 / 6, -INF), 1.0: (0, -1), INF: (-INF, 0)}),
    "dawsn": one(dawson, lambda x: 1 - 2 * x * dawson(x), {INF: (0, 0), -INF: (0, 0)}),
    "betainc": one(
        lambda x: mp.betainc(mpf("2.5"), mpf("0.5"), 0, x, regularized=True),
        lambda x: x ** mpf("1.5") / mp.sqrt(1 - x) / mp.beta(mpf("2.5"), mpf("0.5")),
        {0.0: (0, 0), 1.0: (1, INF)},
    ),
    "power:2": one(lambda x: x**2, lambda x: 2 * x, {INF: (INF, INF), -INF: (INF, -INF)}),
    "power:0.5": one(mp.sqrt, lambda x: 1 / (2 * mp.sqrt(x)), {0.0: (0, INF), INF: (INF, 0)}),
    "power:-1": one(lambda x: 1 / x, lambda x: -1 / x**2, {0.0: (INF, -INF), INF: (0, 0), -INF: (0, 0)}),
    "power:3": one(lambda x: x**3, lambda x: 3 * x**2, {INF: (INF, INF), -INF: (-INF, INF)}),
    "power:2.5": one(lambda x: x ** mpf("2.5"), lambda x: mpf("2.5") * x ** mpf("1.5"), {0.0: (0, 0), INF: (INF, INF)}),
    "power2^x": one(lambda x: mpf(2) ** x, lambda x: mpf(2) ** x * mp.ln2, {INF: (INF, INF), -INF: (0, 0)}),
    "maximum:1": one(
        lambda x: max(x, mpf(1)), lambda x: 1 if x > 1 else 0, {1.0: (1, 0.5), INF: (INF, 1), -INF: (1, 0)}
    ),
    "minimum:1": one(
        lambda x: min(x, mpf(1)), lambda x: 1 if x < 1 else 0, {1.0: (1, 0.5), INF: (1, 0), -INF: (-INF, 1)}
    ),
    "multiply:3": one(lambda x: 3 * x, lambda x: 3, {INF: (INF, 3), -INF: (-INF, 3)}),
    "divide:3": one(lambda x: x / 3, lambda x: mpf(1) / 3, {INF: (INF, mpf(1) / 3), -INF: (-INF, mpf(1) / 3)}),
    "add:1": one(lambda x: x + 1, lambda x: 1, LINEAR),
    "arctan2:1": one(mp.atan, lambda x: 1 / (1 + x * x), {INF: (mp.pi / 2, 0), -INF: (-mp.pi / 2, 0)}),
    "hypot:1": one(lambda x: mp.sqrt(1 + x * x), lambda x: x / mp.sqrt(1 + x * x), {INF: (INF, 1), -INF: (INF, -1)}),
    "logaddexp:1": one(lambda x: 1 + softplus(x - 1), lambda x: sigmoid(x - 1), {INF: (INF, 1), -INF: (1, 0)}),
    "remainder:3": one(lambda x: x - 3 * mp.floor(x / 3), lambda x: 1),
    "fmod:3": one(lambda x: mp.sign(x) * (abs(x) - 3 * mp.floor(abs(x) / 3)), lambda x: 1),
    "xlogy:2": one(lambda x: x * mp.ln2, lambda x: mp.ln2, {INF: (INF, mp.ln2), -INF: (-INF, mp.ln2)}),
    "gammainc:2.5": one(
        lambda x: mp.gammainc(mpf("2.5"), 0, x, regularized=True) if x < 1e5 else 1,
        lambda x: x ** mpf("1.5") * mp.exp(-x) / mp.gamma(mpf("2.5")),
        {0.0: (0, 0), INF: (1, 0)},
    ),
    "gammaincc:2.5": one(
        lambda x: mp.gammainc(mpf("2.5"), x, mp.inf, regularized=True) if x < 1e5 else 0,
        lambda x: -(x ** mpf("1.5")) * mp.exp(-x) / mp.gamma(mpf("2.5")),
        {0.0: (1, 0), INF: (0, 0)},
    ),
}


Pair = tuple[Number, Number, Number]
NOTHING: Pair = (NAN, NAN, NAN)


def finite(x: float, y: float) -> bool:
    return math.isfinite(x) and math.isfinite(y)


def power(x: float, y: float) -> Pair:
    a, b = mpf(x), mpf(y)
    whole = math.isfinite(y) and y == math.floor(y)
    if not finite(x, y) or (x < 0 and not whole) or (x == 0 and y <= 0):
        return (1, NAN, NAN) if y == 0 and math.isfinite(x) else NOTHING
    if x == 0:
        return 0, INF if y < 1 else 1 if y == 1 else 0, 0
    size, odd = abs(a) ** b, whole and math.fmod(y, 2.0) != 0.0
    sign = -1 if x < 0 and odd else 1
    slope = b * abs(a) ** (b - 1) * (1 if x > 0 or odd else -1)
    return sign * size, slope, size * mp.log(a) if x > 0 else NAN


def arctan2(y: float, x: float) -> Pair:
    if y == 0 or not finite(y, x):
        eighths = round(math.atan2(y, x) / (math.pi / 4))
        first, second = (1 / mpf(x), 0) if x and finite(y, x) else (NAN, NAN)
        return eighths * mp.pi / 4, first, second
    b, a = mpf(y), mpf(x)
    return mp.atan2(b, a), a / (a * a + b * b), -b / (a * a + b * b)


def hypot(x: float, y: float) -> Pair:
    if not finite(x, y):
        return INF, NAN, NAN
    a, b = mpf(x), mpf(y)
    size = mp.sqrt(a * a + b * b)
    return (size, a / size, b / size) if size else (0, (-1, 1), (-1, 1))


def log_add(base: Any, x: float, y: float) -> Pair:
    if not finite(x, y):
        return (INF if INF in (x, y) else max(x, y)), NAN, NAN
    a, b = mpf(x) * base, mpf(y) * base
    return (max(a, b) + mp.log1p(mp.exp(-abs(a - b)))) / base, sigmoid(a - b), sigmoid(b - a)


def chosen(first: Callable[[float, float], bool], tie: Number = 0.5) -> Callable[[float, float], Pair]:
    def pair(x: float, y: float) -> Pair:
        if x == y:
            return x, tie, tie
        return (x, 1, 0) if first(x, y) else (y, 0, 1)

    return pair


def product(x: float, y: float) -> Pair:
    return (mpf(x) * mpf(y), y, x) if finite(x, y) else (x * y, NAN, NAN)


def quotient(x: float, y: float) -> Pair:
    if not finite(x, y) or y == 0:
        return (float(np.divide(x, y)) if y else NAN), NAN, NAN
    a, b = mpf(x), mpf(y)
    return a / b, 1 / b, -a / b**2


def modulo(whole: Callable[[Any], Any]) -> Callable[[float, float], Pair]:
    def pair(x: float, y: float) -> Pair:
        if y == 0:
            return NOTHING
        a, b = mpf(x), mpf(y)
        quotient = a / b
        count = whole(quotient)
        value = a - b * count
        nearest = mp.nint(quotient)
        if quotient and abs(quotient - nearest) <= abs(quotient) * mpf(2) ** -23:  # a rounded quotient may jump
            return value, 1, (-float(nearest) - 1, -float(nearest) + 1)
        return value, 1, -count

    return pair


def truncated(q: Any) -> Any:
    return mp.sign(q) * mp.floor(abs(q))


def copysign(x: float, y: float) -> Pair:
    sign = math.copysign(1, x) * math.copysign(1, y)
    return math.copysign(x, y), (sign if x else (-1, 1)), 0


def x_log(shift: int) -> Callable[[float, float], Pair]:
    def pair(x: float, y: float) -> Pair:
        if not finite(x, y) or y == -shift + 0.0 or (y + shift == 0):
            return (0, NAN, NAN) if x == 0 and y + shift == 0 else NOTHING
        a, b = mpf(x), mpf(y)
        log = mp.log1p(b) if shift else mp.log(b)
        return a * log, log, a / (b + shift)

    return pair


def relative_entropy(rest: int) -> Callable[[float, float], Pair]:
    def pair(x: float, y: float) -> Pair:
        a, b = mpf(x), mpf(y)
        if x == 0 or y == 0:
            return (INF if x else rest * b), (-INF if y and not x else NAN), (rest if y and not x else NAN)
        log = mp.log(a / b)
        return a * log + rest * (b - a), log + 1 - rest, -a / b + rest

    return pair


def log_beta(x: float, y: float) -> Pair:
    a, b = mpf(x), mpf(y)
    value = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    return value, mp.digamma(a) - mp.digamma(a + b), mp.digamma(b) - mp.digamma(a + b)


def beta(x: float, y: float) -> Pair:
    value, first, second = log_beta(x, y)
    return mp.exp(value), mp.exp(value) * first, mp.exp(value) * second


def incomplete_gamma(upper: bool) -> Callable[[float, float], Pair]:
    def pair(a: float, x: float) -> Pair:
        order, limit, sign = mpf(a), mpf(x), -1 if upper else 1
        if x == 0:
            slope = 0 if a > 1 else 1 if a == 1 else INF
            return int(upper), 0, sign * slope
        with mp.workprec(160):

            def lower(order: Any) -> Any:
                return mp.gammainc(order, 0, limit, regularized=True)

            def above(order: Any) -> Any:
                return mp.gammainc(order, limit, mp.inf, regularized=True)

            small = above if limit > order else lower  # of the two, the one without cancellation
            step = order * mpf(2) ** -50
            four = [small(order + k * step) for k in (-2, -1, 1, 2)]
            change = (four[0] - 8 * four[1] + 8 * four[2] - four[3]) / (12 * step)
            value, change = small(order), change * (1 if small is (above if upper else lower) else -1)
            value = value if small is (above if upper else lower) else 1 - value
        return value, change, sign * limit ** (order - 1) * mp.exp(-limit) / mp.gamma(order)

    return pair


def pochhammer(z: float, m: float) -> Pair:
    a, b = mpf(z), mpf(m)
    value = mp.gamma(a + b) / mp.gamma(a)
    return value, value * (mp.digamma(a + b) - mp.digamma(a)), value * mp.digamma(a + b)


BINARY: dict[str, Callable[[float, float], Pair]] = {
    "power": power,
    "arctan2": arctan2,
    "hypot": hypot,
    "logaddexp": lambda x, y: log_add(mpf(1), x, y),
    "logaddexp2": lambda x, y: log_add(mp.ln2, x, y),
    "maximum": chosen(lambda x, y: x > y),
    "minimum": chosen(lambda x, y: x < y),
    "fmax": chosen(lambda x, y: x > y, tie=(0, 1)),
    "fmin": chosen(lambda x, y: x < y, tie=(0, 1)),
    "add": lambda x, y: (mpf(x) + mpf(y) if finite(x, y) else x + y, 1, 1),
    "subtract": lambda x, y: (mpf(x) - mpf(y) if finite(x, y) else x - y, 1, -1),
    "multiply": product,
    "divide": quotient,
    "remainder": modulo(mp.floor),
    "fmod": modulo(truncated),
    "copysign": copysign,
    "xlogy": x_log(0),
    "xlog1py": x_log(1),
    "rel_entr": relative_entropy(0),
    "kl_div": relative_entropy(1),
    "betaln": log_beta,
    "beta": beta,
    "gammainc": incomplete_gamma(upper=False),
    "gammaincc": incomplete_gamma(upper=True),
    "poch": pochhammer,
}


def rounded(number: Number) -> float:
    """Round to float64: beyond its range to an infinity, or to 0."""
    if isinstance(number, mpf):
        if mp.isnan(number):
            return NAN
        if mp.isinf(number):
            return INF if number > 0 else -INF
        exponent = mpmath.mag(number) if number else 0
        if exponent > 1024:
            return math.copysign(INF, 1 if number > 0 else -1)
        if exponent < -1080:
            return 0.0
        try:
            return float(number)
        except OverflowError:
            return math.copysign(INF, 1 if number > 0 else -1)
    return float(number)


def quantities(function: SweptFunction, point: Iterable[float]) -> tuple[Number, ...]:
    """Return value and derivatives at one point, as numbers or intervals."""
    if function.arity == 2:
        return BINARY[function.name](*point)
    (x,) = point
    closed = UNARY[function.name]
    if x in closed.at:
        return closed.at[x]
    exact = mpf(x)
    for kink in function.kinks:
        if abs(x - kink) <= abs(kink) * 2.0**-23 and isinstance(closed.at.get(kink, (0, 0))[1], tuple):
            return closed.value(exact), closed.at[kink][1]  # an argument like x + 3 may round to the kink
    return closed.value(exact), *(slope(exact) for slope in closed.slopes)


def tabulate(function: SweptFunction) -> np.ndarray:
    """Return (1 + 2 arity, points): value, derivatives, and half the width of the interval of each derivative."""
    table = np.zeros((1 + 2 * function.arity, points_of(function).shape[1]))
    with mp.workprec(BITS):
        for place, point in enumerate(points_of(function).T.astype(np.float64)):
            for row, number in enumerate(quantities(function, map(float, point))):
                if isinstance(number, tuple):
                    low, high = sorted(map(float, number))
                    table[row, place] = (low + high) / 2
                    table[row + function.arity, place] = (high - low) / 2
                else:
                    table[row, place] = rounded(number)
    return table


def main(names: Sequence[str]) -> None:
    found: dict[str, np.ndarray] = {}
    if names and TARGET.exists():
        with np.load(TARGET) as old:
            found = {name: old[name] for name in old.files}
    for name in names or FUNCTIONS:
        start = time.perf_counter()
        found[name] = tabulate(FUNCTIONS[name])
        found[f"{name}#"] = np.array(fingerprint(FUNCTIONS[name]))
        print(f"{name}: {found[name].shape[1]} points, {time.perf_counter() - start:.1f} s", flush=True)
    kept = {key: found[key] for name in FUNCTIONS for key in (name, f"{name}#") if key in found}
    np.savez_compressed(TARGET, **kept)
    print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
