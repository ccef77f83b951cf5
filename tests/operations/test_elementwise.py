"""Record types: intervals, and the rounding models that activations and swept functions share."""

import numpy as np
import pytest

from chainback.operations.activations import ACTIVATIONS
from chainback.operations.elementwise import Domain, ElementaryFunction, RoundingModel
from chainback.operations.functions import FUNCTIONS


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("[0, inf)", [0.0, 1.0], [-1e-300, np.inf]),
        ("(0, 1]", [1e-300, 1.0], [0.0, 1.5]),
        ("[-inf, inf]", [-np.inf, 0.0, np.inf], []),
    ],
)
def test_an_interval_contains_what_its_notation_says(text: str, inside: list[float], outside: list[float]) -> None:
    domain = Domain.of(text)
    assert domain.contains(np.array(inside)).all()
    assert not domain.contains(np.array([*outside, np.nan])).any()


def test_every_elementary_function_has_a_rounding_model_for_its_value_and_each_derivative() -> None:
    for function in (*ACTIVATIONS.values(), *FUNCTIONS.values()):
        assert isinstance(function, ElementaryFunction)
        assert len(function.roundings) == 1 + function.arity, function.name


def test_sigma_is_the_size_of_the_reference_unless_a_scale_is_given() -> None:
    x, reference = np.array([1.0, -2.0]), np.array([-3.0, 4.0])
    assert np.array_equal(RoundingModel().sigma(x, reference=reference), [3.0, 4.0])
    assert np.array_equal(RoundingModel(2.0, lambda x, t: x + t).sigma(x, reference=reference), [-2.0, 2.0])
