"""The bound by which each gradient component is judged: the solve of (I − L)ᵀ, once more, with |L| in place of L.

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
couplings bounds: so η (1 + |z|) enters E_g, and 2 n η enters E_Λ, in every layer. Where the allowance for underflow exceeds
the gradient itself the bound would prove nothing: such a case is undecided. Overflow in *some* order is legitimate when a
contiguous product of couplings nears the largest float: such a case is undecided.

An engine that shows its system can be judged in two steps, apart. Its *linearisation*, by E_x, E_δ and |W| E_δ: as exact as
the conditioning of the chain allows. And its *substitution*, on the very system that it computed: with C, δ and x as they
are, only the products and sums of the solve round, and the bound is a count of them,

    Λ ← |C|ᵀ Λ          E_Λ ← |C|ᵀ E_Λ + (γ_n + q)|C|ᵀ (Λ + E_Λ) + 2 n η

without a condition number in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from chainback.operations.activations import activation
from chainback.operations.arithmetic import FLOAT32, Arithmetic, gamma
from chainback.operations.elementwise import Array
from chainback.problems.chain import Case
from chainback.truth import chain_gradient
from chainback.truth.chain_forward_error import Forward, forward_spread
from chainback.truth.chain_gradient import Truth, matvec

__all__ = [
    "GRADIENT",
    "LINEARISATION",
    "Derived",
    "Envelope",
    "Spread",
    "components_of",
    "envelope",
    "gradient_spread",
    "linearisation",
    "substitution",
    "unread",
]


#: What the components of an envelope are, in their order: a name, and whether each layer has a matrix (2) or a vector (1).
GRADIENT = (("dW", 2), ("db", 1))
LINEARISATION = (("state", 1), ("slope", 1), ("coupling", 2))

#: A product of couplings, residual and states may come this close to the largest float before its case is undecided: 24
#: bits, far more than the bounds of its factors can add.
_HEADROOM = 2.0**24
#: An allowance for underflow below this is no obstacle, however small the gradient.
_NEGLIGIBLE = 2.0**-100


@dataclass(frozen=True)
class Spread:
    """How far each intermediate quantity of a case may lie from the truth, batch last, in the quantity's own unit.

    Attributes:
        arguments: E_z.
        states: E_x of x_0 … x_N.
        slopes: E_δ.
        adjoints: E_Λ of λ_1 … λ_N.
        adjoint_magnitudes: Λ, the adjoint without cancellation.
        weight_gradients: Bound of dW.
        bias_gradients: Bound of db.
        decided: Whether nothing can overflow, whatever the order.
    """

    arguments: Float64[Array, "depth width batch"]
    states: Float64[Array, "depth+1 width batch"]
    slopes: Float64[Array, "depth width batch"]
    adjoints: Float64[Array, "depth width batch"]
    adjoint_magnitudes: Float64[Array, "depth width batch"]
    weight_gradients: Float64[Array, "depth width width batch"]
    bias_gradients: Float64[Array, "depth width batch"]
    decided: Bool[Array, " batch"]


@dataclass(frozen=True)
class Envelope:
    """For each component of each case: the truth, and the distance from it within which an answer is right.

    The components of a case stand in one row: of a gradient dW_1 … dW_N (row-major), then db_1 … db_N.

    Attributes:
        reference: The truth, in float64.
        bound: The largest |error| a correct implementation can show, in the gradient's unit; positive.
        decided: Whether the bound holds for the case: False where some order of evaluation may overflow.
        arithmetic: The arithmetic for which it holds.
        shape: (depth, width) of the chains.
        layout: What the components are.
    """

    reference: Float64[Array, "batch components"]
    bound: Float64[Array, "batch components"]
    decided: Bool[Array, " batch"]
    arithmetic: Arithmetic
    shape: tuple[int, int]
    layout: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Derived(Envelope):
    """An envelope, with all that it was derived from.

    Attributes:
        truth: What the reference was made of.
        spread: What the bound was made of.
    """

    truth: Truth
    spread: Spread


def components_of(*parts: Array) -> Array:
    """Join arrays (batch, depth, …), such as gradients by weights and by biases, into rows (batch, components).

    The rows are contiguous, however the parts are: what meets answers element by element must lie as they do.
    """
    return np.ascontiguousarray(np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1))


def _rows(*parts: Array) -> Array:
    """Join arrays with the batch as their last axis into rows (batch, components)."""
    return components_of(*(np.moveaxis(part, -1, 0) for part in parts))


def envelope(case: Case, arithmetic: Arithmetic = FLOAT32) -> Derived:
    """Return the truth of each gradient component of a case, or batch of cases, and its bound.

    Args:
        case: Its numbers are taken as exact.
        arithmetic: How the gradients under judgement were computed.

    Accuracy: The bound holds for every order of evaluation of the chain's gradient, given the rounding models of its
        activations, wherever `decided`. It is first order in the spread of the slopes and keeps the second order.

    Source: Higham (2002), sections 3.1 and 8.2; Linnainmaa, *Taylor expansion of the accumulated rounding error*
        (1976), for the adjoint as the carrier of rounding errors. Derived in the docstring of this module.
    """
    truth, names = chain_gradient.solve(case), case.chain.activations
    with np.errstate(all="ignore"):
        lost = unread(truth.weights, arithmetic)
        forward = forward_spread(truth, names, lost, arithmetic)
        bent = np.array([activation(name).second_max > 0.0 for name in names])
        spread = gradient_spread(truth, forward, lost, bent, arithmetic)
    return _judgeable(truth, spread, arithmetic)


def unread(weights: Array, arithmetic: Arithmetic) -> Array:
    """Return what is lost of |W| where an operand that is subnormal is read as zero."""
    size = np.abs(weights)
    return np.where(size < arithmetic.smallest_normal, size, 0.0)


def _judgeable(truth: Truth, spread: Spread, arithmetic: Arithmetic) -> Derived:
    gradients = _rows(truth.weight_gradients, truth.bias_gradients)
    bounds = _rows(spread.weight_gradients, spread.bias_gradients)
    # An infinite bound would accept anything: where one comes out, nothing is decided. A bound holds u times the
    # gradient's magnitude, and is not finite where the gradient is not.
    decided = spread.decided & np.isfinite(bounds).all(axis=1)
    return Derived(gradients, bounds, decided, arithmetic, _shape(truth), GRADIENT, truth, spread)


def _shape(truth: Truth) -> tuple[int, int]:
    depth, width, _ = truth.biases.shape
    return depth, width


def linearisation(within: Derived) -> Derived:
    """Return truth and bound of x_1 … x_N, of every slope and of every coupling, from the envelope of the gradient."""
    truth, spread, arithmetic = within.truth, within.spread, within.arithmetic
    weights, slopes = np.abs(truth.weights), truth.slopes[:, :, None]
    with np.errstate(all="ignore"):
        couplings = slopes * truth.weights
        bound = spread.slopes[:, :, None] * weights
        bound = bound + arithmetic.unit_roundoff * (np.abs(couplings) + bound)
        # A coupling may underflow, and a subnormal weight be read as zero.
        bound = bound + 2.0 * arithmetic.smallest_normal * np.maximum(1.0, np.maximum(weights, np.abs(slopes)))
        reference = _rows(truth.states[1:], truth.slopes, couplings)
        bounds = _rows(spread.states[1:], spread.slopes, bound)
    decided = within.decided & np.isfinite(bounds).all(axis=1)
    return Derived(reference, bounds, decided, arithmetic, within.shape, LINEARISATION, truth, spread)


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
        C, δ, x, y = (chain_gradient.batch_last(a) for a in (couplings, slopes, states, case.targets))
        weights, biases = chain_gradient.batch_last(case.chain.weights), chain_gradient.batch_last(case.chain.biases)
        r = x[-1] - y
        λ = chain_gradient.adjoints_of(C, r)
        truth = Truth(weights, biases, x, np.full_like(biases, np.nan), δ, r, λ, δ * λ)
        return _judgeable(truth, _solve_spread(truth, np.abs(C), arithmetic), arithmetic)


def _solve_spread(truth: Truth, couplings: Array, arithmetic: Arithmetic) -> Spread:
    u, q, tiny = arithmetic.unit_roundoff, arithmetic.product_roundoff, arithmetic.smallest_normal
    width = truth.biases.shape[1]
    slopes, states = np.abs(truth.slopes), np.abs(truth.states)
    κ = gamma(width, u) + q
    lost = np.where(couplings < tiny, couplings, 0.0)
    residual = np.abs(truth.residual)
    magnitudes = chain_gradient.adjoints_of(couplings, residual)
    rhs = np.empty_like(truth.biases)
    rhs[-1] = u * residual + tiny
    rhs[:-1] = matvec(np.swapaxes((1.0 + κ) * lost + κ * couplings, 1, 2), magnitudes)[1:] + 2 * width * tiny
    E_Λ = chain_gradient.back_substitute((1.0 + κ) * (couplings + lost)[1:], rhs)
    gradients = np.abs(truth.bias_gradients)
    E_g = slopes * E_Λ + np.where(slopes < tiny, slopes, 0.0) * (np.abs(truth.adjoints) + E_Λ)
    E_g += u * (gradients + E_g) + tiny
    E_W = E_g[:, :, None] * states[:-1, None]
    E_W += np.where(states[:-1] < tiny, states[:-1], 0.0)[:, None] * (gradients + E_g)[:, :, None]
    E_W += u * (gradients[:, :, None] * states[:-1, None] + E_W) + tiny
    ends = np.maximum(1.0, np.abs(truth.residual).max(axis=0)) * np.maximum(1.0, states.max(axis=(0, 1)))
    ends = ends * np.maximum(1.0, slopes.max(axis=(0, 1)))
    floor, decided = _partial_products(truth, _norms(couplings), ends, tiny, arithmetic)
    zero = np.zeros_like(truth.biases)
    return Spread(zero, np.zeros_like(states), zero, E_Λ, magnitudes, E_W + floor, E_g + floor, decided)


def gradient_spread(
    truth: Truth, forward: Forward, lost: Array, bent: Bool[Array, " depth"], arithmetic: Arithmetic
) -> Spread:
    """Return how far every quantity of a case may lie from the truth: the way back, behind the way forward.

    Args:
        truth: The case, solved.
        forward: How far its forward quantities may.
        lost: What |W| loses where subnormal numbers are read as zero.
        bent: Which activations are curved.
        arithmetic: How the gradients under judgement were computed.
    """
    u, q, tiny = arithmetic.unit_roundoff, arithmetic.product_roundoff, arithmetic.smallest_normal
    E_z, E_x, E_δ, _ = forward
    weights, biases = np.abs(truth.weights), np.abs(truth.biases)
    states, slopes = np.abs(truth.states), np.abs(truth.slopes)
    width = biases.shape[1]
    # The seed is r = x_N − y, and forward mode ends in an inner product with it. E_g = carried E_Λ + own.
    rule = tiny * (1.0 + np.where(bent[:, None, None], np.abs(truth.arguments), 0.0))
    residual = np.abs(truth.residual)
    size = residual + E_x[-1]
    κ = gamma(width, u) + q
    read = weights + lost if lost.any() else weights
    Λ = chain_gradient.adjoints_of(slopes[:, :, None] * read, residual)
    G = slopes * Λ
    carried = (1.0 + u) * (slopes + E_δ)
    own = (1.0 + u) * E_δ * Λ + u * G + rule
    rhs = np.empty_like(biases)
    rhs[-1] = E_x[-1] + (gamma(width + 1, u) + q) * size + 2 * tiny
    rhs[:-1] = matvec(np.swapaxes(read, 1, 2), (1.0 + κ) * own + κ * G)[1:] + 2 * width * tiny
    if lost.any():
        rhs[:-1] = rhs[:-1] + matvec(np.swapaxes(lost, 1, 2), G)[1:]
    E_Λ = chain_gradient.back_substitute(((1.0 + κ) * carried)[1:, :, None] * read[1:], rhs)
    E_g = carried * E_Λ + own
    E_W = E_g[:, :, None] * states[:-1, None] + (G + E_g)[:, :, None] * E_x[:-1, None]
    E_W += (u + q) * (G[:, :, None] * states[:-1, None] + E_W)

    ends = np.maximum(1.0, size.max(axis=0)) * np.maximum(1.0, (states + E_x).max(axis=(0, 1)))
    norms = _norms(weights * (slopes + E_δ)[:, :, None])
    floor, decided = _partial_products(truth, norms, ends, rule.max(axis=(0, 1)), arithmetic)
    largest = (matvec(weights, states[:-1] + E_x[:-1]) + biases).max(axis=(0, 1)) * _HEADROOM
    decided &= largest < arithmetic.largest
    return Spread(E_z, E_x, E_δ, E_Λ, Λ, E_W + floor, E_g + floor, decided)


def _norms(couplings: Float64[Array, "depth width width batch"]) -> Float64[Array, "depth batch"]:
    """Return the larger of ‖|C|‖₁ and ‖|C|‖_∞ for each layer, of magnitudes of couplings."""
    return np.maximum(couplings.sum(axis=2).max(axis=1), couplings.sum(axis=1).max(axis=1))


def _partial_products(
    truth: Truth, norms: Array, ends: Array, lost: Array | float, arithmetic: Arithmetic
) -> tuple[Float64[Array, " batch"], Bool[Array, " batch"]]:
    """Return what underflow of a partial product may do to a gradient, and where that is little and nothing overflows.

    Args:
        truth: The gradient, and the shapes.
        norms: For each layer the larger of ‖|C|‖₁ and ‖|C|‖_∞.
        ends: What a product of couplings meets at its two ends: residual and state.
        lost: The most that one underflow loses.
        arithmetic: The range.
    """
    depth, width = truth.biases.shape[:2]
    total, peak = _products(norms[1:])  # C_1 multiplies dx_0 = 0
    floor = 8.0 * depth * width**2 * total * ends * lost
    reached = width**2 * peak * ends * _HEADROOM
    # An allowance for underflow that is neither negligible nor below the gradient itself would accept anything.
    gradient = np.maximum(
        np.abs(truth.bias_gradients).max(axis=(0, 1)), np.abs(truth.weight_gradients).max(axis=(0, 1, 2))
    )
    toothless = floor > np.maximum(gradient, _NEGLIGIBLE)
    return floor, (reached < arithmetic.largest) & ~toothless


def _products(norms: Float64[Array, "depth batch"]) -> tuple[Array, Array]:
    """Bound the products of couplings that an order of evaluation may form.

    Args:
        norms: For each layer the larger of the two norms ‖|C|‖₁ and ‖|C|‖_∞.

    Returns:
        K: A bound on the product of a contiguous run of couplings with any further run beside it.
        peak: The largest product of one contiguous run (or 1).
    """
    every = np.maximum(1.0, norms).prod(axis=0)
    # Stretches of layers, joined two by two: the product of all of one, the largest from its start, to its end, anywhere.
    missing = 2 ** (len(norms) - 1).bit_length() - len(norms)
    whole = np.concatenate([norms, np.ones_like(norms, shape=(missing, norms.shape[1]))])
    head = tail = peak = np.maximum(1.0, whole)
    while len(whole) > 1:
        first, second = slice(0, None, 2), slice(1, None, 2)
        peak = np.maximum(np.maximum(peak[first], peak[second]), tail[first] * head[second])
        head = np.maximum(head[first], whole[first] * head[second])
        tail = np.maximum(tail[second], tail[first] * whole[second])
        whole = whole[first] * whole[second]
    return np.minimum(every, peak[0] ** 2), peak[0]
