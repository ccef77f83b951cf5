"""Reverse-mode AD: back substitution on (I − L)ᵀ λ = e_N ⊗ r, whatever the number of parameters."""

from __future__ import annotations

import jax

from chainback.engines.engine import Engine, Gradient, few_layers
from chainback.engines.networks import Activations, Array, Program, loss, rematerialised, scanned, unrolled

__all__ = ["REVERSE"]


def _reverse(program: Program) -> Gradient:
    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> tuple[Array, Array]:
        return jax.grad(lambda w, b: loss(program(w, b, activations, x), y), argnums=(0, 1))(weights, biases)

    return gradient


REVERSE = (
    Engine("reverse-unrolled", _reverse(unrolled), few_layers, layered=True),
    Engine("reverse-scan", _reverse(scanned)),
    Engine("reverse-remat", _reverse(rematerialised)),
)
