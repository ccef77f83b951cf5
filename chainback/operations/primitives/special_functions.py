"""Special functions: gamma, zeta, beta and Bessel functions, and the derivatives of samples.

Nothing is documented of their accuracy but for the Bessel functions (docs, accuracy.md: 8 and 15.5 ulp). The other counts
are a small factor above what tests/ measures on a CPU, with the magnitude of the terms that cancel as `size`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from chainback.operations.primitives.calls import Array
from chainback.operations.primitives.elementwise import Elementwise, unary
from chainback.operations.primitives.examples import Operand, example, real
from chainback.operations.primitives.incomplete import (
    beta_slope_a,
    beta_slope_b,
    gamma_density,
    gamma_slope,
    zeta_slope,
)
from chainback.operations.primitives.record import register

#: Parameters beyond which an iteration in float32 does not converge.
_MOST = 1e6
#: Shapes and sizes of distributions; at 0 JAX says NaN where a is 1, of 0 · log 0.
_SHAPE = real(40, low=0.02)
_SIZE = real(40, low=1e-30)
_SHARE = real(40, low=1e-30, high=1.0 - 2.0**-24)


def _unknown(*xs: Array) -> Array:
    """A partial derivative that does not exist, or that nobody takes."""
    return np.full(np.shape(xs[-1]), np.nan)


def _near_pole(inputs: Sequence[Array], E: Sequence[Array]) -> Array:
    """A pole at 0, −1, −2, … lies within reach of the last operand."""
    x, e = inputs[-1], E[-1]
    return (np.floor(x - e) != np.floor(x + e)) & (x - e <= 0) & (np.asarray(e) > 0)


def _reflected(x: Array) -> Array:
    """How much larger the relative error of sin πx is than that of x, for negative x: reflection."""
    away = np.abs(x - np.rint(x))
    return np.where(x < 0.5, np.abs(x) / np.maximum(away, 1e-30), 0.0)


def _gamma_exponent(a: Array, x: Array) -> Array:
    """The magnitude of the exponent in x^a exp(−x) / Γ(a), each of whose terms is rounded."""
    log = np.abs(np.log(np.maximum(x, 1e-38)))
    return np.where(a < _MOST, 1.0 + (a + 1.0) * log + x + np.abs(special.gammaln(a)), np.inf)


def _gamma_floor(a: Array, x: Array) -> Array:
    """By what the derivative in a multiplies the density, which may underflow."""
    return 10.0 + np.abs(np.log(np.maximum(x, 1e-38))) + np.abs(special.digamma(a))


def _beta_exponent(a: Array, b: Array, x: Array) -> Array:
    logs = [np.abs(np.log(np.maximum(v, 1e-38))) for v in (x, 1.0 - x)]
    found = 1.0 + (a + 1.0) * logs[0] + (b + 1.0) * logs[1] + np.abs(special.betaln(a, b)) + a + b
    return np.where(a + b < _MOST, found, np.inf)


def _beta_density(a: Array, b: Array, x: Array) -> Array:
    return np.exp(special.xlogy(a - 1.0, x) + special.xlog1py(b - 1.0, -x) - special.betaln(a, b))


def _order(n: Array) -> Array:
    return np.round(n).astype(int)


def _sample_slope(a: Array, x: Array) -> Array:
    """How a sample of a gamma distribution moves with its shape a: −(∂P/∂a) / (∂P/∂x)."""
    return -gamma_slope(a, x) / gamma_density(a, x)


def _bessel_i1e_slope(x: Array, y: Array) -> Array:
    near = np.abs(x) < 1e-8
    return np.where(near, 0.5, special.i0e(x) - y * (np.sign(x) + 1.0 / np.where(near, 1.0, x)))


register(
    unary(
        "lgamma",
        special.gammaln,
        lambda x, y: special.digamma(x),
        rounds=32.0,
        size=lambda x, y: np.abs(y) + np.abs(x * np.log(np.maximum(np.abs(x), 1e-30))) + 1.0 + _reflected(x),
        slope_rounds=16.0,
        slope_size=lambda x, y, c: (np.abs(c) * (1.0 + _reflected(x)) + 1.0 + 1.0 / np.maximum(np.abs(x), 1e-30),),
        breaks=_near_pole,
        at=(3.0, 1.4616321),
    ),
    unary(
        "digamma",
        special.digamma,
        lambda x, y: special.polygamma(1, x),
        rounds=16.0,
        size=lambda x, y: np.abs(y) * (1.0 + _reflected(x)) + 1.0 + 1.0 / np.maximum(np.abs(x), 1e-30),
        slope_rounds=64.0,
        slope_size=lambda x, y, c: (np.abs(c) * (1.0 + _reflected(x)),),
        through=lambda x, y: (4.0 * x * x,),  # ζ(2, x) begins with x⁻²
        breaks=_near_pole,
        examples=(
            example("lax.digamma(x)", x=real(40, low=0.0, at=(3.0, 1.4616321))),
            example("lax.digamma(x)", x=real(40), judged=()),  # JAX's derivative is wrong for negative x
        ),
    ),
    Elementwise(
        "polygamma",
        value=lambda n, x: special.polygamma(_order(n), x),
        partials=lambda n, x, y: (_unknown(y), special.polygamma(_order(n) + 1, x)),
        rounds=64.0,
        within=lambda n, x, y: (4.0 * x ** (n + 2.0), x ** -(n + 1.0)),
        slope_rounds=64.0,
        through=lambda n, x, y: (4.0 * x ** (n + 3.0), x ** -(n + 2.0)),
        breaks=_near_pole,
        examples=(
            example(
                "lax.polygamma(n, x)", judged=("x",), n=Operand((40,), only=(1.0, 2.0, 3.0, 5.0)), x=real(40, low=0.0)
            ),
        ),
    ),
    Elementwise(
        "zeta",
        value=special.zeta,
        partials=lambda s, q, y: (zeta_slope(s, q), -s * special.zeta(s + 1.0, q)),
        rounds=64.0,
        slope_rounds=64.0,
        within=lambda s, q, y: (q**-s, 4.0 * (q + 9.0) ** (s + 1.0)),
        breaks=lambda inputs, E: ((inputs[0] - E[0] <= 1.0) & (np.asarray(E[0]) > 0)) | _near_pole(inputs, E),
        examples=(example("lax.zeta(s, q)", judged=(), s=real(40, low=1.01, high=60.0), q=real(40, low=1e-3)),),
    ),
    Elementwise(
        "igamma",
        value=special.gammainc,
        partials=lambda a, x, y: (gamma_slope(a, x), gamma_density(a, x)),
        rounds=24.0,
        size=lambda a, x, y: y * _gamma_exponent(a, x),
        slope_rounds=64.0,
        slope_size=lambda a, x, y, *cs: [(np.abs(c) + y) * _gamma_exponent(a, x) for c in cs],
        slope_floors=lambda a, x, y: (_gamma_floor(a, x), 1.0),
        examples=(example("lax.igamma(a, x)", a=_SHAPE, x=_SIZE),),
    ),
    Elementwise(
        "igammac",
        value=special.gammaincc,
        partials=lambda a, x, y: (-gamma_slope(a, x), -gamma_density(a, x)),
        rounds=12.0,
        size=lambda a, x, y: _gamma_exponent(a, x),
        slope_rounds=96.0,
        slope_size=lambda a, x, y, *cs: [(np.abs(c) + 1.0) * _gamma_exponent(a, x) for c in cs],
        slope_floors=lambda a, x, y: (_gamma_floor(a, x), 1.0),
        examples=(example("lax.igammac(a, x)", a=_SHAPE, x=_SIZE),),
    ),
    Elementwise(
        "igamma_grad_a",
        value=gamma_slope,
        partials=lambda a, x, y: (_unknown(y), gamma_density(a, x) * (np.log(x) - special.digamma(a))),
        rounds=64.0,
        size=lambda a, x, y: (np.abs(y) + special.gammainc(a, x)) * _gamma_exponent(a, x),
        floor=lambda a, x, y: _gamma_floor(a, x),
        examples=(example("lax.igamma_grad_a(a, x)", judged=(), a=_SHAPE, x=_SIZE),),
    ),
    Elementwise(
        "random_gamma_grad",
        value=_sample_slope,
        partials=lambda a, x, y: (_unknown(y), _unknown(y)),
        rounds=64.0,
        until="0.6.0",
        examples=(example("lax.random_gamma_grad(a, x)", judged=(), a=_SHAPE, x=_SIZE, until="0.6.0"),),
    ),
    Elementwise(
        "regularized_incomplete_beta",
        value=special.betainc,
        partials=lambda a, b, x, y: (beta_slope_a(a, b, x), beta_slope_b(a, b, x), _beta_density(a, b, x)),
        rounds=64.0,
        size=lambda a, b, x, y: _beta_exponent(a, b, x),
        slope_rounds=128.0,
        slope_size=lambda a, b, x, y, *cs: [np.abs(c) * _beta_exponent(a, b, x) for c in cs],
        examples=(example("lax.betainc(a, b, x)", judged=("x",), a=_SHAPE, b=_SHAPE, x=_SHARE),),
    ),
    unary(
        "bessel_i0e",
        special.i0e,
        lambda x, y: special.i1e(x) - np.sign(x) * y,
        rounds=16.0,  # 8 ulp
        slope_rounds=48.0,  # both functions, which cancel
        slope_size=lambda x, y, c: (y,),
        jumps=True,
        moved=lambda inputs, E: (1.5 * np.asarray(E[0]) + 2.0 * (np.abs(inputs[0]) <= E[0]) * (np.asarray(E[0]) > 0),),
        at=(8.0, -8.0),
    ),
    unary(
        "bessel_i1e",
        special.i1e,
        _bessel_i1e_slope,
        rounds=31.0,  # 15.5 ulp
        slope_rounds=100.0,  # i0e − y (1 + 1/x): three terms that cancel
        slope_size=lambda x, y, c: (special.i0e(x),),
        at=(8.0, -8.0),
    ),
)
