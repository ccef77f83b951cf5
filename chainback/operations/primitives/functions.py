"""Elementary functions of one or two numbers: exponentials, logarithms, trigonometric, hyperbolic and error functions.

`rounds` and `slope_rounds` count u. JAX documents the accuracy of its values in ulp by device (docs, accuracy.md, 2026: the
larger of CPU and GPU is taken, float32, and one ulp is at most 2 u); where a size stands beside it, the size is what the
implementation makes of the argument. Of derivatives nothing is documented: counts follow from the rule's formula and the
values in it, and tests/ measures them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from chainback.operations.primitives.calls import Array
from chainback.operations.primitives.elementwise import Elementwise, unary
from chainback.operations.primitives.examples import example, real
from chainback.operations.primitives.record import register

_ROOT_PI = float(np.sqrt(np.pi))
_LOG_2 = float(np.log(2.0))


def _at_most(x: float) -> Callable[..., Array]:
    """A pole of the function, or the end of its domain: x ± E reaches beyond it."""
    return lambda inputs, E: (np.abs(inputs[0]) + E[0] >= x) & (np.asarray(E[0]) > 0)


def _above(x: float) -> Callable[..., Array]:
    return lambda inputs, E: (inputs[0] - E[0] <= x) & (np.asarray(E[0]) > 0)


def _turn(inputs: Sequence[Array], E: Sequence[Array]) -> tuple[Array]:
    """Sine and cosine, whose slopes are each other's values, move by at most the error of the argument, and by 2."""
    return (np.minimum(E[0], 2.0),)


def _tan_breaks(inputs: Sequence[Array], E: Sequence[Array]) -> Array:
    """A pole lies within x ± E."""
    low, high = (np.floor((inputs[0] + sign * E[0]) / np.pi + 0.5) for sign in (-1.0, 1.0))
    return low != high


def _branch_cut(inputs: Sequence[Array], E: Sequence[Array]) -> Array:
    """The negative axis of x, where the angle jumps, or the origin lies within reach."""
    (y, x), (f, e) = inputs, E
    return (np.abs(y) <= f) & (x - e <= 0) & (np.asarray(f) + e > 0)


def _beside_one(x: Array, y: Array, c: Array) -> tuple[Array]:
    """1 − x² is computed with a rounding of x²: an error of u c² in its reciprocal root."""
    return (np.abs(c) * (1.0 + (x * c) ** 2),)


register(
    unary("exp", np.exp, lambda x, y: y, rounds=6.0, slope_rounds=6.0, at=(-88.0, 88.0)),  # 4.6 u near overflow
    unary(
        "exp2",
        np.exp2,
        lambda x, y: _LOG_2 * y,
        rounds=4.0,
        size=lambda x, y: y * (1.0 + np.abs(x)),  # exp(x log 2), whose argument is rounded; 69 ulp at 128
        slope_rounds=8.0,
        slope_size=lambda x, y, c: (y * (1.0 + np.abs(x)),),
        through=lambda x, y: (y,),
        at=(-120.0, 120.0),
    ),
    unary(
        "expm1",
        np.expm1,
        lambda x, y: np.exp(x),
        rounds=13.0,  # 6.5 ulp
        slope_rounds=16.0,
        slope_size=lambda x, y, c: (1.0 + np.abs(y),),  # 1 + expm1(x)
        at=(-88.0, 88.0),
    ),
    unary("log", np.log, lambda x, y: 1.0 / x, rounds=3.0, low=0.0, breaks=_above(0.0)),  # 1.5 ulp
    unary(
        "log2",
        np.log2,
        lambda x, y: 1.0 / (x * _LOG_2),
        rounds=5.0,  # 2.5 ulp
        slope_rounds=8.0,
        low=0.0,
        breaks=_above(0.0),
        since="0.12.0",
    ),
    unary(
        "log1p",
        np.log1p,
        lambda x, y: 1.0 / (1.0 + x),
        rounds={"": 6.0, "float64": 500.0},  # 3 ulp; under 0.10.2 120 ulp in float64, near −0.41
        slope_size=lambda x, y, c: (np.abs(c) * (1.0 + np.abs(x * c)),),  # 1 + x, rounded
        low=-1.0,
        breaks=_above(-1.0),
    ),
    unary("sin", np.sin, lambda x, y: np.cos(x), rounds=4.0, moved=_turn),  # 1.5 ulp, the cosine 2
    unary("cos", np.cos, lambda x, y: -np.sin(x), rounds=4.0, moved=_turn),
    unary("tan", np.tan, lambda x, y: 1.0 + y * y, rounds=7.0, slope_rounds=20.0, breaks=_tan_breaks),  # 3.5 ulp
    unary(
        "asin",
        np.arcsin,
        lambda x, y: 1.0 / np.sqrt((1.0 - x) * (1.0 + x)),
        rounds=4.0,  # 2 ulp
        slope_rounds=6.0,
        slope_size=_beside_one,
        low=-1.0,
        high=1.0,
    ),
    unary(
        "acos",
        np.arccos,
        lambda x, y: -1.0 / np.sqrt((1.0 - x) * (1.0 + x)),
        rounds=4.0,  # 1.5 ulp
        slope_rounds=6.0,
        slope_size=_beside_one,
        low=-1.0,
        high=1.0,
    ),
    unary("atan", np.arctan, lambda x, y: 1.0 / (1.0 + x * x), rounds=11.0),  # 5.5 ulp on some CPUs
    Elementwise(
        "atan2",
        value=np.arctan2,
        partials=lambda y, x, z: (x / (x * x + y * y), -y / (x * x + y * y)),
        rounds=6.0,  # 3 ulp on a GPU
        slope_rounds=8.0,
        breaks=_branch_cut,
        through=lambda y, x, z: (x * x + y * y, 8.0 / (x * x + y * y)),
        slope_floors=lambda y, x, z: (4.0 * np.abs(x) / (x * x + y * y) ** 2, 4.0 * np.abs(y) / (x * x + y * y) ** 2),
        examples=(example("lax.atan2(y, x)", y=real(40), x=real(40)),),
    ),
    unary(
        "sinh",
        np.sinh,
        lambda x, y: np.cosh(x),
        rounds=8.0,
        size=lambda x, y: np.abs(y) * (1.0 + np.abs(x)),  # exp(x − log 2); 25 ulp at 88
        slope_rounds=8.0,
        slope_size=lambda x, y, c: (c * (1.0 + np.abs(x)),),
        at=(88.0, -88.0),
    ),
    unary(
        "cosh",
        np.cosh,
        lambda x, y: np.sinh(x),
        rounds=8.0,
        size=lambda x, y: y * (1.0 + np.abs(x)),  # likewise
        slope_rounds=8.0,
        slope_size=lambda x, y, c: (np.abs(c) * (1.0 + np.abs(x)),),
        at=(88.0, -88.0),
    ),
    unary(
        "tanh",
        np.tanh,
        lambda x, y: 1.0 / np.cosh(np.clip(x, -350.0, 350.0)) ** 2,
        rounds=11.0,  # 5.5 ulp
        slope_rounds=16.0,  # (1 + y)(1 − y)
        slope_size=lambda x, y, c: (np.ones_like(c),),
        at=(9.0, -9.0),
    ),
    unary(
        "asinh",
        np.arcsinh,
        lambda x, y: 1.0 / np.hypot(1.0, x),
        rounds=7.0,  # 3.5 ulp
        slope_rounds=8.0,
        through=lambda x, y: (x * x,),
    ),
    unary(
        "acosh",
        np.arccosh,
        lambda x, y: 1.0 / np.sqrt((x - 1.0) * (x + 1.0)),
        rounds=9.0,  # 4.5 ulp
        slope_rounds=6.0,
        slope_size=_beside_one,
        through=lambda x, y: (x * x,),
        low=1.0,
    ),
    unary(
        "atanh",
        np.arctanh,
        lambda x, y: 1.0 / ((1.0 - x) * (1.0 + x)),
        rounds={"": 7.0, "float64": 300.0},  # 3.5 ulp; by log1p
        slope_rounds=6.0,
        slope_size=lambda x, y, c: (np.abs(c) * (1.0 + x * x * np.abs(c)),),
        low=-1.0,
        high=1.0,
        breaks=_at_most(1.0),
    ),
    unary(
        "logistic",
        special.expit,
        lambda x, y: y * special.expit(-x),
        rounds=8.0,  # 4 ulp on a GPU
        slope_rounds=20.0,
        slope_size=lambda x, y, c: (y,),  # y (1 − y)
        at=(-88.0, 88.0, 17.0),
    ),
    unary(
        "erf",
        special.erf,
        lambda x, y: 2.0 / _ROOT_PI * np.exp(-x * x),
        rounds=14.0,  # 7 ulp
        slope_rounds=6.0,
        slope_size=lambda x, y, c: (c * (1.0 + x * x),),  # exp(−x²), whose argument is rounded
        at=(4.0, -4.0),
    ),
    unary(
        "erfc",
        special.erfc,
        lambda x, y: -2.0 / _ROOT_PI * np.exp(-x * x),
        rounds=10.0,
        size=lambda x, y: y * (1.0 + np.where(x > 0, x * x, 0.0)),  # likewise; 66.5 ulp at 9
        slope_rounds=6.0,
        slope_size=lambda x, y, c: (np.abs(c) * (1.0 + x * x),),
        at=(9.0, -4.0),
    ),
    unary(
        "erf_inv",
        special.erfinv,
        lambda x, y: _ROOT_PI / 2.0 * np.exp(y * y),
        rounds={"": 130.0, "float64": 1e6},  # 65 ulp; 500,000 in float64
        slope_rounds={"": 270.0, "float64": 2e6},
        slope_size=lambda x, y, c: (c * (1.0 + y * y),),  # exp(y²), y with its error
        low=-1.0,
        high=1.0,
        at=(1.0 - 2.0**-24, 0.999),
    ),
)
