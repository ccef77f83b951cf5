"""Agreement of every engine with the truth, and with every other engine, within the bound on every chain."""

from itertools import combinations

import numpy as np
import pytest
from harness import ALL, components, decided
from hypothesis import given

from chainback import strategies


@pytest.mark.parametrize("engine", ALL)
@given(case=strategies.cases(max_width=2))
def test_an_engine_agrees_with_the_truth(engine: str, case) -> None:
    bounds = decided(case)
    error = np.abs(components(engine, case) - bounds.reference[0])
    assert np.all(error <= bounds.bound[0])


@given(case=strategies.cases(max_width=2))
def test_engines_agree_with_each_other(case) -> None:
    bounds = decided(case)
    results = {engine: components(engine, case).astype(np.float64) for engine in ALL}
    for a, b in combinations(ALL, 2):
        assert np.all(np.abs(results[a] - results[b]) <= 2 * bounds.bound[0]), (a, b)


@pytest.mark.parametrize("engine", ALL)
@given(case=strategies.cases(max_width=2, numbers=strategies.parameters(2.0**40), max_depth=4))
def test_an_engine_agrees_with_the_truth_on_huge_inputs(engine: str, case) -> None:
    bounds = decided(case)
    error = np.abs(components(engine, case) - bounds.reference[0])
    assert np.all(error <= bounds.bound[0])
