"""Gradients that are right but for one thing: in the linearisation, a slope, a derivative rule, a product or the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from chainback.engines.closed_forms import value_and_slope
from chainback.engines.engine import Gradient
from chainback.engines.networks import Activations, Array, activate, codes, loss
from chainback.engines.registry import ENGINES
from chainback.engines.triangular import ExtendedJacobian, linearise
from chainback.operations.activations import ACTIVATIONS

__all__ = [
    "Unsteady",
    "behind",
    "in_result",
    "in_slopes",
    "in_system",
    "one_in_a_thousand",
    "relu_slope",
    "short_products",
    "slope_at_the_state",
    "solve",
    "stale_residual",
    "where_argument",
    "with_slopes",
    "wrong_rule",
]

Pair = tuple[Array, Array]
_RIGHT = ENGINES["triangular-substitution"].gradient


def solve(system: ExtendedJacobian, residual: Array) -> Pair:
    """Return the gradient by back substitution on any system and residual, faulty ones included."""
    seed = jnp.zeros_like(system.slopes).at[-1].set(residual)
    dbiases = system.slopes * system.solve_transposed(seed[:, :, None])[:, :, 0]
    return dbiases[:, :, None] * system.states[:-1, None, :], dbiases


def with_slopes(system: ExtendedJacobian, slopes: Array, weights: Array) -> ExtendedJacobian:
    """Return a system with other slopes, and the couplings that follow from them."""
    return replace(system, slopes=slopes, couplings=slopes[:, :, None] * weights)


def in_system(change: Callable[[ExtendedJacobian], ExtendedJacobian]) -> Gradient:
    """Plant a fault in the linearisation: `change` maps the system to the faulty one."""

    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
        system = linearise(weights, biases, activations, x)
        return solve(change(system), system.states[-1] - y)

    return gradient


def in_slopes(change: Callable[[Array, Array, Array], Array]) -> Gradient:
    """Plant a fault in the slopes: `change` maps (slopes, arguments z, codes of the activations) to the faulty slopes."""

    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
        system = linearise(weights, biases, activations, x)
        arguments = jnp.einsum("lij,lj->li", weights, system.states[:-1]) + biases
        slopes = change(system.slopes, arguments, codes(activations))
        return solve(with_slopes(system, slopes, weights), system.states[-1] - y)

    return gradient


def where_argument(wrong: Callable[[Array], Array], factor: float) -> Gradient:
    """Plant a slope that is off by a factor only where the argument is of a certain kind."""
    return in_slopes(lambda slopes, z, _: jnp.where(wrong(z), factor, 1.0).astype(slopes.dtype) * slopes)


def relu_slope(slope: Callable[[Array, Array], Array]) -> Gradient:
    """Plant another slope of ReLU: `slope` maps (arguments, right slopes) to the wrong ones."""
    relu = list(ACTIVATIONS).index("relu")

    def change(slopes: Array, z: Array, codes: Array) -> Array:
        return jnp.where(codes[:, None] == relu, slope(z, slopes), slopes).astype(slopes.dtype)

    return in_slopes(change)


def slope_at_the_state(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
    """Return the gradient with every slope taken at the layer's input x, not at z."""
    system = linearise(weights, biases, activations, x)
    slopes = lax.map(lambda pair: value_and_slope(pair[0], pair[1])[1], (codes(activations), system.states[:-1]))
    return solve(with_slopes(system, slopes, weights), system.states[-1] - y)


def stale_residual(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
    """Return the gradient of the loss taken one layer early."""
    system = linearise(weights, biases, activations, x)
    return solve(system, system.states[-2] - y)


def in_result(change: Callable[[Array, Array], Any]) -> Gradient:
    """Plant a fault in the right result: `change` maps (dweights, dbiases) of one case."""

    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Any:
        return change(*_RIGHT(weights, biases, activations, x, y))

    return gradient


def one_in_a_thousand(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
    """Return bias gradients that are off by 10⁻³ where the bits of the target's first component say so."""
    dweights, dbiases = _RIGHT(weights, biases, activations, x, y)
    chosen = lax.bitcast_convert_type(y[0], jnp.int32) % 1000 == 0
    return dweights, dbiases * jnp.where(chosen, jnp.float32(1.001), jnp.float32(1.0))


def _reverse_mode(layer: Callable[[Array, Array, Array, Array], Array]) -> Gradient:
    """Return reverse mode of a network whose layers map (code, weight, bias, x) to the next state."""

    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
        def step(x: Array, parameters: tuple[Array, Array, Array]) -> tuple[Array, None]:
            weight, bias, code = parameters
            return layer(code, weight, bias, x), None

        def loss_of(w: Array, b: Array) -> Array:
            return loss(lax.scan(step, x, (w, b, codes(activations)))[0], y)

        return jax.grad(loss_of, argnums=(0, 1))(weights, biases)

    return gradient


def wrong_rule(rule: str, factor: float) -> Gradient:
    """AD of a network whose activations carry a derivative rule of their own, a "jvp" or a "vjp", off by a factor."""
    if rule == "jvp":
        h = jax.custom_jvp(activate, nondiff_argnums=(0,))

        @h.defjvp
        def _(which: Any, primals: Any, tangents: Any) -> Any:
            value, slope = value_and_slope(which, primals[0])
            return value, slope * jnp.float32(factor) * tangents[0]
    else:
        h = jax.custom_vjp(activate, nondiff_argnums=(0,))
        h.defvjp(
            lambda which, z: value_and_slope(which, z),
            lambda which, slope, g: (slope * jnp.float32(factor) * g,),
        )
    branches = [lambda z, name=name: h(name, z) for name in ACTIVATIONS]
    return _reverse_mode(lambda code, weight, bias, x: lax.switch(code, branches, weight @ x + bias))


def _shortened(bits: int) -> Callable[[Array], Array]:
    """Round float32 numbers to so many significant bits, as an accelerator rounds the factors of a product."""
    drop = 24 - bits

    def rounded(a: Array) -> Array:
        integer = lax.bitcast_convert_type(a, jnp.int32)
        half = jnp.int32(1 << (drop - 1)) - 1 + ((integer >> drop) & 1)
        return lax.bitcast_convert_type((integer + half) & jnp.int32(-(1 << drop)), jnp.float32)

    return rounded


def short_products(bits: int) -> Gradient:
    """Reverse mode of a network whose matrix products round both factors to so many bits."""
    short = _shortened(bits)

    @jax.custom_vjp
    def product(weight: Array, x: Array) -> Array:
        return short(weight) @ short(x)

    product.defvjp(
        lambda weight, x: (product(weight, x), (weight, x)),
        lambda kept, g: (jnp.outer(short(g), short(kept[1])), short(kept[0]).T @ short(g)),
    )
    return _reverse_mode(lambda code, weight, bias, x: activate(code, product(weight, x) + bias))


def behind(change: Callable[[Array, Array], Any]) -> Callable[..., Any]:
    """Plant a fault in what an engine returns: `change` gets writable NumPy arrays with a batch axis."""
    right = ENGINES["reverse-scan"]

    def gradients(*arguments: Any) -> Any:
        dweights, dbiases = (np.array(part) for part in right(*arguments))
        return change(dweights, dbiases)

    return gradients


class Unsteady:
    """Other bits on every other call, as an unordered reduction gives."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, *arguments: Any) -> Any:
        """Return the right gradients, the biases' one ulp up in every other call."""
        self._calls += 1
        dweights, dbiases = (np.array(part) for part in ENGINES["reverse-scan"](*arguments))
        return dweights, np.nextafter(dbiases, np.float32(np.inf)) if self._calls % 2 else dbiases
