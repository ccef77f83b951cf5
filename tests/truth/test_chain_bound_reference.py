"""The bounds against their second derivation, number by number: a constant that is off by one is seen here or nowhere."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference_bounds as scalar
from agreement import (
    BROKEN,
    BY_HAND,
    EDGES,
    ODD,
    ODDITIES,
    STEEP,
    UNBOUNDED,
    System,
    argument_at_zero,
    assert_gradients,
    assert_inside,
    by_values,
    growing_and_shrinking,
    rough_system,
    row_of,
    scalar_gradients,
    scalar_substitutions,
    small_gradients,
    square,
    together,
    true_system,
    wide_argument,
    width_edge,
)

from chainback import Case, draw
from chainback.operations.activations import ACTIVATIONS
from chainback.operations.arithmetic import ARITHMETICS, FLOAT32, Arithmetic
from chainback.operations.elementwise import Activation
from chainback.problems.ensembles import ENSEMBLES
from chainback.truth.chain_bound import envelope, linearisation, substitution

f32: Any = np.float32
u, η, largest = FLOAT32.unit_roundoff, FLOAT32.smallest_normal, FLOAT32.largest


def assert_bounds(case: Case, arithmetic: Arithmetic = FLOAT32) -> list[scalar.Bounds]:
    """The envelope of every case and that of its linearisation are those of the scalar derivation, which is returned."""
    case = case.as_batch()
    inside, expected = envelope(case, arithmetic), scalar_gradients(case, arithmetic)
    assert_gradients(inside, linearisation(inside), expected)
    assert inside.arithmetic is arithmetic
    return expected


def assert_substitution(case: Case, system: System, arithmetic: Arithmetic = FLOAT32) -> None:
    case = case.as_batch()
    inside = substitution(case, *system, arithmetic)
    for row, expected in enumerate(scalar_substitutions(case, system, arithmetic)):
        assert_inside(inside, row, expected)
    assert inside.arithmetic is arithmetic
    assert np.array_equal(inside.truth.weights, np.moveaxis(case.chain.weights, 0, -1))
    assert np.array_equal(inside.truth.biases, np.moveaxis(case.chain.biases, 0, -1))
    assert np.isnan(inside.truth.arguments).all()  # a system says nothing of them


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("name", ENSEMBLES)
def test_every_number_of_the_bounds_is_that_of_the_scalar_derivation(name: str, arithmetic: str) -> None:
    for width in (1, 2, 3):
        for depth in range(1, 7):
            case = draw(name, seed=depth, depth=depth, width=width, batch=0, rows=6)
            assert_bounds(case, ARITHMETICS[arithmetic])
            assert_substitution(case, rough_system(case, seed=depth), ARITHMETICS[arithmetic])


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("name", BY_HAND)
def test_every_number_is_the_same_in_cases_by_hand(name: str, arithmetic: str) -> None:
    case = BY_HAND[name].as_batch()
    assert_bounds(case, ARITHMETICS[arithmetic])
    assert_substitution(case, rough_system(case, seed=1), ARITHMETICS[arithmetic])


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Callable[[Activation], None]:
    def use(model: Activation) -> None:
        monkeypatch.setitem(ACTIVATIONS, "odd", model)

    use(ODD)
    return use


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("kind", ODDITIES)
def test_each_number_of_an_activation_has_its_place(
    kind: str, arithmetic: str, odd: Callable[[Activation], None]
) -> None:
    odd(ODDITIES[kind])
    nudges = (0.0, 1e-9, -1e-8, 1e-6, 1e-3, 0.4, -0.5)
    near = [
        row_of(("odd", "odd"), [weight, 0.5], [f32(z - weight) + f32(nudge), 0.125])
        for weight in (1.0, -0.3, 1e3, 1e6, 1e7, 1e8)
        for z in (0.25, 3.0, -0.5, 2.0, 0.125)
        for nudge in nudges
    ]
    assert_bounds(together(*near), ARITHMETICS[arithmetic])
    rng = np.random.default_rng(3)
    far = []
    for _ in range(30):
        w, b, x, y = (rng.normal(size=shape) for shape in ((3, 3, 3), (3, 3), 3, 3))
        far.append(square(("odd", "tanh", "odd"), w * 2.0 ** rng.integers(0, 20), b, x, y))
    assert_bounds(together(*far), ARITHMETICS[arithmetic])


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("what", ["kinks", "creases"])
def test_a_kink_or_crease_at_the_very_edge_of_the_bound_counts(
    what: str, sign: float, odd: Callable[[Activation], None]
) -> None:
    case, model, E_z = argument_at_zero()
    found = []
    for place in (E_z, math.nextafter(E_z, 0.0), math.nextafter(E_z, 1.0)):
        odd(replace(model, **{what: (sign * place,)}))
        assert_bounds(case)
        found.append(envelope(case).error_bounds.slopes.item())
    assert found[0] == found[1] > found[2]


def test_growth_counts_up_to_a_bound_of_one_over_the_rate(odd: Callable[[Activation], None]) -> None:
    case, model, E_z = argument_at_zero()
    rate = next(r for k in range(-8, 9) if (r := (1.0 + k * 2.0**-52) / E_z) * E_z == 1.0)
    found = []
    for r in (rate, math.nextafter(rate, 0.0), rate * (1.0 + 2.0**-50)):
        odd(replace(model, local=lambda z, r=r: ODD.local(z)._replace(rate=r, curvature=1e3)))
        assert_bounds(case)
        found.append(envelope(case).error_bounds.states[1].item())
    assert found[0] == pytest.approx(found[1], rel=1e-14)
    assert found[0] < found[2]


def test_a_bound_of_zero_counts_at_a_kink_unless_it_is_settled(odd: Callable[[Activation], None]) -> None:
    case = row_of(("odd",), [1.0], [-0.75], 1.0, 5.0)
    for settled, slack in ((False, 5.0), (True, 5.0 * u * 1.375)):
        odd(replace(BROKEN, settled=settled))
        assert_bounds(case)
        error_bounds = envelope(case).error_bounds
        assert error_bounds.arguments.item() == 0.0
        assert error_bounds.slopes.item() == pytest.approx(slack)


def test_an_infinite_slope_or_bound_decides_nothing(odd: Callable[[Activation], None]) -> None:
    # A value within a finite range, a slope that is not: the bound of db_1 alone is infinite.
    odd(UNBOUNDED)
    case = row_of(("odd",), [1e7], [-1e7], 1.0, 5.0)
    (found,) = assert_bounds(case)
    assert found.within_range
    assert not found.decided
    assert not envelope(case).decided.any()
    assert not linearisation(envelope(case)).decided.any()


def test_an_overflow_in_one_case_decides_nothing_of_it_alone(odd: Callable[[Activation], None]) -> None:
    odd(STEEP)
    case = together(row_of(("odd",), [1e38], [0.5], 0.0, 5.0), row_of(("odd",), [1.0], [0.5], 0.0, 5.0))
    assert_bounds(case)
    assert envelope(case).decided.tolist() == [True, True]
    assert linearisation(envelope(case)).decided.tolist() == [False, True]


def test_a_state_counts_with_its_bound_in_what_may_overflow() -> None:
    decided = [found.decided for found in assert_bounds(wide_argument(steps=49))]
    assert decided == sorted(decided, reverse=True)
    assert 0 < sum(decided) < len(decided)


@pytest.mark.parametrize("name", EDGES)
def test_the_edge_of_the_decided_is_where_it_is_said_to_be(name: str) -> None:
    make, included = EDGES[name]
    ulp = 2.0**-22
    for scale, decided in ((1.0 - ulp, True), (1.0, included), (1.0 + ulp, False)):
        case = make(scale)
        assert_bounds(case)
        assert envelope(case).decided.tolist() == [decided], scale


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["product", "floor", "affine", "affine alone"])
def test_the_edge_of_the_decided_moves_with_the_width(name: str, width: int) -> None:
    case = width_edge(name, width, steps=97)
    decided = [found.decided for found in assert_bounds(case)]
    assert_substitution(case, true_system(case))
    assert decided == sorted(decided, reverse=True)
    assert 0 < sum(decided) < len(decided)


def test_what_is_decided_for_a_case_does_not_hang_on_its_neighbours() -> None:
    ones = [case for case in BY_HAND.values() if case.chain.biases.shape == (2, 1)]
    alone = [envelope(replace(case, chain=replace(case.chain, activations=("relu", "elu")))) for case in ones]
    batch = together(*(replace(case, chain=replace(case.chain, activations=("relu", "elu"))) for case in ones))
    beside = envelope(batch)
    assert_bounds(batch)
    for row, one in enumerate(alone):
        assert np.array_equal(one.bound[0], beside.bound[row])
        assert one.decided[0] == beside.decided[row]


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize(
    "values",
    [
        (η, -η, η / 2, 1.0, 0.0),
        (η, η / 4, -η / 2, 2.0**-130),
        (1e-10, -(2.0**-30), 2.0**-24, 2.0**-25, 3.0, -1.0),
        (1e15, -1e12, 1e-15, 2.0**-140, 5.0),
        (1e35, 1e30, -1e20, 1e-30),
    ],
)
def test_a_system_may_hold_any_numbers(values: tuple[float, ...], width: int) -> None:
    for seed in range(6):
        case, system = by_values(values, width, seed)
        for arithmetic in ARITHMETICS.values():
            assert_substitution(case, system, arithmetic)


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("state", [8.0, -8.0, 0.125])
def test_the_underflow_term_is_held_against_the_largest_component(state: float, width: int) -> None:
    case = small_gradients(state, width, steps=61)
    decided = [found.decided for found in assert_bounds(case)]
    assert decided == sorted(decided)
    assert 0 < sum(decided) < len(decided)


def test_every_run_of_couplings_counts_in_what_underflow_may_do() -> None:
    for depth in (1, 2, 3, 4, 6, 8):
        for case in growing_and_shrinking(depth, rows=10):
            assert_bounds(case)
