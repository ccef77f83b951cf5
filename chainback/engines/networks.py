"""Programs of a chain under JAX: unrolled as in the lecture, as a scan, rematerialised.

A program maps (weights, biases, activations, x) of one chain to its prediction. `activations` is either the tuple of
names, resolved while tracing, or an array of codes, switched on at run time: one compiled program then serves every
choice of activations. Gradients are taken elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Int

from chainback.operations.activations import ACTIVATIONS, activation
from chainback.problems.chain import Case, Chain

__all__ = [
    "Activations",
    "Array",
    "Program",
    "activate",
    "codes",
    "loss",
    "rematerialised",
    "scanned",
    "states",
    "unrolled",
]

#: An array of JAX or of NumPy, or a tracer: the one alias of the rooms that import JAX.
Array = Any
#: A name for each layer, or their codes.
Activations = tuple[str, ...] | Array
Program = Callable[[Array, Array, Activations, Array], Array]

#: The functions under test: what a user of JAX writes for each activation.
_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
    "silu": jax.nn.silu,
    "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    "sin": jnp.sin,
}


def function(name: str) -> Callable[[Array], Array]:
    """Return the JAX function of an activation, built in or registered."""
    found = _FUNCTIONS.get(name) or activation(name).function
    assert found is not None  # `register` requires it
    return found


def codes(activations: Activations) -> Int[Array, " depth"]:
    """Return the activations as codes: their indices in `ACTIVATIONS`."""
    if not isinstance(activations, tuple):
        return activations
    code = {name: index for index, name in enumerate(ACTIVATIONS)}
    return np.array([code[name] for name in activations], np.int32)


def activate(which: str | Array, z: Array) -> Array:
    """Return h(z) for one layer's name or code."""
    if isinstance(which, str):
        return function(which)(z)
    return _switch(which, z, tuple(ACTIVATIONS))


@functools.partial(jax.jit, static_argnums=2)
def _switch(code: Array, z: Array, known: tuple[str, ...]) -> Array:
    """Jitted, so that an unrolled program traces it once, and not for each of its layers."""
    return lax.switch(code, [function(name) for name in known], z)


def unrolled(
    weights: Float[Array, "depth width width"] | tuple[Float[Array, "width width"], ...],
    biases: Float[Array, "depth width"] | tuple[Float[Array, " width"], ...],
    activations: Activations,
    x: Float[Array, " width"],
) -> Float[Array, " width"]:
    """A Python loop over the layers, as in the lecture; their parameters are stacked, or one array each."""
    for layer in range(len(weights)):
        x = activate(activations[layer], weights[layer] @ x + biases[layer])
    return x


@functools.cache
def _step(known: tuple[str, ...]) -> Callable[[Array, tuple[Array, Array, Array]], tuple[Array, None]]:
    """Return a scan's step over layers. JAX caches a scan by its step, so each table of activations needs its own."""

    def step(x: Array, layer: tuple[Array, Array, Array]) -> tuple[Array, None]:
        weight, bias, code = layer
        return _switch(code, weight @ x + bias, known), None

    return step


def scanned(
    weights: Float[Array, "depth width width"],
    biases: Float[Array, "depth width"],
    activations: Activations,
    x: Float[Array, " width"],
) -> Float[Array, " width"]:
    """One layer, compiled once, scanned over the stacked parameters."""
    return lax.scan(_step(tuple(ACTIVATIONS)), x, (weights, biases, codes(activations)))[0]


def rematerialised(
    weights: Float[Array, "depth width width"],
    biases: Float[Array, "depth width"],
    activations: Activations,
    x: Float[Array, " width"],
) -> Float[Array, " width"]:
    """The scan again, keeping only the states and recomputing every layer on the way back (`jax.checkpoint`)."""
    return lax.scan(jax.checkpoint(_step(tuple(ACTIVATIONS))), x, (weights, biases, codes(activations)))[0]


def loss(prediction: Float[Array, " width"], target: Float[Array, " width"]) -> Float[Array, ""]:
    """½‖y − ŷ‖²."""
    return 0.5 * jnp.sum((prediction - target) ** 2)


def states(chain: Chain, x: Float[Array, " width"]) -> Float[Array, "states width"]:
    """Return every state x_0 … x_N of a chain at an input.

    Args:
        chain: One chain, without a batch axis.
        x: The input.

    Raises:
        UsageError: The input does not fit the chain.
    """
    case = Case(chain, x, x)

    def step(x: Array, layer: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        weight, bias, code = layer
        x = activate(code, weight @ x + bias)
        return x, x

    start = jnp.asarray(case.inputs)
    _, later = lax.scan(step, start, (chain.weights, chain.biases, codes(chain.activations)))
    return jnp.concatenate([start[None], later])


def _rebuild(activations: tuple[str, ...], arrays: tuple[Array, Array]) -> Chain:
    # JAX rebuilds pytrees around tracers and placeholders, which no constructor could check.
    chain = object.__new__(Chain)
    for field, value in zip(("weights", "biases", "activations"), (*arrays, activations), strict=True):
        object.__setattr__(chain, field, value)
    return chain


jax.tree_util.register_pytree_node(Chain, lambda c: ((c.weights, c.biases), c.activations), _rebuild)
