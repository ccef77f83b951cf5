"""Laws of the system (I − L) dx = D dp: its structure, its two substitutions, and their linearity."""

from typing import Any

import jax
import numpy as np
import pytest
from harness import DEPTH, decided, joined, padded, solve, substitution_bound, system_of
from hypothesis import given
from hypothesis import strategies as st

from chainback import Case, strategies
from chainback.engines.networks import codes, scanned
from chainback.engines.triangular import SOLVERS

f32: Any = np.float32
case_strategy = strategies.cases(max_width=2)
seeds = st.integers(0, 2**32 - 1)


def right_hand_side(seed: int, width: int, columns: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((DEPTH, width, columns)).astype(f32)


@given(case=case_strategy)
def test_the_matrix_is_unit_lower_and_l_nilpotent(case) -> None:
    system = system_of(case)
    matrix = np.asarray(system.matrix())
    order = DEPTH * case.chain.width
    assert np.array_equal(np.triu(matrix), np.eye(order))
    lower = np.eye(order) - matrix
    power = lower != 0
    for _ in range(DEPTH - 1):
        power = (power.astype(int) @ (lower != 0).astype(int)) > 0
    assert not power.any()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("transposed", [False, True])
@given(case=case_strategy, seed=seeds)
def test_a_solve_is_the_neumann_series(solver: str, transposed: bool, case, seed: int) -> None:
    system = system_of(case)
    rhs = right_hand_side(seed, case.chain.width, 2)
    bound = substitution_bound(system, rhs, transposed=transposed)
    lower = np.eye(DEPTH * case.chain.width) - np.asarray(system.matrix(), np.float64)
    lower = lower.T if transposed else lower
    term = total = rhs.astype(np.float64).reshape(len(lower), -1)
    for _ in range(DEPTH - 1):
        term = lower @ term
        total = total + term
    got = solve(system, rhs, solver, transposed=transposed)
    assert np.all(np.abs(got.reshape(total.shape) - total) <= bound.reshape(total.shape))


@pytest.mark.parametrize("solver", SOLVERS)
@given(case=case_strategy, seed=seeds)
def test_forward_and_back_substitution_are_adjoint(solver: str, case, seed: int) -> None:
    """⟨ȳ, Jẋ⟩ = ⟨Jᵀȳ, ẋ⟩ with J = (I − L)⁻¹, up to the roundings of the two solves."""
    system = system_of(case)
    right, left = (right_hand_side(seed + k, case.chain.width) for k in (0, 1))
    forward = solve(system, right, solver).astype(np.float64)
    back = solve(system, left, solver, transposed=True).astype(np.float64)
    allowed = np.sum(np.abs(left) * substitution_bound(system, right))
    allowed += np.sum(np.abs(right) * substitution_bound(system, left, transposed=True))
    assert abs(np.sum(left * forward) - np.sum(back * right)) <= allowed


@jax.jit
def pushed_and_pulled(weights, biases, which, x, tangents, cotangent):
    def predict(w, b):
        return scanned(w, b, which, x)

    _, pushed = jax.jvp(predict, (weights, biases), tangents)
    _, pull = jax.vjp(predict, weights, biases)
    return pushed, pull(cotangent)


@given(case=case_strategy, seed=seeds)
def test_jvp_and_vjp_are_adjoint(case, seed: int) -> None:
    """⟨ȳ, Jẋ⟩ = ⟨Jᵀȳ, ẋ⟩ for JAX's own forward and reverse mode, within the bound of the gradient that ȳ asks for."""
    chain = padded(case).chain
    rng = np.random.default_rng(seed)
    tangents = tuple(rng.standard_normal(a.shape).astype(f32) for a in (chain.weights, chain.biases))
    target = rng.standard_normal(chain.width).astype(f32)
    bounds = decided(Case(case.chain, case.inputs, target))
    cotangent = bounds.truth.residual[:, 0].astype(f32)
    pushed, pulled = pushed_and_pulled(
        chain.weights, chain.biases, codes(chain.activations), case.inputs, tangents, cotangent
    )
    flat = np.concatenate([np.ravel(t) for t in tangents]).astype(np.float64)
    gradient = np.concatenate([np.ravel(p) for p in pulled]).astype(np.float64)
    # Each side is a sum of components, each within its bound of the truth; the pushforward adds the sum's own roundings.
    allowed = 2 * np.sum(np.abs(flat) * bounds.bound[0]) + len(flat) * 2.0**-24 * np.sum(
        np.abs(flat * bounds.reference[0])
    )
    magnitudes = bounds.error_bounds.adjoint_magnitudes
    allowed += len(flat) * 2.0**-24 * magnitude_of_paths(bounds, flat, chain.width, magnitudes)
    assert abs(np.sum(cotangent * np.float64(pushed)) - np.sum(gradient * flat)) <= allowed


def magnitude_of_paths(bounds, flat: np.ndarray, width: int, magnitudes: np.ndarray) -> float:
    """Sum of |paths| from every parameter to the output: what a sum over all parameters at once may round."""
    adjoint = (np.abs(bounds.truth.slopes) + bounds.error_bounds.slopes) * (magnitudes + bounds.error_bounds.adjoints)
    states = np.abs(bounds.truth.states[:-1]) + bounds.error_bounds.states[:-1]
    by_weight = (adjoint[:, :, None] * states[:, None]).ravel()
    return float(np.sum(np.abs(flat) * np.concatenate([by_weight, adjoint.ravel()])))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("transposed", [False, True])
@given(case=case_strategy, seed=seeds, exponent=st.integers(-8, 8))
def test_scaling_the_seed_by_a_power_of_two_is_exact(
    solver: str, transposed: bool, case, seed: int, exponent: int
) -> None:
    system = system_of(case)
    rhs = right_hand_side(seed, case.chain.width)
    substitution_bound(system, rhs * f32(2.0**exponent), transposed=transposed)
    plain = solve(system, rhs, solver, transposed=transposed)
    scaled = solve(system, rhs * f32(2.0**exponent), solver, transposed=transposed)
    underflow = 8 * DEPTH * 4 * 2.0**-126 * 2.0 ** abs(exponent) * growth_of(system)
    if underflow < 1e-30:
        normal = np.abs(plain) > 1e-20
        assert np.array_equal((plain * f32(2.0**exponent))[normal], scaled[normal])
    assert np.allclose(plain * f32(2.0**exponent), scaled, rtol=0, atol=underflow)


def growth_of(system) -> float:
    sizes = np.abs(system.couplings.astype(np.float64))
    norms = np.maximum(sizes.sum(axis=2).max(axis=1), sizes.sum(axis=1).max(axis=1))
    return float(np.prod(np.maximum(1.0, norms)))


@pytest.mark.parametrize("solver", SOLVERS)
@given(case=case_strategy, seed=seeds)
def test_a_solve_is_linear_in_its_seed(solver: str, case, seed: int) -> None:
    system = system_of(case)
    a, b = (right_hand_side(seed + k, case.chain.width) for k in (0, 1))
    parts = sum(solve(system, rhs, solver).astype(np.float64) for rhs in (a, b))
    whole = solve(system, a + b, solver).astype(np.float64)
    allowed = sum(substitution_bound(system, rhs) for rhs in (a, b, a + b))
    # a + b is itself rounded, by u of its size; the solve carries that on.
    allowed = allowed + substitution_bound(system, np.abs(a) + np.abs(b))
    assert np.all(np.abs(parts - whole) <= allowed)


@given(first=strategies.chains(max_depth=4, max_width=1), second=strategies.chains(max_depth=4, max_width=1), x=seeds)
def test_a_joined_chain_is_the_composition_of_its_parts(first, second, x: int) -> None:
    start = np.random.default_rng(x).standard_normal(1).astype(f32)
    whole = system_of(Case(joined(first, second), start, start))
    head = system_of(Case(first, start, start))
    cut = first.depth
    tail = system_of(Case(second, whole.states[cut], start))
    assert np.array_equal(whole.states[: cut + 1], head.states[: cut + 1])
    assert np.array_equal(whole.slopes[:cut], head.slopes[:cut])
    for name in ("slopes", "couplings"):
        assert np.array_equal(getattr(whole, name)[cut : cut + second.depth], getattr(tail, name)[: second.depth])
    # Back substitution through the whole is back substitution through the tail, then through the head.
    seed = np.zeros((DEPTH, 1, 1), f32)
    seed[-1] = 1
    through = solve(whole, seed, "substitution", transposed=True)
    behind = solve(tail, seed, "substitution", transposed=True)
    handed = np.zeros((DEPTH, 1, 1), f32)
    handed[cut - 1] = tail.couplings[0].T @ behind[0]
    ahead = solve(head, handed, "substitution", transposed=True)
    bound = substitution_bound(whole, seed, transposed=True)
    assert np.all(np.abs(through[:cut].astype(np.float64) - ahead[:cut]) <= 3 * bound[:cut])
