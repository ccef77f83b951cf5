"""Closed forms of each activation's value and slope under JAX: no AD, and none of JAX's derivative rules.

Where JAX's derived slope cancels (sigmoid' = s(1 − s), tanh' = 1 − t²), these do not. Source: Abramowitz and Stegun,
*Handbook of Mathematical Functions*, 4.5 and 7.1; the logistic function by the exponential of −|z|, which cannot
overflow, so that no order of its products underflows before they do. Value and slope share their exponential.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax

from chainback.engines.networks import Array
from chainback.operations.activations import ACTIVATIONS, activation

__all__ = ["value_and_slope"]

Pair = tuple[Array, Array]


def _logistic(z: Array) -> Pair:
    e = jnp.exp(-jnp.abs(z))
    return jnp.where(z >= 0, 1.0, e) / (1.0 + e), e / ((1.0 + e) * (1.0 + e))


def _tanh(z: Array) -> Pair:
    e = jnp.exp(-2.0 * jnp.abs(z))
    return jnp.tanh(z), 4.0 * e / ((1.0 + e) * (1.0 + e))


def _softplus(z: Array) -> Pair:
    return jnp.maximum(z, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(z))), _logistic(z)[0]


def _silu(z: Array) -> Pair:
    s, p = _logistic(z)
    return z * s, s + z * p


def _gelu(z: Array) -> Pair:
    # XLA computes a sum or product again for each use, a quotient once: halved by a 2 that it does not know as a constant.
    scaled = z * math.sqrt(0.5)
    distribution = lax.erfc(-scaled) / jnp.where(z == z, 2.0, z)
    return z * distribution, distribution + z * (jnp.exp(-scaled * scaled) / math.sqrt(2.0 * math.pi))


def _elu(z: Array) -> Pair:
    below = jnp.minimum(z, 0.0)
    return jnp.where(z > 0, z, jnp.expm1(below)), jnp.exp(below)


_CLOSED_FORMS: dict[str, Callable[[Array], Pair]] = {
    "identity": lambda z: (z, jnp.ones_like(z)),
    "sigmoid": _logistic,
    "tanh": _tanh,
    "relu": lambda z: (jnp.maximum(z, 0.0), jnp.where(z > 0, 1.0, 0.0).astype(z.dtype)),
    "leaky_relu": lambda z: (jnp.where(z >= 0, z, 0.01 * z), jnp.where(z >= 0, 1.0, 0.01).astype(z.dtype)),
    "elu": _elu,
    "softplus": _softplus,
    "silu": _silu,
    "gelu": _gelu,
    "sin": lambda z: (jnp.sin(z), jnp.cos(z)),
}


def _closed_form(name: str) -> Callable[[Array], Pair]:
    found = _CLOSED_FORMS.get(name) or activation(name).derivative
    assert found is not None  # `register` requires it
    return found


def value_and_slope(which: str | Array, z: Array, among: Sequence[str] | None = None) -> Pair:
    """Return (h(z), h'(z)) for a layer's name or code; at a kink the slope that JAX documents.

    Args:
        which: A name, or an index into `among`.
        z: The arguments.
        among: The activations that the code may mean; default all of `ACTIVATIONS`.
    """
    if isinstance(which, str):
        return _closed_form(which)(z)
    return lax.switch(which, [_closed_form(name) for name in (ACTIVATIONS if among is None else among)], z)
