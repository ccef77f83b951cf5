"""The forward half of a chain's bound: error bounds of each argument, state and slope.

The formulas are the first three of `chain_bound`. Their recurrence E_{i+1} = F_i(E_i) is not linear; where a chain is deep
and its batch small it is solved for chunks of layers at once, as the states are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from chainback.operations.activations import activation
from chainback.operations.arithmetic import Arithmetic, Array, gamma
from chainback.operations.elementwise import Activation
from chainback.truth.chain_gradient import Truth, layers_by_activation
from chainback.truth.recurrences import chunks, is_deep, matvec, newton

__all__ = ["ForwardErrorBounds", "flushed_magnitudes", "forward_error_bounds", "input_error_bound"]


class ForwardErrorBounds(NamedTuple):
    """Error bounds of a chain's forward quantities, batch last, each in the quantity's own unit.

    Attributes:
        arguments: E_z of z_1 … z_N.
        states: E_x of x_0 … x_N.
        slopes: E_δ of δ_1 … δ_N.
        exact: Which of x_1 … x_N have the same bits in any order of evaluation.
    """

    arguments: Float64[Array, "depth width batch"]
    states: Float64[Array, "depth+1 width batch"]
    slopes: Float64[Array, "depth width batch"]
    exact: Bool[Array, "depth width batch"]


def flushed_magnitudes(operand: Array, arithmetic: Arithmetic) -> Array:
    """Return |operand| where it is subnormal, so that hardware may flush it to zero; elsewhere 0."""
    magnitude = np.abs(operand)
    return np.where(magnitude < arithmetic.smallest_normal, magnitude, 0.0)


def input_error_bound(x: Float64[Array, "width batch"], arithmetic: Arithmetic) -> tuple[Array, Array]:
    """Return E_x of x_0, and whether an engine reads x_0 exactly: not where a product rounds its factors."""
    return flushed_magnitudes(x, arithmetic), np.full_like(x, arithmetic.product_roundoff == 0.0, dtype=bool)


def forward_error_bounds(
    truth: Truth,
    names: tuple[str, ...],
    flushed: Array,
    arithmetic: Arithmetic,
    start: tuple[Array, Array] | None = None,
) -> ForwardErrorBounds:
    """Return the error bounds of a chain's forward quantities.

    Args:
        truth: The chain, solved.
        names: Its activations.
        flushed: The magnitudes of W that may be flushed to zero.
        arithmetic: How the engine under judgement computes.
        start: E_x of x_0, and whether it is exact, where x_0 is a state of a longer chain.
    """
    recurrence = _Recurrence(truth, names, flushed, arithmetic, start or input_error_bound(truth.states[0], arithmetic))
    deep = is_deep(truth.biases)
    for chunk in chunks(len(names)):
        if not (deep and recurrence.solve(chunk)):
            recurrence.run(chunk)
    return ForwardErrorBounds(recurrence.E_z, recurrence.E_x, recurrence.E_δ, recurrence.exact_states)


class _Recurrence:
    """E_{i+1} = F_i(E_i), with all that F_i is made of, layer by layer; E_z, E_x and E_δ are filled in as it runs."""

    def __init__(
        self,
        truth: Truth,
        names: tuple[str, ...],
        flushed: Array,
        arithmetic: Arithmetic,
        start: tuple[Array, Array],
    ) -> None:
        self.names, self.arguments, self.flushed = names, truth.arguments, flushed
        self.u, tiny = arithmetic.unit_roundoff, arithmetic.smallest_normal
        biases, states = np.abs(truth.biases), np.abs(truth.states)
        self.weights, self.slopes = np.abs(truth.weights), np.abs(truth.slopes)
        self.behaviour, self.value_rounding, self.slope_rounding = _local_behaviour(truth, names, arithmetic)
        self.exact_arguments, self.exact_states = _exact(
            names, self.weights, states, biases, self.behaviour[4], start[1], arithmetic
        )
        self.E_z, self.E_x, self.E_δ = (np.zeros_like(a) for a in (biases, states, biases))
        self.E_x[0] = start[0]
        self.any_flushed = flushed.any()
        width = biases.shape[1]
        self.affine = gamma(width + 1, self.u) + arithmetic.product_roundoff
        #: E_z where E_x is 0.
        self.local_error = self.affine * (matvec(self.weights, states[:-1]) + biases) + (2 * width + 2) * tiny
        self.local_error += np.where(biases < tiny, biases, 0.0)
        if self.any_flushed:
            self.local_error += matvec(flushed, states[:-1])

    def propagate(self, name: str, layers: int | Array) -> Array:
        """Return F_i(E_i) of one layer, or of some that share an activation; their E_z and E_δ are stored."""
        previous = self.E_x[layers]
        E_z = (1.0 + self.affine) * matvec(self.weights[layers], previous) + self.local_error[layers]
        if self.any_flushed:
            E_z += matvec(self.flushed[layers], previous)
        np.copyto(E_z, 0.0, where=self.exact_arguments[layers])
        E_x, E_δ = _through_activation(
            activation(name),
            self.arguments[layers],
            self.slopes[layers],
            E_z,
            self.behaviour[:, layers],
            self.value_rounding[layers],
            self.slope_rounding[layers],
            self.u,
        )
        np.copyto(E_x, 0.0, where=self.exact_states[layers])
        self.E_z[layers], self.E_δ[layers] = E_z, E_δ
        return E_x

    def run(self, chunk: slice) -> None:
        """Run a chunk of layers, one after the other."""
        for i in range(chunk.start, chunk.stop):
            self.E_x[i + 1] = self.propagate(self.names[i], i)

    def solve(self, chunk: slice) -> bool:
        """Solve a chunk of layers at once, and return whether that succeeded."""
        groups = layers_by_activation(self.names[chunk])
        bounds = np.empty_like(self.slopes[chunk])

        def step() -> tuple[Array, Array]:
            for name, layers in groups.items():
                bounds[layers] = self.propagate(name, chunk.start + layers)
            return bounds, bounds

        def couplings() -> Array:
            # F' is about the slope, and how far it may move before its own rounding.
            moved = self.slopes[chunk] + self.E_δ[chunk] - self.slope_rounding[chunk]
            return (1.0 + self.affine) * moved[:, :, None] * self.weights[chunk]

        return newton(self.E_x[1:][chunk], step, couplings)


def _exact(
    names: tuple[str, ...],
    weights: Array,
    states: Array,
    biases: Array,
    value_scales: Array,
    input_exact: Array,
    arithmetic: Arithmetic,
) -> tuple[Bool[Array, "depth width batch"], Bool[Array, "depth width batch"]]:
    """Return which arguments, and which states behind them, have the same bits in any order of evaluation.

    All arrays but `input_exact` are magnitudes. Exactness ends with the first activation that is curved.
    """
    exact_arguments, exact_states = (np.zeros_like(biases, dtype=bool) for _ in range(2))
    exact: Any = input_exact
    for i, name in enumerate(names):
        exact = exact.all(axis=0) & (activation(name).second_max == 0.0)
        if not exact.any():
            break
        exact_arguments[i] = exact & _exact_in_any_order(
            weights[i], states[i], biases[i], arithmetic.unit_roundoff, arithmetic.smallest_normal
        )
        exact = exact_states[i] = exact_arguments[i] & (value_scales[i] == 0.0)
    return exact_arguments, exact_states


def _local_behaviour(truth: Truth, names: tuple[str, ...], arithmetic: Arithmetic) -> tuple[Array, Array, Array]:
    """Return |h''|, T₂, T₃, the rate and σ_v of every layer, and what rounding adds to its value and to its slope."""
    u, tiny = arithmetic.unit_roundoff, arithmetic.smallest_normal
    behaviour = np.empty_like(truth.arguments, shape=(5, *truth.arguments.shape))
    value, slope = np.empty_like(truth.arguments), np.empty_like(truth.arguments)
    for name, layers in layers_by_activation(names).items():
        z, model = truth.arguments[layers], activation(name)
        local = model.local(z)
        for k, quantity in enumerate(local[:5]):
            behaviour[k, layers] = quantity
        underflow = tiny * (1.0 + np.abs(z))
        value[layers] = model.value_rounding * u * local.value_scale + underflow
        slope[layers] = model.slope_rounding * u * local.slope_scale + underflow
    return behaviour, value, slope


def _exact_in_any_order(
    weights: Array, states: Array, biases: Array, u: float, tiny: float
) -> Bool[Array, "width batch"]:
    """Return where W x + b has the same bits in any order, with or without fused multiply-add; all arguments are magnitudes.

    Every term is a multiple of some power of two; if the sum of all is at most 1 / u of them, so is each partial sum.
    """
    unit = np.minimum((_lowest_bit(weights) * _lowest_bit(states)).min(axis=1), _lowest_bit(biases))
    total = matvec(weights, states) + biases
    return (unit >= tiny) & (total * u <= unit)


def _lowest_bit(values: Array) -> Array:
    """Return the largest power of two that divides each float64 number; infinity for 0."""
    mantissas, exponents = np.frexp(values)
    integers = (mantissas * 2.0**53).astype(np.int64)
    return np.where(values == 0.0, np.inf, np.ldexp(integers & -integers, exponents - 53))


def _through_activation(
    model: Activation,
    z: Array,
    slope: Array,
    E_z: Array,
    local: Array,
    value_rounding: Array,
    slope_rounding: Array,
    u: float,
) -> tuple[Array, Array]:
    """Return E_x and E_δ behind one activation whose argument lies within E_z of z."""
    if model.second_max == 0.0:  # linear but for its kinks
        E_x, E_δ = slope * E_z, slope_rounding
    else:
        curvature, second, third, rate, _ = local
        # Up to E_z = 1 / rate the decay still counts; beyond it the global maxima stand.
        growth = np.where(rate * E_z <= 1.0, np.exp(rate * E_z), np.inf)
        second, third = np.fmin(model.second_max, second * growth), np.fmin(model.third_max, third * growth)
        for crease in model.creases:
            curvature = np.where(np.abs(z - crease) <= E_z, second, curvature)
        second = np.fmin(second, curvature + third * E_z)
        E_x = (slope + 0.5 * second * E_z) * E_z
        E_δ = (curvature + 0.5 * third * E_z) * E_z + slope_rounding
    E_x = E_x + value_rounding + model.value_rounding * u * slope * E_z
    low, high = model.slope_range
    # A slope from the far side of a kink is rounded as large slopes are, wherever z lies.
    jump = high - low + slope_rounding + model.slope_rounding * u * model.lipschitz
    for kink in model.kinks:
        near = (np.abs(z - kink) <= E_z) & ((E_z > 0.0) | (not model.settled))
        E_x = np.where(near, np.maximum(E_x, model.lipschitz * E_z + value_rounding), E_x)
        E_δ = np.where(near, jump, E_δ)
    # No implementation leaves the activation's range by more than its own rounding.
    E_δ = np.minimum(E_δ, jump)
    return np.minimum(E_x, model.value_range[1] - model.value_range[0] + value_rounding), E_δ
