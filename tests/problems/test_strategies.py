import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from chainback import Case, Chain, strategies
from chainback.errors import UsageError

SEARCH = settings(max_examples=5000, database=None, derandomize=True)


@given(strategies.cases(max_depth=5, max_width=3))
def test_cases_are_cases(case) -> None:
    assert isinstance(case, Case)
    assert 1 <= case.chain.depth <= 5
    assert 1 <= case.chain.width <= 3
    assert case.chain.weights.dtype == case.inputs.dtype == np.float32


@given(strategies.chains(min_depth=2, max_depth=2, min_width=2, max_width=2, activations=["relu"]))
def test_limits_hold(chain) -> None:
    assert (chain.depth, chain.width, chain.activations) == (2, 2, ("relu", "relu"))


def shrunk(condition, **limits) -> Chain:
    return find(strategies.chains(**limits), condition, settings=SEARCH)


def test_chains_shrink_by_losing_layers() -> None:
    least = shrunk(lambda chain: "tanh" in chain.activations, max_depth=8)
    assert (least.depth, least.width, least.activations) == (1, 1, ("tanh",))
    assert not least.weights.any()
    assert not least.biases.any()


def test_numbers_shrink_towards_simple_ones() -> None:
    least = shrunk(
        lambda chain: chain.depth >= 2 and abs(float(chain.weights[0, 0, 0])) > 0.7, max_depth=8, max_width=2
    )
    assert least.depth == 2
    assert abs(float(least.weights[0, 0, 0])) == 1.0
    assert least.activations == ("identity", "identity")


@pytest.mark.parametrize("value", [0.0, 1.0 + 2.0**-23, 2.0**-126, 2.0**-20, -2.0])
def test_special_values_are_drawn(value: float) -> None:
    numbers = strategies.parameters(2.0**12)
    assert find(numbers, lambda v: v == value and (v != 0 or np.copysign(1, v) > 0), settings=SEARCH) == value


def test_negative_zero_is_drawn() -> None:
    found = find(strategies.parameters(), lambda v: v == 0 and np.copysign(1, v) < 0, settings=SEARCH)
    assert found == 0


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: strategies.chains(min_depth=3, max_depth=2),
            "`min_depth` and `max_depth` must satisfy 1 <= min <= max, got 3",
        ),
        (lambda: strategies.chains(min_width=0), "`min_width` and `max_width` must satisfy"),
        (lambda: strategies.chains(activations=[]), "`activations` must name at least one"),
        (lambda: strategies.chains(activations=["swish"]), "'swish' is not known"),
        (lambda: strategies.parameters(0.5), "`largest` must be a float32 number of at least 1, got 0.5"),
        (lambda: strategies.parameters(1.1), "must be a float32 number"),
        (lambda: strategies.cases(strategies.chains(), max_depth=2), "not both: got chain and max_depth"),
    ],
)
def test_an_impossible_combination_is_an_error_and_never_an_empty_strategy(build, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build()


@given(strategies.cases(numbers=st.just(2.0), max_depth=2))
def test_numbers_of_ones_own(case) -> None:
    assert set(case.inputs) == set(case.targets) == {np.float32(2.0)}
