"""The truth: states, slopes, adjoints and gradients in float64, by explicit loops and closed forms.

NumPy and LAPACK only, and nothing of the engines. Arrays here have the batch as their *last* axis, where NumPy runs
contiguously. A loop over the layers takes NumPy about 1 µs an operation, however small the batch: where a chain is deep and
alone its states are found on plain floats, to the same bits, and its triangular systems are solved by LAPACK.

Float64 carries 29 bits more than the arithmetic under test through the same condition numbers, so that the truth's own
error is about 2⁻²⁹ of each bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.linalg import get_lapack_funcs

from chainback.activations import Activation, activation
from chainback.case import Case, Chain

__all__ = [
    "Truth",
    "adjoints_of",
    "back_substitute",
    "batch_last",
    "forward_substitute",
    "layers_by_activation",
    "matvec",
    "solve",
    "true_gradient",
]

Array = np.ndarray
(_tbtrs,) = get_lapack_funcs(("tbtrs",), dtype=np.float64)
#: A chain is deep where it has at least so many layers for each number in one of them.
_LAYERS_FOR_ONE = 64


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


def _by_layer(array: Array) -> list[Any]:
    """Return the layers of an array (depth, …, batch): views, or plain floats where a layer is one number."""
    return array.ravel().tolist() if array[:1].size == 1 else list(array)


def _affine(vector: Any) -> Callable[[Any, Any, Any], Any]:
    """Return (matrix, vector, added) to matrix @ vector + added, for arrays or for plain floats."""
    return (lambda w, x, b: w * x + b) if isinstance(vector, float) else (lambda w, x, b: matvec(w, x) + b)


@lru_cache(maxsize=4)
def layers_by_activation(names: tuple[str, ...]) -> dict[str, Array]:
    """Return the layers of each activation, so that a function runs once for all of its layers."""
    groups: dict[str, list[int]] = {}
    for layer, name in enumerate(names):
        groups.setdefault(name, []).append(layer)
    return {name: np.array(layers) for name, layers in groups.items()}


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
    functions = [activation(name) for name in case.chain.activations]
    arguments, states = [], _by_layer(batch_last(case.inputs)[None])
    affine = _affine(*states)

    with np.errstate(all="ignore"):
        for W, b, function in zip(_by_layer(weights), _by_layer(biases), functions, strict=True):
            arguments.append(affine(W, states[-1], b))
            states.append(_value(function, arguments[-1]))
        arguments, states = np.array(arguments).reshape(biases.shape), np.array(states).reshape(-1, *biases.shape[1:])
        slopes = np.empty_like(biases)
        for name, layers in layers_by_activation(case.chain.activations).items():
            slopes[layers] = activation(name).slope(arguments[layers])

        residual = states[-1] - targets
        adjoints = adjoints_of(slopes[:, :, None] * weights, residual)
        return Truth(weights, biases, states, arguments, slopes, residual, adjoints, slopes * adjoints)


def _value(function: Activation, z: Any) -> Any:
    """Return h(z); an activation takes arrays."""
    return function.value(np.array([z])).item() if isinstance(z, float) else function.value(z)


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
    found = [rhs[0]]
    for C, right in zip(couplings, rhs[1:], strict=True):
        found.append(matvec(C, found[-1]) + right)
    return np.array(found)


def is_deep(layers: Float64[Array, "depth width batch"]) -> bool:
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
    seed = np.zeros((len(couplings), *residual.shape))
    seed[-1] = residual
    return back_substitute(couplings[1:], seed)


def true_gradient(case: Case) -> Chain:
    """Return the float64 gradient of ½‖y − ŷ‖² with respect to every weight and bias, shaped as the case's chain."""
    truth = solve(case)
    weights, biases = np.moveaxis(truth.weight_gradients, -1, 0), np.moveaxis(truth.bias_gradients, -1, 0)
    if not case.chain.is_batch:
        weights, biases = weights[0], biases[0]
    return Chain(weights, biases, case.chain.activations)
