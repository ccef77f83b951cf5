"""The truth of a chain: states, slopes, adjoints and gradients in float64, by explicit loops and closed forms.

NumPy and LAPACK only, and nothing of the engines. Arrays have the batch as their *last* axis, where NumPy runs contiguously.
Float64 carries 29 bits more than the arithmetic under test through the same condition numbers, so that the truth's own error
is about 2⁻²⁹ of each bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from chainback.operations.activations import activation
from chainback.operations.arithmetic import Array
from chainback.problems.chain import Case, Chain
from chainback.truth.recurrences import adjoints_of, chunks, is_deep, matvec, newton

__all__ = ["Truth", "batch_last", "layers_by_activation", "solve", "true_gradient"]


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
        recurrence = _States(names, weights, biases, arguments, states)
        for chunk in chunks(len(biases)):
            if not (is_deep(biases) and recurrence.solve(chunk)):
                recurrence.run(chunk)
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

    def run(self, chunk: slice) -> None:
        """Run a chunk of layers, one after the other."""
        for i in range(chunk.start, chunk.stop):
            np.add(matvec(self.weights[i], self.states[i]), self.biases[i], out=self.arguments[i])
            self.states[i + 1] = activation(self.names[i]).value(self.arguments[i])

    def solve(self, chunk: slice) -> bool:
        """Solve a chunk of layers at once, and return whether that succeeded.

        Where a slope jumps, an argument must be the loop's to the bit: such a chunk is left to the loop.
        """
        groups = {activation(name): layers for name, layers in layers_by_activation(self.names[chunk]).items()}
        weights, biases, z = self.weights[chunk], self.biases[chunk], self.arguments[chunk]
        inputs, outputs = self.states[:-1][chunk], self.states[1:][chunk]
        values, slopes = np.empty_like(outputs), np.empty_like(outputs)

        def step() -> tuple[Array, Array]:
            np.add(matvec(weights, inputs), biases, out=z)
            for model, layers in groups.items():
                values[layers], slopes[layers] = model.value(z[layers]), model.slope(z[layers])
            return values, np.abs(values) + matvec(np.abs(weights), np.abs(inputs)) + np.abs(biases)

        return not any(model.kinks for model in groups) and newton(outputs, step, lambda: slopes[:, :, None] * weights)


def true_gradient(case: Case) -> Chain:
    """Return the float64 gradient of ½‖y − ŷ‖² with respect to every weight and bias, shaped as the case's chain."""
    truth = solve(case)
    weights, biases = np.moveaxis(truth.weight_gradients, -1, 0), np.moveaxis(truth.bias_gradients, -1, 0)
    if not case.chain.is_batch:
        weights, biases = weights[0], biases[0]
    return Chain(weights, biases, case.chain.activations)
