"""Forward-mode AD: forward substitution on (I − L) dx = D dp, one tangent for every parameter."""

from __future__ import annotations

import jax

from chainback.engines.engine import Engine, Gradient, few_layers, few_tangents, first_reason
from chainback.engines.networks import Activations, Array, Program, loss, scanned, unrolled

__all__ = ["FORWARD"]


def _forward(program: Program) -> Gradient:
    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> tuple[Array, Array]:
        return jax.jacfwd(lambda w, b: loss(program(w, b, activations, x), y), argnums=(0, 1))(weights, biases)

    return gradient


FORWARD = (
    Engine("forward-unrolled", _forward(unrolled), first_reason(few_layers, few_tangents)),
    Engine("forward-scan", _forward(scanned), few_tangents),
)
