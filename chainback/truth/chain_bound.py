"""The bound by which each gradient component of a chain is judged: the solve of (I − L)ᵀ with |L| in place of L.

The bound covers every order of evaluation: forward and reverse mode, a dense solve, a scan, a tree. So it follows
*magnitudes* (no sign ever cancels in it), and every rounding on every path from a parameter to the loss enters it.

With u the unit roundoff, q what a factor of a matrix product loses besides, η the smallest normal number, and |·| taken
componentwise, from E_x = 0 on, for each layer:

    E_z = |W| E_x + (γ_{n+1} + q)(|W|(|x| + E_x) + |b|) + underflow      the affine map, in any order, with or without FMA
    E_δ = |h''| E_z + ½ sup|h'''| E_z² + c_s u σ_s + η(1 + |z|)          the slope: moved argument, rounding of its rule
    E_x = |h'| E_z + ½ sup|h''| E_z² + c_v u (σ_v + |h'| E_z) + η(1 + |z|)

with the suprema over |ξ − z| <= E_z. Where x is exact, and the terms of an affine map are multiples of a power of two that
is so large, beside their sum, that no partial sum needs a 25th bit, every order gives the same bits: E_z = 0. That decides
which side of a kink an argument lies on, and that ReLU'(0) is 0. And back, from Λ = |r| on, the magnitude adjoint:

    G   = |δ| Λ                                E_g = |δ| E_Λ + E_δ (Λ + E_Λ) + rounding          bound of db
    |x| : G |x|ᵀ                               E_W = E_g |x|ᵀ + (G + E_g) E_xᵀ + rounding        bound of dW
    Λ   ← |W|ᵀ G                               E_Λ ← |W|ᵀ E_g + (γ_n + q)|W|ᵀ (G + E_g)

Underflow can strike any partial product of couplings, and is then multiplied by what lies on either side of it, and by
up to 1 + |z| inside the rule of a curved activation (SiLU's slope is s + z s'): 8 N n² η K (1 + max|z|) is added to every
bound, where K bounds every product of couplings. Reverse mode forms δ ∘ λ before it multiplies by |W|, which no product of
couplings bounds: so η (1 + |z|) enters E_g, and 2 n η enters E_Λ, in every layer. Where the term for underflow exceeds the
gradient itself the bound is vacuous: such a case is undecided. Overflow in *some* order is legitimate when a contiguous
product of couplings nears the largest float: such a case is undecided.

The result of an engine that shows its system can be judged in two steps, apart. Its *linearisation*, by E_x, E_δ and
|W| E_δ: as exact as the conditioning of the chain allows. And its *substitution*, on the very system that it computed: with
C, δ and x as they are, only the products and sums of the solve round, and the bound is a count of them,

    Λ ← |C|ᵀ Λ          E_Λ ← |C|ᵀ E_Λ + (γ_n + q)|C|ᵀ (Λ + E_Λ) + 2 n η

without a condition number in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from chainback.operations.activations import activation
from chainback.operations.arithmetic import FLOAT32, Arithmetic, Array, gamma
from chainback.problems.chain import Case
from chainback.truth import chain_gradient
from chainback.truth.chain_forward_error import ForwardErrorBounds, flushed_magnitudes, forward_error_bounds
from chainback.truth.chain_gradient import Truth, batch_last
from chainback.truth.envelope import Block, Envelope, components_of
from chainback.truth.recurrences import adjoints_of, back_substitute, matvec

__all__ = [
    "Derived",
    "ErrorBounds",
    "envelope",
    "gradient_blocks",
    "gradient_error_bounds",
    "linearisation",
    "linearisation_blocks",
    "substitution",
]

#: A product of couplings, residual and states may come this close to the largest float before its case is undecided: 24
#: bits, far more than the bounds of its factors can add.
_HEADROOM = 2.0**24
#: A term for underflow below this is no obstacle, however small the gradient.
_NEGLIGIBLE = 2.0**-100


@dataclass(frozen=True)
class ErrorBounds:
    """Error bounds of every quantity of a case, batch last, each in the quantity's own unit.

    Attributes:
        arguments: E_z.
        states: E_x of x_0 … x_N.
        slopes: E_δ.
        adjoints: E_Λ of λ_1 … λ_N.
        adjoint_magnitudes: Λ, the adjoint without cancellation.
        weight_gradients: Bound of dW.
        bias_gradients: Bound of db.
        underflow: What underflow of a partial product may add to any gradient or adjoint; the two bounds above contain it.
        decided: Whether nothing can overflow, whatever the order.
    """

    arguments: Float64[Array, "depth width batch"]
    states: Float64[Array, "depth+1 width batch"]
    slopes: Float64[Array, "depth width batch"]
    adjoints: Float64[Array, "depth width batch"]
    adjoint_magnitudes: Float64[Array, "depth width batch"]
    weight_gradients: Float64[Array, "depth width width batch"]
    bias_gradients: Float64[Array, "depth width batch"]
    underflow: Float64[Array, " batch"]
    decided: Bool[Array, " batch"]


@dataclass(frozen=True)
class Derived(Envelope):
    """An envelope, with all that it was derived from.

    Attributes:
        truth: The quantities that the reference is made of.
        error_bounds: Theirs, which the bound is made of.
    """

    truth: Truth
    error_bounds: ErrorBounds


def gradient_blocks(depth: int, width: int) -> tuple[Block, ...]:
    """Return the blocks of a chain's gradient: dW_1 … dW_N, then db_1 … db_N."""
    return Block("dW", (depth, width, width), by_layer=True), Block("db", (depth, width), by_layer=True)


def linearisation_blocks(depth: int, width: int) -> tuple[Block, ...]:
    """Return the blocks of a chain's linearisation: x_1 … x_N, then every slope, then every coupling."""
    vectors, matrices = (depth, width), (depth, width, width)
    return (
        Block("state", vectors, by_layer=True),
        Block("slope", vectors, by_layer=True),
        Block("coupling", matrices, by_layer=True),
    )


def _rows(*parts: Array) -> Array:
    """Join arrays with the batch as their last axis into rows (batch, components)."""
    return components_of(*(np.moveaxis(part, -1, 0) for part in parts))


def envelope(case: Case, arithmetic: Arithmetic = FLOAT32) -> Derived:
    """Return the truth of each gradient component of a case, or batch of cases, and its bound.

    Args:
        case: Its numbers are taken as exact.
        arithmetic: How the gradients under judgement were computed.

    Accuracy: The bound holds for every order of evaluation of the chain's gradient, given the rounding models of its
        activations, wherever `decided`. It is first order in E_z, with the second-order terms kept.

    Source: Higham (2002), sections 3.1 and 8.2; Linnainmaa, *Taylor expansion of the accumulated rounding error*
        (1976), for the adjoint as the carrier of rounding errors. Derived in the docstring of this module.
    """
    truth, names = chain_gradient.solve(case), case.chain.activations
    with np.errstate(all="ignore"):
        flushed = flushed_magnitudes(truth.weights, arithmetic)
        forward = forward_error_bounds(truth, names, flushed, arithmetic)
        curved = np.array([activation(name).second_max > 0.0 for name in names])
        error_bounds = gradient_error_bounds(truth, forward, flushed, curved, arithmetic)
    return _gradient_envelope(truth, error_bounds, arithmetic)


def _gradient_envelope(truth: Truth, error_bounds: ErrorBounds, arithmetic: Arithmetic) -> Derived:
    gradients = _rows(truth.weight_gradients, truth.bias_gradients)
    bounds = _rows(error_bounds.weight_gradients, error_bounds.bias_gradients)
    # An infinite bound would accept anything: where one comes out, nothing is decided. A bound holds u times the
    # gradient's magnitude, and is not finite where the gradient is not.
    decided = error_bounds.decided & np.isfinite(bounds).all(axis=1)
    return Derived(gradients, bounds, decided, arithmetic, gradient_blocks(*_shape(truth)), truth, error_bounds)


def _shape(truth: Truth) -> tuple[int, int]:
    depth, width, _ = truth.biases.shape
    return depth, width


def linearisation(within: Derived) -> Derived:
    """Return truth and bound of x_1 … x_N, of every slope and of every coupling, from the envelope of the gradient."""
    truth, error_bounds, arithmetic = within.truth, within.error_bounds, within.arithmetic
    weights, slopes = np.abs(truth.weights), truth.slopes[:, :, None]
    with np.errstate(all="ignore"):
        couplings = slopes * truth.weights
        bound = error_bounds.slopes[:, :, None] * weights
        bound = bound + arithmetic.unit_roundoff * (np.abs(couplings) + bound)
        # A coupling may underflow, and a subnormal weight or slope be read as zero.
        bound = bound + 2.0 * arithmetic.smallest_normal * np.maximum(1.0, np.maximum(weights, np.abs(slopes)))
        reference = _rows(truth.states[1:], truth.slopes, couplings)
        bounds = _rows(error_bounds.states[1:], error_bounds.slopes, bound)
    decided = within.decided & np.isfinite(bounds).all(axis=1)
    blocks = linearisation_blocks(*_shape(truth))
    return Derived(reference, bounds, decided, arithmetic, blocks, truth, error_bounds)


def substitution(
    case: Case,
    couplings: Float[Array, "batch depth width width"],
    slopes: Float[Array, "batch depth width"],
    states: Float[Array, "batch depth+1 width"],
    arithmetic: Arithmetic = FLOAT32,
) -> Derived:
    """Return the gradient that back substitution must find on a system as it was computed, and its bound.

    Args:
        case: The case, or batch of cases; its targets enter the residual.
        couplings: C, taken as exact, right or wrong.
        slopes: δ, likewise.
        states: x_0 … x_N, likewise.
        arithmetic: How the system was solved.

    Returns:
        Its truth holds λ and the gradient of the computed system; its bound grows with the number of operations alone.

    Source: Higham (2002), theorem 8.5, with paths of the chain in place of rows.
    """
    case = case.as_batch()
    with np.errstate(all="ignore"):
        C, δ, x, y = (batch_last(a) for a in (couplings, slopes, states, case.targets))
        weights, biases = batch_last(case.chain.weights), batch_last(case.chain.biases)
        r = x[-1] - y
        λ = adjoints_of(C, r)
        truth = Truth(weights, biases, x, np.full_like(biases, np.nan), δ, r, λ, δ * λ)
        return _gradient_envelope(truth, _substitution_error_bounds(truth, np.abs(C), arithmetic), arithmetic)


def _substitution_error_bounds(truth: Truth, couplings: Array, arithmetic: Arithmetic) -> ErrorBounds:
    u, q, tiny = arithmetic.unit_roundoff, arithmetic.product_roundoff, arithmetic.smallest_normal
    width = truth.biases.shape[1]
    slopes, states = np.abs(truth.slopes), np.abs(truth.states)
    κ = gamma(width, u) + q
    flushed = flushed_magnitudes(couplings, arithmetic)
    residual = np.abs(truth.residual)
    magnitudes = adjoints_of(couplings, residual)
    rhs = np.empty_like(truth.biases)
    rhs[-1] = u * residual + tiny
    rhs[:-1] = matvec(np.swapaxes((1.0 + κ) * flushed + κ * couplings, 1, 2), magnitudes)[1:] + 2 * width * tiny
    E_Λ = back_substitute((1.0 + κ) * (couplings + flushed)[1:], rhs)
    gradients = np.abs(truth.bias_gradients)
    E_g = slopes * E_Λ + flushed_magnitudes(slopes, arithmetic) * (np.abs(truth.adjoints) + E_Λ)
    E_g += u * (gradients + E_g) + tiny
    E_W = E_g[:, :, None] * states[:-1, None]
    E_W += flushed_magnitudes(states[:-1], arithmetic)[:, None] * (gradients + E_g)[:, :, None]
    E_W += u * (gradients[:, :, None] * states[:-1, None] + E_W) + tiny
    ends = np.maximum(1.0, np.abs(truth.residual).max(axis=0)) * np.maximum(1.0, states.max(axis=(0, 1)))
    ends = ends * np.maximum(1.0, slopes.max(axis=(0, 1)))
    underflow, decided = _partial_products(truth, _norms(couplings), ends, tiny, arithmetic)
    zero = np.zeros_like(truth.biases)
    E_W, E_g = E_W + underflow, E_g + underflow
    return ErrorBounds(zero, np.zeros_like(states), zero, E_Λ, magnitudes, E_W, E_g, underflow, decided)


def gradient_error_bounds(
    truth: Truth,
    forward: ForwardErrorBounds,
    flushed: Array,
    curved: Bool[Array, " depth"],
    arithmetic: Arithmetic,
) -> ErrorBounds:
    """Return the error bounds of every quantity of a chain: the backward half, after the forward one.

    Args:
        truth: The case, solved.
        forward: The error bounds of its forward quantities.
        flushed: The magnitudes of W that may be flushed to zero.
        curved: Which activations are curved.
        arithmetic: How the gradients under judgement were computed.
    """
    u, q, tiny = arithmetic.unit_roundoff, arithmetic.product_roundoff, arithmetic.smallest_normal
    E_z, E_x, E_δ, _ = forward
    weights, biases = np.abs(truth.weights), np.abs(truth.biases)
    states, slopes = np.abs(truth.states), np.abs(truth.slopes)
    width = biases.shape[1]
    # The seed is r = x_N − y, and forward mode ends in an inner product with it. E_g = factor E_Λ + local_error.
    slope_underflow = tiny * (1.0 + np.where(curved[:, None, None], np.abs(truth.arguments), 0.0))
    residual = np.abs(truth.residual)
    size = residual + E_x[-1]
    κ = gamma(width, u) + q
    # A subnormal weight counts twice: as it is, and as what is lost where it is flushed.
    counted = weights + flushed if flushed.any() else weights
    Λ = adjoints_of(slopes[:, :, None] * counted, residual)
    G = slopes * Λ
    factor = (1.0 + u) * (slopes + E_δ)
    local_error = (1.0 + u) * E_δ * Λ + u * G + slope_underflow
    rhs = np.empty_like(biases)
    rhs[-1] = E_x[-1] + (gamma(width + 1, u) + q) * size + 2 * tiny
    rhs[:-1] = matvec(np.swapaxes(counted, 1, 2), (1.0 + κ) * local_error + κ * G)[1:] + 2 * width * tiny
    if flushed.any():
        rhs[:-1] = rhs[:-1] + matvec(np.swapaxes(flushed, 1, 2), G)[1:]
    E_Λ = back_substitute(((1.0 + κ) * factor)[1:, :, None] * counted[1:], rhs)
    E_g = factor * E_Λ + local_error
    E_W = E_g[:, :, None] * states[:-1, None] + (G + E_g)[:, :, None] * E_x[:-1, None]
    E_W += (u + q) * (G[:, :, None] * states[:-1, None] + E_W)

    ends = np.maximum(1.0, size.max(axis=0)) * np.maximum(1.0, (states + E_x).max(axis=(0, 1)))
    norms = _norms(weights * (slopes + E_δ)[:, :, None])
    underflow, decided = _partial_products(truth, norms, ends, slope_underflow.max(axis=(0, 1)), arithmetic)
    largest = (matvec(weights, states[:-1] + E_x[:-1]) + biases).max(axis=(0, 1)) * _HEADROOM
    decided &= largest < arithmetic.largest
    return ErrorBounds(E_z, E_x, E_δ, E_Λ, Λ, E_W + underflow, E_g + underflow, underflow, decided)


def _norms(couplings: Float64[Array, "depth width width batch"]) -> Float64[Array, "depth batch"]:
    """Return the larger of ‖|C|‖₁ and ‖|C|‖_∞ for each layer, of magnitudes of couplings."""
    return np.maximum(couplings.sum(axis=2).max(axis=1), couplings.sum(axis=1).max(axis=1))


def _partial_products(
    truth: Truth, norms: Array, ends: Array, loss: Array | float, arithmetic: Arithmetic
) -> tuple[Float64[Array, " batch"], Bool[Array, " batch"]]:
    """Return what underflow of a partial product may add to a gradient, and where that is little and nothing overflows.

    Args:
        truth: The gradient, and the shapes.
        norms: For each layer the larger of ‖|C|‖₁ and ‖|C|‖_∞.
        ends: The factors at the two ends of a product of couplings: residual and state.
        loss: The most that one underflow loses.
        arithmetic: The range.
    """
    depth, width = truth.biases.shape[:2]
    total, peak = _products(norms[1:])  # C_1 multiplies dx_0 = 0
    underflow = 8.0 * depth * width**2 * total * ends * loss
    largest = width**2 * peak * ends * _HEADROOM
    # A term for underflow that is neither negligible nor below the gradient itself would accept anything.
    gradient = np.maximum(
        np.abs(truth.bias_gradients).max(axis=(0, 1)), np.abs(truth.weight_gradients).max(axis=(0, 1, 2))
    )
    vacuous = underflow > np.maximum(gradient, _NEGLIGIBLE)
    return underflow, (largest < arithmetic.largest) & ~vacuous


def _products(norms: Float64[Array, "depth batch"]) -> tuple[Array, Array]:
    """Bound the products of couplings that an order of evaluation may form.

    Args:
        norms: For each layer the larger of the two norms ‖|C|‖₁ and ‖|C|‖_∞.

    Returns:
        K: A bound on the product of a contiguous run of couplings with any further run beside it.
        peak: The largest product of one contiguous run (or 1).
    """
    every = np.maximum(1.0, norms).prod(axis=0)
    # Runs of layers, joined two by two: the product of all of one, the largest from its start, to its end, anywhere.
    padding = 2 ** (len(norms) - 1).bit_length() - len(norms)
    whole = np.concatenate([norms, np.ones_like(norms, shape=(padding, norms.shape[1]))])
    head = tail = peak = np.maximum(1.0, whole)
    while len(whole) > 1:
        first, second = slice(0, None, 2), slice(1, None, 2)
        peak = np.maximum(np.maximum(peak[first], peak[second]), tail[first] * head[second])
        head = np.maximum(head[first], whole[first] * head[second])
        tail = np.maximum(tail[second], tail[first] * whole[second])
        whole = whole[first] * whole[second]
    return np.minimum(every, peak[0] ** 2), peak[0]
