"""The forward half of the bound: how far each argument, state and slope of a chain may lie from the truth.

The formulas are the first three in the docstring of `bounds.py`; here they run. Their recursion E_{i+1} = F_i(E_i) is not
linear, and its loop takes NumPy about 40 µs a layer, however small the batch; where a chain is deep and alone it is solved
for blocks of layers at once, as the states are in `oracle.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from chainback.operations.activations import activation
from chainback.operations.arithmetic import Arithmetic, gamma
from chainback.operations.elementwise import Activation, Array
from chainback.truth.chain_gradient import Truth, blocks, is_deep, layers_by_activation, matvec, newton

__all__ = ["Forward", "forward_spread", "of_input"]


class Forward(NamedTuple):
    """How far a chain's forward quantities may lie from the truth, batch last.

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


def of_input(x: Float64[Array, "width batch"], arithmetic: Arithmetic) -> tuple[Array, Array]:
    """Return E_x of x_0, and whether it has the same bits in any order: what an engine reads of its input."""
    size = np.abs(x)
    # A subnormal operand may be read as zero: it is then wrong by its whole size.
    unread = np.where(size < arithmetic.smallest_normal, size, 0.0)
    return unread, np.full_like(size, arithmetic.product_roundoff == 0.0, dtype=bool)


def forward_spread(
    truth: Truth,
    names: tuple[str, ...],
    lost: Array,
    arithmetic: Arithmetic,
    before: tuple[Array, Array] | None = None,
) -> Forward:
    """Return how far the forward quantities of a chain may lie from the truth.

    Args:
        truth: The chain, solved.
        names: Its activations.
        lost: What |W| loses where subnormal numbers are read as zero.
        arithmetic: How the engine under judgement computes.
        before: E_x of x_0, and whether it is exact, where x_0 is a state of a longer chain.
    """
    recursion = _Recursion(truth, names, lost, arithmetic, before or of_input(truth.states[0], arithmetic))
    deep = is_deep(truth.biases)
    for block in blocks(len(names)):
        if not (deep and recursion.solve(block)):
            recursion.run(block)
    return Forward(recursion.E_z, recursion.E_x, recursion.E_δ, recursion.exact_states)


class _Recursion:
    """E_{i+1} = F_i(E_i), with all that F_i is made of, layer by layer; E_z, E_x and E_δ are filled in as it runs."""

    def __init__(
        self,
        truth: Truth,
        names: tuple[str, ...],
        lost: Array,
        arithmetic: Arithmetic,
        before: tuple[Array, Array],
    ) -> None:
        self.names, self.arguments, self.lost = names, truth.arguments, lost
        self.u, tiny = arithmetic.unit_roundoff, arithmetic.smallest_normal
        biases, states = np.abs(truth.biases), np.abs(truth.states)
        self.weights, self.slopes = np.abs(truth.weights), np.abs(truth.slopes)
        self.behaviour, self.value_rounding, self.slope_rounding = _local_behaviour(truth, names, arithmetic)
        self.exact_arguments, self.exact_states = _exact(
            names, self.weights, states, biases, self.behaviour[4], before[1], arithmetic
        )
        self.E_z, self.E_x, self.E_δ = (np.zeros_like(a) for a in (biases, states, biases))
        self.E_x[0] = before[0]
        self.any_lost = lost.any()
        width = biases.shape[1]
        self.affine = gamma(width + 1, self.u) + arithmetic.product_roundoff
        #: E_z where E_x is 0.
        self.own = self.affine * (matvec(self.weights, states[:-1]) + biases) + (2 * width + 2) * tiny
        self.own += np.where(biases < tiny, biases, 0.0)
        if self.any_lost:
            self.own += matvec(lost, states[:-1])

    def through(self, name: str, layers: int | Array) -> Array:
        """Return F_i(E_i) of one layer, or of some that share an activation; E_z and E_δ are noted on the way."""
        before = self.E_x[layers]
        E_z = (1.0 + self.affine) * matvec(self.weights[layers], before) + self.own[layers]
        if self.any_lost:
            E_z += matvec(self.lost[layers], before)
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

    def run(self, block: slice) -> None:
        """Run a block of layers, one after the other."""
        for i in range(block.start, block.stop):
            self.E_x[i + 1] = self.through(self.names[i], i)

    def solve(self, block: slice) -> bool:
        """Solve a block of layers at once, and say whether that succeeded."""
        groups = layers_by_activation(self.names[block])
        found = np.empty_like(self.slopes[block])

        def step() -> tuple[Array, Array]:
            for name, layers in groups.items():
                found[layers] = self.through(name, block.start + layers)
            return found, found

        def couplings() -> Array:
            # F' is about the slope, and how far it may move before its own rounding.
            moved = self.slopes[block] + self.E_δ[block] - self.slope_rounding[block]
            return (1.0 + self.affine) * moved[:, :, None] * self.weights[block]

        return newton(self.E_x[1:][block], step, couplings)


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
    arguments, behind = (np.zeros_like(biases, dtype=bool) for _ in range(2))
    exact: Any = input_exact
    for i, name in enumerate(names):
        exact = exact.all(axis=0) & (activation(name).second_max == 0.0)
        if not exact.any():
            break
        arguments[i] = exact & _exact_in_any_order(
            weights[i], states[i], biases[i], arithmetic.unit_roundoff, arithmetic.smallest_normal
        )
        exact = behind[i] = arguments[i] & (value_scales[i] == 0.0)
    return arguments, behind


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
    granule = np.minimum((_lowest_bit(weights) * _lowest_bit(states)).min(axis=1), _lowest_bit(biases))
    total = matvec(weights, states) + biases
    return (granule >= tiny) & (total * u <= granule)


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
        # Within a spread of 1 / rate the decay still counts; beyond it the global maxima stand.
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
