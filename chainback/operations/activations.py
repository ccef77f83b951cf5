"""Table of activations: float64 value and slope of each, its curvature and its rounding model.

These are the functions that the truth and its bound are made of. The functions under test are in `engines.networks` (JAX's)
and `engines.closed_forms` (formulas written here).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from chainback.errors import UsageError
from chainback.operations.elementwise import Activation, Local

__all__ = ["ACTIVATIONS", "activation", "register"]

_ROOT_TWO_PI = math.sqrt(2.0 * math.pi)


def _exact(z: np.ndarray) -> Local:
    return Local(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def _decay(z: np.ndarray) -> np.ndarray:
    return np.exp(-np.abs(z))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    e = _decay(z)
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def _sigmoid_slope(z: np.ndarray) -> np.ndarray:
    e = _decay(z)
    return e / (1.0 + e) ** 2


def _sigmoid_local(z: np.ndarray) -> Local:
    # p' = p (1 − 2s) and p'' = p (1 − 6p): both within p, and |d log p / dz| = |1 − 2s| <= 1.
    e = _decay(z)
    p = e / (1.0 + e) ** 2
    s = np.where(z >= 0, 1.0, e) / (1.0 + e)
    return Local(p * (1.0 - e) / (1.0 + e), p, p, 1.0, s, s)


def _tanh_slope(z: np.ndarray) -> np.ndarray:
    e = np.exp(-2.0 * np.abs(z))
    return 4.0 * e / (1.0 + e) ** 2


def _tanh_local(z: np.ndarray) -> Local:
    # h'' = −2 t q and h''' = q (6t² − 2) with q = sech², and |d log q / dz| = 2|t| <= 2.
    q, t = _tanh_slope(z), np.abs(np.tanh(z))
    return Local(2.0 * t * q, 2.0 * q, 4.0 * q, 2.0, t, 1.0)


def _softplus(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0.0) + np.log1p(_decay(z))


def _softplus_local(z: np.ndarray) -> Local:
    p = _sigmoid_slope(z)
    return Local(p, p, p, 1.0, _softplus(z), _sigmoid(z) * (1.0 + np.abs(z)))


def _silu(z: np.ndarray) -> np.ndarray:
    return z * _sigmoid(z)


def _silu_slope(z: np.ndarray) -> np.ndarray:
    return _sigmoid(z) + z * _sigmoid_slope(z)


def _silu_local(z: np.ndarray) -> Local:
    # h'' = 2p + z p', h''' = 3p' + z p''; and 2 + |z + e| <= (2 + |z|) exp(|e| / 2), whence the rate 1 + 1/2.
    e, a = _decay(z), np.abs(z)
    p, s = e / (1.0 + e) ** 2, np.where(z >= 0, 1.0, e) / (1.0 + e)
    return Local(np.abs(2.0 - a * (1.0 - e) / (1.0 + e)) * p, p * (2.0 + a), p * (3.0 + a), 1.5, s * a, s * (1.0 + a))


def _density(z: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * z * z) / _ROOT_TWO_PI


def _gelu_local(z: np.ndarray) -> Local:
    # h'' = φ (2 − z²), h''' = φ (z³ − 4z); φ(z + e) <= φ(z) exp(|z||e|), and each polynomial grows by at most exp(|e|).
    a = np.minimum(np.abs(z), 1e9)
    density, distribution = _density(a), ndtr(z)
    square = a * a
    second, third = density * (2.0 + square), density * (4.0 + 4.0 * a + square * a)
    scale = density * a * (1.0 + square) + distribution
    return Local(density * np.abs(2.0 - square), second, third, a + 1.0, a * distribution * (1.0 + square), scale)


def _elu_local(z: np.ndarray) -> Local:
    # JAX derives the slope below 0 as expm1(z) + 1, which is off by up to u whatever its size: hence σ_s = 1 there.
    e = np.exp(np.minimum(z, 0.0))
    return Local(np.where(z > 0, 0.0, e), e, e, 1.0, np.abs(np.expm1(np.minimum(z, 0.0))), np.where(z > 0, 0.0, 1.0))


def _sin_local(z: np.ndarray) -> Local:
    size = np.abs(np.sin(z))
    return Local(size, 1.0, 1.0, 0.0, size, 1.0)


def _leaky_local(z: np.ndarray) -> Local:
    negative = z < 0
    return Local(0.0, 0.0, 0.0, 0.0, np.where(negative, 0.01 * np.abs(z), 0.0), np.where(negative, 0.01, 0.0))


#: The built-in activations. The constants c_v, c_s are the largest errors measured against σ_v, σ_s, in u, over
#: [−90, 90] and around 0, with a factor of about two above them; `tests/operations/test_activations.py` measures them again.
ACTIVATIONS: dict[str, Activation] = {
    a.name: a
    for a in (
        Activation("identity", lambda z: z, np.ones_like, _exact, 0.0, 0.0, (1.0, 1.0)),
        Activation(
            "sigmoid", _sigmoid, _sigmoid_slope, _sigmoid_local, 0.09623, 0.125, (0.0, 0.25), (0.0, 1.0), 5.0, 8.0
        ),
        Activation("tanh", np.tanh, _tanh_slope, _tanh_local, 0.7699, 2.0, (0.0, 1.0), (-1.0, 1.0), 8.0, 16.0),
        Activation(
            "relu",
            lambda z: np.maximum(z, 0.0),
            lambda z: np.where(z > 0, 1.0, 0.0),
            _exact,
            0.0,
            0.0,
            (0.0, 1.0),
            (0.0, math.inf),
            kinks=(0.0,),
            settled=True,  # the documentation of jax.nn.relu: 0 at 0
        ),
        Activation(
            "leaky_relu",
            lambda z: np.where(z >= 0, z, 0.01 * z),
            lambda z: np.where(z >= 0, 1.0, 0.01),
            _leaky_local,
            0.0,
            0.0,
            (0.01, 1.0),
            value_rounding=2.0,
            slope_rounding=1.0,
            kinks=(0.0,),
        ),
        Activation(
            "elu",
            lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0.0))),
            lambda z: np.exp(np.minimum(z, 0.0)),
            _elu_local,
            1.0,
            1.0,
            (0.0, 1.0),
            (-1.0, math.inf),
            10.0,
            4.0,
            creases=(0.0,),
        ),
        Activation(
            "softplus",
            _softplus,
            _sigmoid,
            _softplus_local,
            0.25,
            0.09623,
            (0.0, 1.0),
            (0.0, math.inf),
            8.0,
            6.0,
        ),
        Activation(
            "silu",
            _silu,
            _silu_slope,
            _silu_local,
            0.5,
            0.3085,
            (-0.09984, 1.09984),
            (-0.27847, math.inf),
            7.0,
            8.0,
        ),
        Activation(
            "gelu",
            lambda z: z * ndtr(z),
            lambda z: ndtr(z) + z * _density(z),
            _gelu_local,
            0.79789,
            0.7788,
            (-0.12905, 1.12905),
            (-0.16998, math.inf),
            8.0,
            10.0,
        ),
        Activation("sin", np.sin, np.cos, _sin_local, 1.0, 1.0, (-1.0, 1.0), (-1.0, 1.0), 2.5, 2.5),
    )
}


def activation(name: str) -> Activation:
    """Return the activation of that name.

    Args:
        name: A key of `ACTIVATIONS`.

    Raises:
        UsageError: No activation has that name.
    """
    try:
        return ACTIVATIONS[name]
    except (KeyError, TypeError):
        known = ", ".join(ACTIVATIONS)
        raise UsageError(f"activation {name!r} is not known: use one of {known}, or register your own") from None


def register(new: Activation) -> Activation:
    """Make a new activation available to chains, engines, truth and bounds under its name.

    Args:
        new: A complete activation: `function` is the JAX function under test and `derivative` maps z to the pair
            (value, slope) in JAX, by a closed form that does not call AD.

    Returns:
        The same activation, so that the call can stand where it is defined.

    Raises:
        UsageError: The name is taken, or a part is missing.
    """
    if new.name in ACTIVATIONS:
        raise UsageError(f"activation {new.name!r} is registered already: choose another name")
    if new.function is None or new.derivative is None:
        raise UsageError(f"activation {new.name!r} must bring both its JAX function and its JAX derivative")
    ACTIVATIONS[new.name] = new
    return new
