"""The truth: states, slopes, adjoints and gradients in float64, by explicit loops and closed forms.

NumPy and LAPACK only, and nothing of the engines. Arrays here have the batch as their *last* axis, where NumPy runs
contiguously. Float64 carries 29 bits more than the arithmetic under test through the same condition numbers, so that the
truth's own error is about 2⁻²⁹ of each bound.

A loop over the layers takes NumPy about 1 µs an operation, however small the batch. So where a chain is deep and alone,
linear recursions are solved by LAPACK, and others for a block of layers at once by Newton's method, whose every step is
forward substitution on the block's own (I − L). What comes out satisfies the recursion in every layer to 2⁻⁵⁰, which is
seen by one more look at all layers; else the loop runs after all. That takes 0.3 µs a layer, in 3 or 4 steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from scipy.linalg import get_lapack_funcs

from chainback.operations.activations import activation
from chainback.operations.elementwise import Array
from chainback.problems.chain import Case, Chain

__all__ = [
    "Truth",
    "adjoints_of",
    "back_substitute",
    "batch_last",
    "blocks",
    "is_deep",
    "layers_by_activation",
    "matvec",
    "newton",
    "recur",
    "solve",
    "true_gradient",
]

(_tbtrs,) = get_lapack_funcs(("tbtrs",), dtype=np.float64)
#: A chain is deep where it has at least so many layers for each number in one of them.
_LAYERS_FOR_ONE = 64
#: So many layers at once stay within a processor's cache, and are nearly linear.
_BLOCK = 32768
#: Newton's steps in which a block must be solved, and how well.
_STEPS = 12
_SETTLED = 2.0**-50


@dataclass(frozen=True)
class Truth:
    """A case solved in float64: everything that (I − L) dx = D dp is made of, and the solution of its transpose.

    Attributes:
        weights: W_i.
        biases: b_i.
        states: x_0 … x_N.
        arguments: z_i = W_i x_{i−1} + b_i.
        slopes: δ_i = h_i'(z_i).
        residual: r = x_N − y.
        adjoints: λ_1 … λ_N with λ_N = r and λ_{i−1} = C_iᵀ λ_i.
        bias_gradients: db_i = δ_i ∘ λ_i. The weights' gradients are dW_i = db_i x_{i−1}ᵀ.
    """

    weights: Float64[Array, "depth width width batch"]
    biases: Float64[Array, "depth width batch"]
    states: Float64[Array, "depth+1 width batch"]
    arguments: Float64[Array, "depth width batch"]
    slopes: Float64[Array, "depth width batch"]
    residual: Float64[Array, "width batch"]
    adjoints: Float64[Array, "depth width batch"]
    bias_gradients: Float64[Array, "depth width batch"]

    @property
    def weight_gradients(self) -> Float64[Array, "depth width width batch"]:
        """dW_i = db_i x_{i−1}ᵀ."""
        return self.bias_gradients[:, :, None] * self.states[:-1, None]


def matvec(matrix: Array, vector: Array) -> Array:
    """Return matrix @ vector for each layer and case, batch last."""
    if matrix.shape[-2] == 1:
        return matrix[..., 0, :] * vector
    return np.einsum("...ijb,...jb->...ib", matrix, vector)


def layers_by_activation(names: tuple[str, ...]) -> dict[str, Array]:
    """Return the layers of each activation, so that a function runs once for all of its layers."""
    kinds = {name: kind for kind, name in enumerate(dict.fromkeys(names))}
    kind_of = np.array([kinds[name] for name in names])
    return {name: np.flatnonzero(kind_of == kind) for name, kind in kinds.items()}


def batch_last(array: Array) -> Array:
    """Return a float64 copy with the leading batch axis moved to the end."""
    return np.ascontiguousarray(np.moveaxis(np.asarray(array, np.float64), 0, -1))


def solve(case: Case) -> Truth:
    """Solve a case, or each case of a batch, in float64.

    Args:
        case: The float32 numbers of the case are taken as exact.

    Returns:
        The truth, batch last (a single case is a batch of one). Where float64 itself overflows there are infinities and
        NaN, without a warning: the bounds then call the case undecided.

    Source: Edelman, Akyürek and Wang, *Backpropagation through Back Substitution with a Backslash* (2023); Griewank and
        Walther, *Evaluating Derivatives* (2008), section 2.2 (extended system).
    """
    case = case.as_batch()
    weights, biases = batch_last(case.chain.weights), batch_last(case.chain.biases)
    targets = batch_last(case.targets)
    names = case.chain.activations
    arguments, states = np.empty_like(biases), np.zeros((len(biases) + 1, *biases.shape[1:]))
    states[0] = batch_last(case.inputs)

    with np.errstate(all="ignore"):
        recursion = _States(names, weights, biases, arguments, states)
        for block in blocks(len(biases)):
            if not (is_deep(biases) and recursion.solve(block)):
                recursion.run(block)
        slopes = np.empty_like(biases)
        for name, layers in layers_by_activation(names).items():
            slopes[layers] = activation(name).slope(arguments[layers])

        residual = states[-1] - targets
        adjoints = adjoints_of(slopes[:, :, None] * weights, residual)
        return Truth(weights, biases, states, arguments, slopes, residual, adjoints, slopes * adjoints)


@dataclass
class _States:
    """x_i = h_i(W_i x_{i−1} + b_i); arguments and states are filled in as it runs."""

    names: tuple[str, ...]
    weights: Array
    biases: Array
    arguments: Array
    states: Array

    def run(self, block: slice) -> None:
        """Run a block of layers, one after the other."""
        for i in range(block.start, block.stop):
            np.add(matvec(self.weights[i], self.states[i]), self.biases[i], out=self.arguments[i])
            self.states[i + 1] = activation(self.names[i]).value(self.arguments[i])

    def solve(self, block: slice) -> bool:
        """Solve a block of layers at once, and say whether that succeeded.

        Where a slope jumps, an argument must be what the loop makes of it, to the bit: such a block is left to it.
        """
        groups = {activation(name): layers for name, layers in layers_by_activation(self.names[block]).items()}
        weights, biases, z = self.weights[block], self.biases[block], self.arguments[block]
        before, behind = self.states[:-1][block], self.states[1:][block]
        found, slopes = np.empty_like(behind), np.empty_like(behind)

        def step() -> tuple[Array, Array]:
            np.add(matvec(weights, before), biases, out=z)
            for model, layers in groups.items():
                found[layers], slopes[layers] = model.value(z[layers]), model.slope(z[layers])
            return found, np.abs(found) + matvec(np.abs(weights), np.abs(before)) + np.abs(biases)

        return not any(model.kinks for model in groups) and newton(behind, step, lambda: slopes[:, :, None] * weights)


def blocks(depth: int) -> list[slice]:
    """Return the layers of a chain, block by block."""
    return [slice(first, min(first + _BLOCK, depth)) for first in range(0, depth, _BLOCK)]


def newton(
    behind: Float64[Array, "depth width batch"],
    step: Callable[[], tuple[Array, Array]],
    couplings: Callable[[], Float64[Array, "depth width width batch"]],
) -> bool:
    """Solve a recursion x_i = F_i(x_{i−1}) for all layers at once, and say whether that succeeded.

    Args:
        behind: x_1 … x_N, to be improved in place, from 0 on.
        step: Returns F_i of what stands before each layer, and the size of the terms that it is made of.
        couplings: Returns F' there, about.
    """
    for _ in range(_STEPS):
        found, size = step()
        missing = found - behind
        if (np.abs(missing) <= _SETTLED * size).all():
            return True
        if not np.isfinite(missing).all():
            break
        behind += forward_substitute(couplings()[1:], missing)
    return False


def forward_substitute(
    couplings: Float64[Array, "links width width batch"], rhs: Float64[Array, "links+1 width batch"]
) -> Float64[Array, "links+1 width batch"]:
    """Solve (I − L) dx = rhs: dx_1 = rhs_1, dx_i = C_i dx_{i−1} + rhs_i.

    Args:
        couplings: C_2 … C_N.
        rhs: By layer.
    """
    if is_deep(rhs):
        chains = range(rhs.shape[2])
        return np.stack([_backslash(couplings[..., chain], rhs[..., chain]) for chain in chains], axis=2)
    return recur(rhs[0], lambda before, C, right: matvec(C, before) + right, couplings, rhs[1:])


@functools.singledispatch
def recur(first: Array, step: Callable[..., Array], *layers: Array) -> Array:
    """Return first, and step(what stands before, *layer) for each layer, stacked; arrays of another kind bring their own."""
    found = [first]
    for layer in zip(*layers, strict=True):
        found.append(step(found[-1], *layer))
    return np.stack(found)


def is_deep(layers: Float[Array, "depth width batch"]) -> bool:
    """Whether there are so few numbers in each layer that NumPy should have many layers at once, not one after the other."""
    return len(layers) >= _LAYERS_FOR_ONE * layers[0].size


def _backslash(couplings: Float64[Array, "links width width"], rhs: Float64[Array, "links+1 width"]) -> Array:
    """Solve (I − L) dx = rhs for one chain: LAPACK's triangular solve, I − L stored by diagonals."""
    depth, width = rhs.shape
    diagonals = np.zeros((2 * width, depth * width), order="F")  # the first, of ones, is taken for granted
    for row in range(width):
        for column in range(width):
            diagonals[width + row - column, column:-width:width] = -couplings[:, row, column]
    return _tbtrs(diagonals, rhs.ravel(), uplo="L", diag="U")[0].reshape(rhs.shape)


def back_substitute(
    couplings: Float64[Array, "links width width batch"], rhs: Float64[Array, "links+1 width batch"]
) -> Float64[Array, "links+1 width batch"]:
    """Solve (I − L)ᵀ λ = rhs: λ_N = rhs_N, λ_{i−1} = C_iᵀ λ_i + rhs_{i−1}.

    It is forward substitution on the reversed chain of transposes.

    Args:
        couplings: C_2 … C_N.
        rhs: By layer.
    """
    return forward_substitute(np.swapaxes(couplings, 1, 2)[::-1], rhs[::-1])[::-1]


def adjoints_of(couplings: Array, residual: Array) -> Array:
    """Return λ_1 … λ_N, the solution of (I − L)ᵀ λ = e_N ⊗ r, for couplings C_1 … C_N (C_1 multiplies dx_0 = 0)."""
    seed = np.zeros_like(couplings[:, 0])
    seed[-1] = residual
    return back_substitute(couplings[1:], seed)


def true_gradient(case: Case) -> Chain:
    """Return the float64 gradient of ½‖y − ŷ‖² with respect to every weight and bias, shaped as the case's chain."""
    truth = solve(case)
    weights, biases = np.moveaxis(truth.weight_gradients, -1, 0), np.moveaxis(truth.bias_gradients, -1, 0)
    if not case.chain.is_batch:
        weights, biases = weights[0], biases[0]
    return Chain(weights, biases, case.chain.activations)
