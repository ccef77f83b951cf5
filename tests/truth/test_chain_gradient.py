"""The truth against exact rational arithmetic and 50-digit arithmetic: value, gradient, and that the bound holds both."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from exact import EXACT_ACTIVATIONS, MP_ACTIVATIONS, gradient, mpf

from chainback import Case, Chain, draw
from chainback.truth.chain_bound import envelope
from chainback.truth.chain_gradient import solve, true_gradient
from chainback.truth.envelope import components_of

f32: Any = np.float32


def random_case(seed: int, names: tuple[str, ...], width: int, scale: float = 1.0) -> Case:
    rng = np.random.default_rng(seed)
    depth = len(names)
    weights = (rng.normal(size=(depth, width, width)) * scale).astype(f32)
    biases = rng.normal(size=(depth, width)).astype(f32)
    return Case(Chain(weights, biases, names), rng.normal(size=width).astype(f32), rng.normal(size=width).astype(f32))


def exact_components(dweights, dbiases, convert) -> np.ndarray:
    flat = [v for layer in dweights for row in layer for v in row] + [v for layer in dbiases for v in layer]
    return np.array([convert(v) for v in flat], dtype=object)


def assert_truth(case: Case, number, activations) -> None:
    truth, bounds = solve(case), envelope(case)
    states, dweights, dbiases = gradient(case, number, activations)
    for layer, state in enumerate(states):
        for j, value in enumerate(state):
            error = abs(float(number(float(truth.states[layer, j, 0])) - value))
            assert error <= 2.0**-24 * max(bounds.error_bounds.states[layer, j, 0], 2.0**-24 * abs(float(value)), 1e-38)
    assert bounds.decided.all()
    exact = exact_components(dweights, dbiases, lambda v: v)
    for got, expected, bound in zip(bounds.reference[0], exact, bounds.bound[0], strict=True):
        assert bound > 0
        # The truth's own error is 2^-29 of the bound; the bound holds the truth with all that room.
        assert abs(float(number(float(got)) - expected)) <= 2.0**-24 * bound


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_piecewise_linear_chains_against_rationals(seed: int, width: int) -> None:
    rng = np.random.default_rng(100 + seed)
    names = tuple(rng.choice(list(EXACT_ACTIVATIONS), size=int(rng.integers(1, 8))))
    assert_truth(random_case(seed, tuple(map(str, names)), width), Fraction, EXACT_ACTIVATIONS)


def test_dyadic_kinks_are_exact() -> None:
    batch = draw("kinks", seed=5, depth=4, width=1, batch=0, rows=40)
    if not set(batch.chain.activations) <= set(EXACT_ACTIVATIONS):
        batch = draw("kinks", seed=11, depth=4, width=1, batch=3, rows=40)
    names = tuple("relu" if name not in ("identity", "relu") else name for name in batch.chain.activations)
    for row in range(len(batch)):
        one = batch[row]
        case = Case(Chain(one.chain.weights, one.chain.biases, names), one.inputs, one.targets)
        _, dweights, dbiases = gradient(case, Fraction, EXACT_ACTIVATIONS)
        exact = exact_components(dweights, dbiases, float).astype(float)
        truth = true_gradient(case)
        assert np.allclose(components_of(truth.weights[None], truth.biases[None])[0], exact, rtol=1e-15, atol=0)


@pytest.mark.parametrize("name", [*MP_ACTIVATIONS, "mixed"])
@pytest.mark.parametrize(("width", "scale"), [(1, 1.0), (1, 6.0), (3, 0.7)])
def test_smooth_chains_against_mpmath(name: str, width: int, scale: float) -> None:
    rng = np.random.default_rng(7)
    pool = list(MP_ACTIVATIONS)
    names = tuple(pool[i] for i in rng.permutation(10)[:6]) if name == "mixed" else (name,) * 4
    assert_truth(random_case(3, names, width, scale), mpf, MP_ACTIVATIONS)


def test_a_wrong_truth_would_be_noticed() -> None:
    case = random_case(0, ("tanh", "identity"), 1)
    wrong = {
        **MP_ACTIVATIONS,
        "tanh": (MP_ACTIVATIONS["tanh"][0], lambda z: MP_ACTIVATIONS["tanh"][1](z) * (1 + mpf(2) ** -40)),
    }
    with pytest.raises(AssertionError):
        assert_truth(case, mpf, wrong)


def test_single_and_batch_agree() -> None:
    batch = draw("wide", seed=1, depth=4, width=3, batch=0, rows=7)
    whole = true_gradient(batch)
    for row in range(7):
        one = true_gradient(batch[row])
        assert np.allclose(one.weights, whole.weights[row], rtol=1e-13, atol=1e-15)
        assert np.allclose(one.biases, whole.biases[row], rtol=1e-13, atol=1e-15)


def test_inputs_are_left_untouched() -> None:
    case = draw("mixed", seed=1, depth=4, width=1, batch=0, rows=7)
    before = [a.copy() for a in (case.chain.weights, case.chain.biases, case.inputs, case.targets)]
    envelope(case)
    for a, b in zip(before, (case.chain.weights, case.chain.biases, case.inputs, case.targets), strict=True):
        assert np.array_equal(a, b)
