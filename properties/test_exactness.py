"""Exactness of engines where nothing is rounded: identity layers, zero weights, the same bits twice."""

from typing import Any

import jax
import numpy as np
import pytest
from harness import ALL, DEPTH, compiled, components, decided, padded, run
from hypothesis import given, settings
from hypothesis import strategies as st

from chainback import ENGINES, Case, Chain, strategies

f32: Any = np.float32
ordinary = st.floats(-8, 8, width=32, allow_subnormal=False).filter(lambda v: v == 0 or abs(v) > 1e-6)


@pytest.mark.parametrize("engine", ALL)
@given(x=st.lists(ordinary, min_size=2, max_size=2), y=st.lists(ordinary, min_size=2, max_size=2))
def test_identity_layers_are_exact(engine: str, x: list[float], y: list[float]) -> None:
    chain = Chain(np.eye(2, dtype=f32)[None], np.zeros((1, 2), f32), ("identity",))
    dweights, dbiases = run(engine, padded(Case(chain, np.array(x, f32), np.array(y, f32))).as_batch())
    residual = np.array(x, f32) - np.array(y, f32)
    assert np.array_equal(dbiases[0], np.broadcast_to(residual, (DEPTH, 2)))
    assert np.array_equal(dweights[0], np.broadcast_to(np.outer(residual, np.array(x, f32)), (DEPTH, 2, 2)))


@pytest.mark.parametrize("engine", ALL)
@given(case=strategies.cases(min_depth=2, max_width=2), layer=st.integers(0, DEPTH - 1))
def test_nothing_flows_through_zero_weights(engine: str, case, layer: int) -> None:
    decided(case)
    layer = min(layer, case.chain.depth - 1)
    weights = case.chain.weights.copy()
    weights[layer] = 0
    cut = Case(Chain(weights, case.chain.biases, case.chain.activations), case.inputs, case.targets)
    dweights, dbiases = run(engine, padded(cut).as_batch())
    assert not dweights[0, :layer].any()
    assert not dbiases[0, :layer].any()


@pytest.mark.parametrize("engine", ALL)
@given(case=strategies.cases(max_width=2))
def test_the_same_run_gives_the_same_bits(engine: str, case) -> None:
    first, second = (components(engine, case) for _ in range(2))
    assert np.array_equal(first.view(np.int32), second.view(np.int32))


@pytest.mark.parametrize("engine", ALL)
@settings(max_examples=25)
@given(
    cases=st.lists(
        strategies.cases(min_depth=3, max_depth=3, max_width=1, activations=["tanh"]), min_size=5, max_size=5
    )
)
def test_a_batch_is_its_cases(engine: str, cases) -> None:
    whole = padded_batch(cases)
    together = run(engine, whole)
    for row, case in enumerate(cases):
        bounds = decided(case)
        alone = components(engine, case)
        within = np.concatenate([part[row].ravel() for part in together])
        assert np.all(np.abs(within.astype(np.float64) - bounds.reference[0]) <= bounds.bound[0])
        assert np.all(np.abs(within.astype(np.float64) - alone) <= 2 * bounds.bound[0])


def padded_batch(cases) -> Case:
    parts = [padded(case) for case in cases]
    chain = Chain(
        np.stack([p.chain.weights for p in parts]),
        np.stack([p.chain.biases for p in parts]),
        parts[0].chain.activations,
    )
    return Case(chain, np.stack([p.inputs for p in parts]), np.stack([p.targets for p in parts]))


@pytest.mark.parametrize(
    "engine",
    [pytest.param(n, marks=pytest.mark.slow if n.endswith(("unrolled", "dense")) else ()) for n in ALL],
)
@settings(max_examples=8)
@given(case=strategies.cases(max_depth=3, max_width=2))
def test_jitted_is_unjitted_within_the_bound(engine: str, case) -> None:
    bounds = decided(case)
    chain = padded(case).chain
    with jax.disable_jit():
        eager = ENGINES[engine].gradient(chain.weights, chain.biases, chain.activations, case.inputs, case.targets)
    got = np.concatenate([np.asarray(part, np.float64).ravel() for part in eager])
    assert np.all(np.abs(got - bounds.reference[0]) <= bounds.bound[0])
    assert np.all(np.abs(got - components(engine, case)) <= 2 * bounds.bound[0])


@pytest.mark.parametrize("engine", ALL)
@given(case=strategies.cases(max_width=2))
def test_inputs_are_left_untouched(engine: str, case) -> None:
    whole = padded(case).as_batch()
    arrays = (whole.chain.weights, whole.chain.biases, whole.inputs, whole.targets)
    before = [a.copy() for a in arrays]
    compiled(engine, case.chain.width)(*arrays[:2], whole.chain.activations, *arrays[2:])
    assert all(np.array_equal(a.view(np.int32), b.view(np.int32)) for a, b in zip(before, arrays, strict=True))
