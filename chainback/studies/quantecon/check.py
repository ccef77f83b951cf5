"""The lecture's check, on one chain of three layers at x = 5, y = 3: every derivative by several methods."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainback.engines import registry
from chainback.engines.devices import arithmetic_of, device_of
from chainback.engines.networks import Array, function, loss, unrolled
from chainback.engines.registry import ENGINES
from chainback.engines.triangular import ExtendedJacobian, extended_jacobian
from chainback.judging.judgement import judge
from chainback.operations.arithmetic import FLOAT32, gamma
from chainback.problems.chain import Case, Chain
from chainback.studies.quantecon.figures import PRINTED, Row, in_full, same_digits
from chainback.studies.quantecon.problems import STEP, drawn
from chainback.truth.chain_bound import Derived, envelope

__all__ = ["by_derivatives_of_jax", "check"]

_X, _Y = np.array([5.0], np.float32), np.array([3.0], np.float32)
_NAMES = ("sigmoid", "sigmoid", "identity")


def check(stream: str) -> list[Row]:
    """Compute what the lecture checks, and set it beside its figures.

    Args:
        stream: The random stream, one of `STREAMS`.
    """
    chain = drawn(stream, 1, 3)
    case = Case(chain, _X, _Y)
    within = envelope(case, arithmetic_of(device_of(None)))
    system, solved, by_solve = _triangular(chain.weights, chain.biases)
    reverse = _reverse(chain.weights, chain.biases)
    return [
        *_linearisation_rows(stream, system, within),
        _system_row(system, within, extended_jacobian(chain, _X)),
        *_solution_rows(stream, (_forward(chain.weights, chain.biases), solved), (reverse, by_solve)),
        *_update_rows(stream, chain, within, {"triangular": by_solve, "reverse": reverse}),
        *(_engine_row(name, case, within) for name in ENGINES),
    ]


def by_derivatives_of_jax(chain: Chain, x: Array) -> ExtendedJacobian:
    """Return the system as the lecture has it: one layer after the other, slopes by `jax.grad`."""
    states, slopes = [x], []
    for weight, bias, name in zip(chain.weights, chain.biases, chain.activations, strict=True):
        z = weight @ states[-1] + bias
        states.append(function(name)(z))
        slopes.append(jax.vmap(jax.grad(function(name)))(z))
    slopes = jnp.stack(slopes)
    return ExtendedJacobian(slopes[:, :, None] * chain.weights, slopes, jnp.stack(states))


@jax.jit
def _triangular(weights: Array, biases: Array) -> tuple[ExtendedJacobian, Array, Array]:
    """Return the system, the Jacobian of all states by its dense solution, and the gradient by the last row of that."""
    system = by_derivatives_of_jax(Chain(weights, biases, _NAMES), _X)
    solved = system.solve(solver="dense")[:, 0]
    return system, solved, (system.states[-1] - _Y) * solved[-1]


@jax.jit
def _forward(weights: Array, biases: Array) -> Array:
    """Return the Jacobian of all states by forward mode, in the order w_1, b_1, w_2, b_2, …"""

    def later(parameters: Array) -> Array:
        weights, biases = parameters[:, 0, None, None], parameters[:, 1, None]
        return by_derivatives_of_jax(Chain(weights, biases, _NAMES), _X).states[1:, 0]

    return jax.jacfwd(later)(jnp.stack([weights[:, 0, 0], biases[:, 0]], axis=1)).reshape(len(weights), -1)


@jax.jit
def _reverse(weights: Array, biases: Array) -> Array:
    """Return the loss's gradient by reverse mode, in the same order."""
    lost = jax.grad(lambda w, b: loss(unrolled(w, b, _NAMES, _X), _Y), argnums=(0, 1))
    return jnp.stack([part.reshape(-1) for part in lost(weights, biases)], axis=1).reshape(-1)


def _errors(within: Derived) -> tuple[np.ndarray, np.ndarray]:
    """Return how far a right δ∘x, and a right δ, may be from the truth."""
    error_bounds, truth = within.error_bounds, within.truth
    moved, slopes, states = error_bounds.slopes[:, 0, 0], truth.slopes[:, 0, 0], truth.states[:-1, 0, 0]
    shifted = error_bounds.states[:-1, 0, 0]
    products = np.abs(slopes) * shifted + moved * (np.abs(states) + shifted)
    return products + FLOAT32.unit_roundoff * np.abs(slopes * states) * (1 + 1e-3), moved


def _products_and_slopes(system: ExtendedJacobian) -> tuple[np.ndarray, np.ndarray]:
    slopes = np.asarray(system.slopes)
    return (slopes * np.asarray(system.states)[:-1])[:, 0], slopes[:, 0]


def _linearisation_rows(stream: str, system: ExtendedJacobian, within: Derived) -> list[Row]:
    found, allowed = _products_and_slopes(system), _errors(within)
    return [in_full(stream, what, found[i], 2 * allowed[i]) for i, what in enumerate(("δ∘x", "δ"))]


def _system_row(system: ExtendedJacobian, within: Derived, ours: ExtendedJacobian) -> Row:
    """Compare D and L of our closed forms with the definitions, filled with the slopes of JAX."""
    (dx, d), (products, slopes) = _products_and_slopes(system), _errors(within)
    weights = np.abs(within.truth.weights[:, 0, 0, 0])
    couplings = weights * slopes + FLOAT32.unit_roundoff * weights * np.abs(d)
    D, L = np.zeros((3, 6)), np.zeros((3, 3))
    for i in range(3):
        D[i, 2 * i : 2 * i + 2] = dx[i], d[i]
        L[i, i - 1] = system.couplings[i, 0, 0] if i else 0.0
    got = np.concatenate([*map(np.asarray, _written_out(ours))], axis=1)
    apart = np.abs(got - np.concatenate([D, L], axis=1))
    share = [apart[i, 2 * i] / (2 * products[i]) for i in range(3)]
    share += [apart[i, 2 * i + 1] / (2 * slopes[i]) if slopes[i] else float(apart[i, 2 * i + 1] > 0) for i in range(3)]
    share += [apart[i, 6 + i - 1] / (2 * couplings[i]) for i in (1, 2)]
    elsewhere = (apart[(D == 0).nonzero()[0], (D == 0).nonzero()[1]] == 0).all()
    return Row(
        "D and L as defined: distance / allowed", (), (max(share),), bool(max(share) <= 1 and elsewhere), False, 1.0
    )


@jax.jit
def _written_out(system: ExtendedJacobian) -> tuple[Array, Array]:
    """Return D and L."""
    matrix = system.matrix()
    return system.rhs()[:, 0], jnp.eye(len(matrix)) - matrix


def _solution_rows(stream: str, states: tuple[Array, Array], gradients: tuple[Array, Array]) -> list[Row]:
    """Compare the solve with both modes of AD. They multiply the same slopes, weights and states in another order.

    An entry of the Jacobian is one product of at most 2 N factors, an entry of the gradient of 2 N + 1: two right
    answers differ by 2 γ of the products in them.
    """
    rows, depth = [], len(_NAMES)
    for what, (one, other), factors in (
        ("jacfwd − solve", states, 2 * depth),
        ("reverse − solve", gradients, 2 * depth + 1),
    ):
        apart = float(np.abs(np.asarray(one) - np.asarray(other)).max())
        allowed = 2 * gamma(factors, FLOAT32.unit_roundoff) * float(np.abs(other).max())
        printed = PRINTED[stream][what]
        rows.append(Row(what, printed, (apart,), bool(apart <= allowed), same_digits(printed, [apart]), allowed))
    return rows


def _update_rows(stream: str, chain: Chain, within: Derived, found: dict[str, Array]) -> list[Row]:
    rows, step = [], np.float32(STEP)
    old = {"w": chain.weights[:, 0, 0], "b": chain.biases[:, 0]}
    bounds = {"w": within.error_bounds.weight_gradients, "b": within.error_bounds.bias_gradients}
    for name, gradients in found.items():
        for letter, gradient in zip("wb", np.asarray(gradients).reshape(-1, 2).T, strict=True):
            new = old[letter] - step * gradient
            allowed = 2 * _update_error(new, gradient, bounds[letter].reshape(-1))
            rows.append(in_full(stream, f"update, {name}: {letter}", new, allowed))
    return rows


def _update_error(new: np.ndarray, gradient: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Return how far a right p − s g may be from the truth: the step, the product and the difference round once each."""
    return STEP * bound + gamma(3, FLOAT32.unit_roundoff) * (np.abs(STEP * gradient) + np.abs(new))


def _engine_row(name: str, case: Case, within: Derived) -> Row:
    """Judge the gradient of one engine, and so its update, as `verify` does: error / bound, at most 1."""
    chain = case.chain
    gradient = _jitted(registry.engine_named(name).gradient, chain.activations)
    dweights, dbiases = gradient(chain.weights, chain.biases, case.inputs, case.targets)
    judged = judge(case, Chain(dweights, dbiases, chain.activations), arithmetic=within.arithmetic)
    worst = judged.worst()
    return Row(
        f"update by {name}: error / bound", (), (worst.margin if worst else math.nan,), judged.accepted, False, 1.0
    )


@functools.cache
def _jitted(gradient: Callable[..., Any], names: tuple[str, ...]) -> Any:
    return jax.jit(lambda weights, biases, x, y: gradient(weights, biases, names, x, y))
