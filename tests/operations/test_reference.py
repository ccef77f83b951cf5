"""Points and stored truth of the swept functions: complete, where they should be, and mpmath's."""

import function_truth
import numpy as np
import pytest
from mpmath import mp, mpf

from chainback.operations.functions import FUNCTIONS
from chainback.operations.reference import fingerprint, flushed, points_of, truth_of

#: Functions of which no derivative by differences is asked: they jump, or step.
STEPS = {"remainder", "fmod", "remainder:3", "fmod:3", "sign", "copysign", "maximum", "minimum", "fmax", "fmin"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_truth_belongs_to_these_points(name: str) -> None:
    function = FUNCTIONS[name]
    assert truth_of(function).shape == (1 + 2 * function.arity, points_of(function).shape[1])
    assert fingerprint(function) == int(truth_of(function, "#"))
    # A value is missing only where the function has none, and the intervals of kinks are few.
    assert np.isnan(truth_of(function)[0]).mean() < 0.5
    assert (truth_of(function)[1 + function.arity :] > 0).mean() < 0.2


def test_the_truth_is_small() -> None:
    assert function_truth.TARGET.stat().st_size < 1_000_000


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in STEPS])
def test_the_truth_is_mpmaths(name: str) -> None:
    """Values anew; derivatives by differences of the values, so that no formula of a derivative goes unchecked."""
    function = FUNCTIONS[name]
    points, table = points_of(function).astype(np.float64), truth_of(function)
    usual = np.isfinite(table).all(axis=0) & (np.abs(points) > 1e-3).all(axis=0) & (np.abs(points) < 50).all(axis=0)
    usual &= (table[1 + function.arity :] == 0).all(axis=0) & (np.abs(table[0]) < 1e30)
    for end in (*function.kinks, *function.special, *(e for d in function.domains for e in d.ends)):
        usual &= (np.abs(points - end) > 1e-3 * (1 + abs(end))).all(axis=0)
    if function.arity == 2:
        usual &= points[0] != points[1]
    places = np.flatnonzero(usual)
    assert places.size > 20
    for place in places[:: max(1, places.size // 4)]:
        point = tuple(map(float, points[:, place]))
        with mp.workprec(function_truth.BITS):
            again = function_truth.quantities(function, point)
            assert table[0, place] == function_truth.rounded(again[0])
            for argument in range(function.arity):
                step = mpf(2) ** -90 * abs(mpf(point[argument]))

                four = []
                for k in (-2, -1, 1, 2):
                    moved = [mpf(x) + (k * step if a == argument else 0) for a, x in enumerate(point)]
                    four.append(_value(function, moved))
                slope = (four[0] - 8 * four[1] + 8 * four[2] - four[3]) / (12 * step)
                assert float(slope) == pytest.approx(table[1 + argument, place], rel=1e-9, abs=1e-25)


def _value(function, moved):
    if function.arity == 1:
        return function_truth.UNARY[function.name].value(*moved)
    return mpf(function_truth.BINARY[function.name](*moved)[0])


@pytest.mark.parametrize(
    "name", ["exp", "log", "sin", "relu", "gelu", "erf", "lgamma", "logit", "hard_tanh", "power:2", "remainder:3"]
)
def test_the_points_of_a_line(name: str) -> None:
    function = FUNCTIONS[name]
    points = points_of(function)[0]
    assert points.dtype == np.float32
    inside = function.domains[0].contains
    wanted = [1.0, 0.5, 3.0, 17.0, 100.0, 2.0**-126, 2.0**126, 2.0**-149, float(np.finfo(np.float32).max), np.inf, 0.0]
    for x in (*wanted, *(-w for w in wanted), *function.kinks):
        pole = function.poles and ((x <= 0 and x == np.floor(x)) or abs(x) < 2.0**-126)
        assert (np.float32(x) in points) == bool(inside(np.array(x)) and not pole), x
    for corner in (*function.kinks, *function.special):
        assert np.sum(np.abs(points - np.float32(corner)) < 1e-3 * max(1.0, abs(corner))) >= 4
    if inside(np.array(-0.0)) and not function.poles:
        assert np.any((points == 0) & np.signbit(points))
    assert len(np.unique(points.view(np.uint32))) == points.size > 100


def test_the_points_of_a_plane() -> None:
    points = {tuple(map(float, point)) for point in points_of(FUNCTIONS["multiply"]).T}
    assert {(0.0, -1.0), (3.0, 3.0), (-5.5, 1e4), (float("inf"), 2.0), (2.0**-140, 1.0), (1.0, 2.0**-126)} <= points
    for function in (c for c in FUNCTIONS.values() if c.arity == 2):
        assert points_of(function).shape[1] >= 500
        assert function.domains[0].contains(points_of(function)[0].astype(float)).all()


def test_a_subnormal_argument_may_be_flushed() -> None:
    function = FUNCTIONS["log"]
    points = points_of(function)[0]
    place = int(np.flatnonzero(points == np.float32(2.0**-149))[0])
    assert points[flushed(function)[0, place]] == 0.0
    assert flushed(FUNCTIONS["power"]).shape[0] == 3
