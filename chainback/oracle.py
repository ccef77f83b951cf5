"""The truth: states, slopes, adjoints and gradients in float64, by explicit loops and closed forms.

NumPy only, and nothing of the engines. Arrays here have the batch as their *last* axis, where NumPy runs contiguously.
Float64 carries 29 bits more than the arithmetic under test through the same condition numbers, so that the truth's own
error is about 2⁻²⁹ of each bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from chainback.activations import activation
from chainback.case import Case, Chain

__all__ = ["Truth", "back_substitute", "batch_last", "layers_by_activation", "matvec", "solve", "true_gradient"]

Array = np.ndarray


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
    """Return matrix @ vector for each case: (rows, columns, batch) and (columns, batch) to (rows, batch)."""
    if matrix.shape[1] == 1:
        return matrix[:, 0] * vector
    return np.einsum("ijb,jb->ib", matrix, vector)


def layers_by_activation(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Return the layers of each activation, so that a function runs once for all of its layers."""
    groups: dict[str, list[int]] = {}
    for layer, name in enumerate(names):
        groups.setdefault(name, []).append(layer)
    return groups


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
    depth, width, batch = biases.shape
    states = np.empty((depth + 1, width, batch))
    arguments, slopes, adjoints, gradients = (np.empty_like(biases) for _ in range(4))

    with np.errstate(all="ignore"):
        states[0] = batch_last(case.inputs)
        for i in range(depth):
            np.add(matvec(weights[i], states[i]), biases[i], out=arguments[i])
            states[i + 1] = functions[i].value(arguments[i])
        for name, layers in layers_by_activation(case.chain.activations).items():
            slopes[layers] = activation(name).slope(arguments[layers])

        residual = states[-1] - targets
        adjoint = residual
        for i in reversed(range(depth)):
            adjoints[i] = adjoint
            np.multiply(slopes[i], adjoint, out=gradients[i])
            adjoint = matvec(np.swapaxes(weights[i], 0, 1), gradients[i])
    return Truth(weights, biases, states, arguments, slopes, residual, adjoints, gradients)


def back_substitute(couplings: Array, slopes: Array, residual: Array) -> tuple[Array, Array]:
    """Solve (I − L)ᵀ λ = e_N ⊗ r for a system that is given, in float64.

    Args:
        couplings: C_1 … C_N, (depth, width, width, batch).
        slopes: δ, (depth, width, batch).
        residual: r, (width, batch).

    Returns:
        (adjoints λ_1 … λ_N, bias gradients δ ∘ λ), both (depth, width, batch).
    """
    adjoints, adjoint = np.empty_like(slopes), residual
    for i in reversed(range(len(slopes))):
        adjoints[i] = adjoint
        adjoint = matvec(np.swapaxes(couplings[i], 0, 1), adjoint)
    return adjoints, slopes * adjoints


def true_gradient(case: Case) -> Chain:
    """Return the float64 gradient of ½‖y − ŷ‖² with respect to every weight and bias, shaped as the case's chain."""
    truth = solve(case)
    weights, biases = np.moveaxis(truth.weight_gradients, -1, 0), np.moveaxis(truth.bias_gradients, -1, 0)
    if not case.chain.is_batch:
        weights, biases = weights[0], biases[0]
    return Chain(weights, biases, case.chain.activations)
