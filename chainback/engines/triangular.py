"""The triangular method: the extended Jacobian I − L of a chain, and its gradient by back substitution.

Differentiating every layer x_i = h_i(z_i), z_i = W_i x_{i−1} + b_i, of a chain at once gives one linear system for the
tangents of all states, dx = (dx_1, …, dx_N), in terms of those of all parameters, dp = (dW_1, db_1, …, dW_N, db_N):

    (I − L) dx = D dp

L holds the couplings C_i = diag(δ_i) W_i on its first block subdiagonal, with the slopes δ_i = h_i'(z_i); D is block
diagonal, with the blocks [δ_i ⊗ x_{i−1}ᵀ, diag(δ_i)]. I − L is unit lower triangular, so that either system is solved by
substitution, and each substitution is a mode of automatic differentiation:

    forward mode   forward substitution   (I − L) dx = D dp        dx_i = C_i dx_{i−1} + D_i dp_i           i = 1 … N
    reverse mode   back substitution      (I − L)ᵀ λ = e_N ⊗ r     λ_N = r, λ_{i−1} = C_iᵀ λ_i              i = N … 2
                   gradient               Dᵀ λ                     db_i = δ_i ∘ λ_i, dW_i = db_i x_{i−1}ᵀ

where r = x_N − y is the derivative of the loss ½‖x_N − y‖². AD does the same and shows neither system.

In this file: `ExtendedJacobian` (the system), `linearise` (which makes it), `SOLVERS` (dense, substitution, parallel),
`back_substitution` and `solve_chain` (the gradient), `TRIANGULAR` (the engines).

Source: Edelman, Akyürek and Wang, *Backpropagation through back substitution with a backslash* (2023); Griewank and Walther,
*Evaluating Derivatives* (2008), section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from chainback.engines.engine import Engine, Limit, no_limit, small_matrix, small_products
from chainback.engines.networks import Activations, Array
from chainback.engines.scan_steps import layers_per_step, product, value_and_slope_of
from chainback.errors import UsageError
from chainback.problems.chain import Case, Chain

__all__ = ["SOLVERS", "TRIANGULAR", "ExtendedJacobian", "extended_jacobian", "linearise", "solve_chain"]


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, eq=False)
class ExtendedJacobian:
    """The linearisation of one chain at one input: I − L and D, kept as their blocks.

    Under `vmap` the blocks come back with a batch axis in front; the methods are for one chain.

    Attributes:
        couplings: C_i = diag(δ_i) W_i, the blocks of L (C_1, which multiplies dx_0, included).
        slopes: δ_i = h_i'(z_i).
        states: x_0 … x_N.
    """

    couplings: Float[Array, "*batch depth width width"]
    slopes: Float[Array, "*batch depth width"]
    states: Float[Array, "*batch depth+1 width"]

    def matrix(self) -> Float[Array, "rows rows"]:
        """Return I − L, dense, of order depth × width: unit lower triangular, bidiagonal at width 1."""
        return _dense(self.couplings)

    def rhs(self) -> Float[Array, "depth width parameters"]:
        """Return D with its columns in the order W_1 (row-major), b_1, W_2, b_2, … and its rows by layer."""
        depth, width = self.slopes.shape
        by_bias = jnp.eye(width, dtype=self.slopes.dtype) * self.slopes[:, :, None]
        by_weight = by_bias[:, :, :, None] * self.states[:-1, None, None, :]
        blocks = jnp.concatenate([by_weight.reshape(depth, width, width * width), by_bias], axis=2)
        placed = jnp.eye(depth, dtype=self.slopes.dtype)[:, None, :, None] * blocks[:, :, None, :]
        return placed.reshape(depth, width, -1)

    def solve(
        self, rhs: Float[Array, "depth width columns"] | None = None, solver: str = "substitution"
    ) -> Float[Array, "depth width columns"]:
        """Solve (I − L) dx = rhs by forward substitution: forward mode, for rhs = D dp.

        Args:
            rhs: Default D: the solution is then the Jacobian of all states in all parameters.
            solver: One of `SOLVERS`.

        Returns:
            The tangents dx.

        Raises:
            UsageError: No solver has that name.
        """
        return _solver(solver)(self.couplings, self.rhs() if rhs is None else rhs)

    def solve_transposed(
        self, rhs: Float[Array, "depth width columns"], solver: str = "substitution"
    ) -> Float[Array, "depth width columns"]:
        """Solve (I − L)ᵀ λ = rhs by back substitution: reverse mode, for rhs = e_N ⊗ (x_N − y).

        The transpose of a chain's matrix is the matrix of the reversed chain of transposes, so the same solvers serve.

        Args:
            rhs: The right-hand side.
            solver: One of `SOLVERS`.

        Returns:
            The adjoints λ.

        Raises:
            UsageError: No solver has that name.
        """
        transposed = jnp.swapaxes(jnp.roll(self.couplings, -1, axis=0), 1, 2)[::-1]
        return _solver(solver)(transposed, rhs[::-1])[::-1]

    def tree_flatten(self) -> tuple[tuple[Array, ...], None]:
        """Return the arrays, for JAX."""
        return (self.couplings, self.slopes, self.states), None

    @classmethod
    def tree_unflatten(cls, _: None, arrays: tuple[Array, ...]) -> ExtendedJacobian:
        """Rebuild from the arrays, for JAX, or from its placeholders."""
        system = object.__new__(cls)
        for field, value in zip(("couplings", "slopes", "states"), arrays, strict=True):
            object.__setattr__(system, field, value)
        return system


def _dense(couplings: Array) -> Array:
    depth, width, _ = couplings.shape
    below = jnp.eye(depth, k=-1, dtype=couplings.dtype)
    subdiagonal = below[:, None, :, None] * couplings[:, :, None, :]
    return jnp.eye(depth * width, dtype=couplings.dtype) - subdiagonal.reshape(depth * width, depth * width)


def linearise(weights: Array, biases: Array, activations: Activations, x: Array) -> ExtendedJacobian:
    """Return the extended Jacobian of a chain at x: run it once, with each layer's slope from its closed form.

    Args:
        weights: (depth, width, width).
        biases: (depth, width).
        activations: Names, or codes.
        x: The input, (width,).
    """
    activate, indices, branches = value_and_slope_of(activations)

    def step(x: Array, layer: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        weight, bias, index = layer
        after, slope = activate(index, product(weight, x) + bias)
        return after, (x, slope)

    per_step = 1 if branches else layers_per_step(activations, biases)
    last, (before, slopes) = lax.scan(step, x, (weights, biases, indices), unroll=per_step)
    return ExtendedJacobian(slopes[:, :, None] * weights, slopes, jnp.concatenate([before, last[None]]))


def extended_jacobian(chain: Chain, x: Float[Array, " width"]) -> ExtendedJacobian:
    """Return the extended Jacobian of a chain at an input.

    Args:
        chain: One chain, without a batch axis.
        x: The input.

    Raises:
        UsageError: The input does not fit the chain.

    Source: Edelman, Akyürek and Wang (2023); Griewank and Walther, *Evaluating Derivatives* (2008), section 2.2.
    """
    case = Case(chain, x, x)
    return linearise(jnp.asarray(chain.weights), jnp.asarray(chain.biases), chain.activations, jnp.asarray(case.inputs))


def solve_dense(couplings: Array, rhs: Array) -> Array:
    """Assemble I − L, dense, and call a library's triangular solver: O((N n)²) memory."""
    depth, width, columns = rhs.shape
    flat = jax.scipy.linalg.solve_triangular(
        _dense(couplings), rhs.reshape(depth * width, columns), lower=True, unit_diagonal=True
    )
    return flat.reshape(depth, width, columns)


def solve_by_substitution(couplings: Array, rhs: Array) -> Array:
    """Block forward substitution, dx_i = C_i dx_{i−1} + rhs_i, as one scan: O(N)."""

    def step(dx: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        coupling, right = row
        dx = coupling @ dx + right
        return dx, dx

    return lax.scan(step, jnp.zeros_like(rhs[0]), (couplings, rhs))[1]


def solve_in_parallel(couplings: Array, rhs: Array) -> Array:
    """The same recurrence as an associative scan of affine maps: O(log N) steps.

    Source: Blelloch, *Prefix sums and their applications* (1990), section 1.4.
    """

    def compose(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        (A, a), (B, b) = first, second
        return B @ A, B @ a + b

    return lax.associative_scan(compose, (couplings, rhs))[1]


#: How a system with I − L is solved: each maps (couplings, rhs) to the solution; couplings[0] multiplies nothing.
SOLVERS = {"dense": solve_dense, "substitution": solve_by_substitution, "parallel": solve_in_parallel}


def _solver(name: str) -> Any:
    try:
        return SOLVERS[name]
    except (KeyError, TypeError):
        raise UsageError(f"solver {name!r} is not known: use one of {', '.join(SOLVERS)}") from None


def back_substitution(
    weights: Array, system: ExtendedJacobian, residual: Array, per_step: int = 1
) -> tuple[Array, Array]:
    """Return Dᵀλ, where (I − L)ᵀ λ = e_N ⊗ residual, by back substitution: λ_{i−1} = C_iᵀ λ_i.

    One pass solves and multiplies. It makes each C_i of slopes and weights again, by the product that made the system's, so
    that it has the same bits.

    Args:
        weights: (depth, width, width).
        system: The extended Jacobian.
        residual: r = x_N − y, (width,).
        per_step: Layers in a step of the scan.

    Returns:
        (dweights, dbiases), shaped as the parameters.
    """

    def step(adjoint: Array, layer: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        slope, weight, state = layer
        coupling, dbias = slope[:, None] * weight, slope * adjoint
        return product(coupling.T, adjoint), (dbias[:, None] * state, dbias)

    layers = (system.slopes, weights, system.states[:-1])
    return lax.scan(step, residual, layers, reverse=True, unroll=per_step)[1]


def solve_chain(
    weights: Array, biases: Array, activations: Activations, x: Array, y: Array, solver: str = "substitution"
) -> tuple[tuple[Array, Array], ExtendedJacobian]:
    """Return the gradient of ½‖y − ŷ‖² of one chain, and the system that was solved for it.

    Args:
        weights: (depth, width, width).
        biases: (depth, width).
        activations: Names, or codes.
        x: The input, (width,).
        y: The target, (width,).
        solver: One of `SOLVERS`.

    Returns:
        (dweights, dbiases), and the extended Jacobian.
    """
    system = linearise(weights, biases, activations, x)
    residual = system.states[-1] - y
    if solver == "substitution":
        return back_substitution(weights, system, residual, layers_per_step(activations, biases)), system
    seed = jnp.zeros_like(system.slopes).at[-1].set(residual)
    dbiases = system.slopes * system.solve_transposed(seed[:, :, None], solver)[:, :, 0]
    return (dbiases[:, :, None] * system.states[:-1, None, :], dbiases), system


def _triangular(solver: str, limit: Limit = no_limit) -> Engine:
    def steps(
        weights: Array, biases: Array, activations: Activations, x: Array, y: Array
    ) -> tuple[tuple[Array, Array], ExtendedJacobian]:
        return solve_chain(weights, biases, activations, x, y, solver)

    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> tuple[Array, Array]:
        return steps(weights, biases, activations, x, y)[0]

    return Engine(f"triangular-{solver}", gradient, limit, steps)


TRIANGULAR = (_triangular("dense", small_matrix), _triangular("substitution"), _triangular("parallel", small_products))
