"""Recurrences on batches: forward and back substitution on I − L, and Newton's method for x_i = F_i(x_{i−1}).

Arrays have the batch as their *last* axis, where NumPy runs contiguously, and layers as their first. A loop over the layers
costs NumPy the same for each operation, however small the batch. So where a chain is deep and its batch small, a linear
recurrence is solved by LAPACK, and another one for a chunk of layers at once by Newton's method, whose every step is forward
substitution on the chunk's own (I − L). Its result satisfies the recurrence in every layer to 2⁻⁵⁰, which is checked at all
layers; else the caller runs the loop.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float64
from scipy.linalg import get_lapack_funcs

from chainback.operations.arithmetic import Array

__all__ = ["adjoints_of", "back_substitute", "chunks", "forward_substitute", "is_deep", "matvec", "newton", "recur"]

(_tbtrs,) = get_lapack_funcs(("tbtrs",), dtype=np.float64)
#: A chain is deep where it has at least so many layers for each number in one of them.
_LAYERS_FOR_ONE = 64
#: So many layers at once stay within a processor's cache, and are nearly linear.
_CHUNK = 32768
#: Newton's steps in which a chunk must be solved, and the residual at which it is, as a share of the terms' magnitudes.
_STEPS = 12
_CONVERGED = 2.0**-50


def matvec(matrix: Array, vector: Array) -> Array:
    """Return matrix @ vector for each layer and case, batch last."""
    if matrix.shape[-2] == 1:
        return matrix[..., 0, :] * vector
    return np.einsum("...ijb,...jb->...ib", matrix, vector)


@functools.singledispatch
def recur(first: Array, step: Callable[..., Array], *layers: Array) -> Array:
    """Return first, and x_i = step(x_{i−1}, *layer i) for each layer, stacked.

    Another kind of array registers an implementation of its own.
    """
    states = [first]
    for layer in zip(*layers, strict=True):
        states.append(step(states[-1], *layer))
    return np.stack(states)


def is_deep(layers: Float[Array, "depth width batch"]) -> bool:
    """Whether each layer has so few numbers that NumPy should take many layers at once, not one after the other."""
    return len(layers) >= _LAYERS_FOR_ONE * layers[0].size


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
    return recur(rhs[0], lambda previous, C, right: matvec(C, previous) + right, couplings, rhs[1:])


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


def _backslash(couplings: Float64[Array, "links width width"], rhs: Float64[Array, "links+1 width"]) -> Array:
    """Solve (I − L) dx = rhs for one chain: LAPACK's triangular solve, I − L stored by diagonals."""
    depth, width = rhs.shape
    diagonals = np.zeros((2 * width, depth * width), order="F")  # the first, of ones, is not read
    for row in range(width):
        for column in range(width):
            diagonals[width + row - column, column:-width:width] = -couplings[:, row, column]
    return _tbtrs(diagonals, rhs.ravel(), uplo="L", diag="U")[0].reshape(rhs.shape)


def chunks(depth: int) -> list[slice]:
    """Return the layers of a chain, chunk by chunk."""
    return [slice(first, min(first + _CHUNK, depth)) for first in range(0, depth, _CHUNK)]


def newton(
    states: Float64[Array, "depth width batch"],
    step: Callable[[], tuple[Array, Array]],
    couplings: Callable[[], Float64[Array, "depth width width batch"]],
) -> bool:
    """Solve a recurrence x_i = F_i(x_{i−1}) for all layers at once.

    Args:
        states: x_1 … x_N, improved in place, from 0 on.
        step: Returns F_i(x_{i−1}) of the states as they are, and the magnitude of the terms that it is a sum of.
        couplings: Returns F_i' there, approximately.

    Returns:
        Whether it converged.
    """
    for _ in range(_STEPS):
        values, magnitude = step()
        residual = values - states
        if (np.abs(residual) <= _CONVERGED * magnitude).all():
            return True
        if not np.isfinite(residual).all():
            break
        states += forward_substitute(couplings()[1:], residual)
    return False
