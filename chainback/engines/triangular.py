"""The triangular method: write down (I − L) dx = D dp, and solve it.

Differentiating every layer at once makes one linear system out of a chain. L holds the couplings C_i = diag(δ_i) W_i on
its first block subdiagonal, D holds [δ_i ⊗ x_{i−1}ᵀ, diag(δ_i)]. Forward substitution gives the Jacobian of all states,
back substitution the gradient of the loss: what AD does in silence.

How its speed is had, on CPUs under JAX 0.10.2 (figures: `benchmarks`). XLA runs a scan as one kernel where its body is a few
fused loops, and as many small calls, handed from thread to thread, where it is more. So a body holds no product that XLA
makes a call of its own (`_product`), switches between no more activations than there are, and saves no more than state and
slope; the way back is one pass, which makes each coupling again rather than read it, and writes both gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from chainback.engines.closed_forms import value_and_slope
from chainback.engines.engine import Engine, Limit, anything_goes
from chainback.engines.limits import small_matrix, small_products
from chainback.engines.networks import Activations
from chainback.errors import UsageError
from chainback.problems.chain import Case, Chain

__all__ = ["SOLVERS", "TRIANGULAR", "ExtendedJacobian", "extended_jacobian", "solve_chain"]

Array = Any


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
        own = jnp.eye(width, dtype=self.slopes.dtype) * self.slopes[:, :, None]
        by_weight = own[:, :, :, None] * self.states[:-1, None, None, :]
        blocks = jnp.concatenate([by_weight.reshape(depth, width, width * width), own], axis=2)
        placed = jnp.eye(depth, dtype=self.slopes.dtype)[:, None, :, None] * blocks[:, :, None, :]
        return placed.reshape(depth, width, -1)

    def solve(
        self, rhs: Float[Array, "depth width columns"] | None = None, solver: str = "substitution"
    ) -> Float[Array, "depth width columns"]:
        """Solve (I − L) dx = rhs by forward substitution.

        Args:
            rhs: Default D: the solution is then the Jacobian of all states in all parameters.
            solver: One of `SOLVERS`.

        Raises:
            UsageError: No solver has that name.
        """
        return _solver(solver)(self.couplings, self.rhs() if rhs is None else rhs)

    def solve_transposed(
        self, rhs: Float[Array, "depth width columns"], solver: str = "substitution"
    ) -> Float[Array, "depth width columns"]:
        """Solve (I − L)ᵀ λ = rhs by back substitution: the adjoints, for rhs = e_N ⊗ (x_N − y).

        The transpose of a chain's matrix is the matrix of the reversed chain of transposes, so the same solvers serve.

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


def solve_dense(couplings: Array, rhs: Array) -> Array:
    """Assemble I − L and call a library's triangular solver: O((N n)²) memory."""
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


#: Up to this width a product is written out.
_NARROW = 8
#: In a chain of numbers this deep, so many layers without a branch make one step of a scan.
_DEEP, _AT_ONCE = 256, 4


def _product(matrix: Array, vector: Array) -> Array:
    """Return a matrix times a vector; a small one as a sum of columns, which XLA fuses with what surrounds it."""
    width = vector.shape[0]
    if width > _NARROW:
        return matrix @ vector
    total = matrix[:, 0] * vector[0]
    for column in range(1, width):
        total = total + matrix[:, column] * vector[column]
    return total


def _at_once(activations: Activations, slopes: Array) -> int:
    """How many layers without a branch make one step of a scan: one where they are few, or have products in them.

    And one where the activations are codes: so batches are computed, where this would make it twice as slow.
    """
    depth, width = slopes.shape
    return _AT_ONCE if isinstance(activations, tuple) and width == 1 and depth >= _DEEP else 1


def solve_backwards(weights: Array, system: ExtendedJacobian, residual: Array, at_once: int = 1) -> tuple[Array, Array]:
    """Return Dᵀλ, (dweights, dbiases), where (I − L)ᵀ λ = e_N ⊗ residual, by back substitution: λ_{i−1} = C_iᵀ λ_i.

    Each C_i is made of slopes and weights when it is needed, by the product that made the system's: it has the same bits.
    """

    def step(adjoint: Array, layer: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        slope, weight, state = layer
        coupling, dbias = slope[:, None] * weight, slope * adjoint
        return _product(coupling.T, adjoint), (dbias[:, None] * state, dbias)

    layers = (system.slopes, weights, system.states[:-1])
    return lax.scan(step, residual, layers, reverse=True, unroll=at_once)[1]


#: How a system with I − L is solved: each maps (couplings, rhs) to the solution; couplings[0] multiplies nothing.
SOLVERS = {"dense": solve_dense, "substitution": solve_by_substitution, "parallel": solve_in_parallel}


def _solver(name: str) -> Any:
    try:
        return SOLVERS[name]
    except (KeyError, TypeError):
        raise UsageError(f"solver {name!r} is not known: use one of {', '.join(SOLVERS)}") from None


def linearise(weights: Array, biases: Array, activations: Activations, x: Array) -> ExtendedJacobian:
    """Run the chain once, with each layer's slope from its closed form."""
    curve, places, branches = _curves(activations)

    def step(x: Array, layer: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        weight, bias, place = layer
        after, slope = curve(place, _product(weight, x) + bias)
        return after, (x, slope)

    at_once = 1 if branches else _at_once(activations, biases)
    last, (before, slopes) = lax.scan(step, x, (weights, biases, places), unroll=at_once)
    return ExtendedJacobian(slopes[:, :, None] * weights, slopes, jnp.concatenate([before, last[None]]))


def _curves(activations: Activations) -> tuple[Callable[[Array, Array], tuple[Array, Array]], Array, bool]:
    """Return (place, z) to value and slope, the place of each layer's activation, and whether a layer takes a branch."""
    if not isinstance(activations, tuple):
        return value_and_slope, activations, True
    among = tuple(dict.fromkeys(activations))
    places = np.array([among.index(name) for name in activations], np.int32)
    if len(among) == 1:
        return lambda place, z: value_and_slope(among[0], z), places, False

    def all_but_the_last(place: Array, z: Array) -> tuple[Array, Array]:
        """The identity, which is the last layer, computes more than it takes, so that all others are spared a branch."""
        value, slope = value_and_slope(among[0], z)
        return jnp.where(place == 0, value, z), jnp.where(place == 0, slope, jnp.ones_like(z))

    if len(among) == 2 and activations.count("identity") == 1 and activations[-1] == "identity":
        return all_but_the_last, places, False
    return lambda place, z: value_and_slope(place, z, among), places, True


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


def solve_chain(
    weights: Array, biases: Array, activations: Activations, x: Array, y: Array, solver: str = "substitution"
) -> tuple[tuple[Array, Array], ExtendedJacobian]:
    """Return the gradient of ½‖y − ŷ‖² by back substitution, (dweights, dbiases), and the system that it came of."""
    system = linearise(weights, biases, activations, x)
    residual = system.states[-1] - y
    if solver == "substitution":
        return solve_backwards(weights, system, residual, _at_once(activations, biases)), system
    seed = jnp.zeros_like(system.slopes).at[-1].set(residual)
    dbiases = system.slopes * system.solve_transposed(seed[:, :, None], solver)[:, :, 0]
    return (dbiases[:, :, None] * system.states[:-1, None, :], dbiases), system


def _triangular(solver: str, limit: Limit = anything_goes) -> Engine:
    def steps(
        weights: Array, biases: Array, activations: Activations, x: Array, y: Array
    ) -> tuple[tuple[Array, Array], ExtendedJacobian]:
        return solve_chain(weights, biases, activations, x, y, solver)

    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> tuple[Array, Array]:
        return steps(weights, biases, activations, x, y)[0]

    return Engine(f"triangular-{solver}", gradient, limit, steps)


TRIANGULAR = (_triangular("dense", small_matrix), _triangular("substitution"), _triangular("parallel", small_products))
