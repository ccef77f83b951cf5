"""Cases by hand, and what it means that an envelope agrees with the scalar derivation of `reference_bounds.py`."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import reference_bounds as scalar

from chainback import Case, Chain
from chainback.operations.arithmetic import FLOAT32, Arithmetic
from chainback.operations.elementwise import Activation, Local
from chainback.truth.chain_bound import Derived, envelope

f32: Any = np.float32
η = FLOAT32.smallest_normal
System = tuple[np.ndarray, ...]


def assert_same(what: str, got: np.ndarray, expected: Any, room: Any = 0.0) -> None:
    """Equal to 1e-12 of the value, or to this room; where one is not finite, neither is the other."""
    expected = np.array(expected, np.float64).reshape(got.shape)
    finite = np.isfinite(expected)
    assert np.array_equal(finite, np.isfinite(got)), f"{what}: {got} is not {expected}"
    room = np.maximum(1e-12 * np.abs(expected[finite]), np.nan_to_num(np.broadcast_to(room, got.shape)[finite]))
    assert np.all(np.abs(got[finite] - expected[finite]) <= room), f"{what}: {got} is not {expected}"


def assert_inside(inside: Derived, row: int, expected: scalar.Bounds) -> None:
    """Everything that an envelope of gradients holds is as expected."""
    error_bounds, truth = inside.error_bounds, inside.truth
    for name, letter in (
        ("arguments", "E_z"),
        ("states", "E_x"),
        ("slopes", "E_δ"),
        ("adjoints", "E_Λ"),
        ("adjoint_magnitudes", "Λ"),
        ("weight_gradients", "E_W"),
        ("bias_gradients", "E_g"),
    ):
        assert_same(name, getattr(error_bounds, name)[..., row], getattr(expected, letter))
    # What cancels may differ by float64's roundings of its terms, of which the bounds have counted float32's.
    for name, letter, room in (
        ("states", "x", error_bounds.states),
        ("slopes", "δ", error_bounds.slopes),
        ("adjoints", "λ", error_bounds.adjoints),
        ("bias_gradients", "db", error_bounds.bias_gradients),
        ("weight_gradients", "dW", error_bounds.weight_gradients),
    ):
        with np.errstate(all="ignore"):  # a product of gradient and state, made when it is read
            got = getattr(truth, name)[..., row]
        assert_same(name, got, getattr(expected, letter), 2.0**-26 * room[..., row])
    assert_same("residual", truth.residual[..., row], expected.r, 2.0**-26 * error_bounds.adjoints[-1, :, row])
    assert_same("reference", inside.reference[row], expected.reference, 2.0**-26 * inside.bound[row])
    assert_same("bound", inside.bound[row], expected.bound)
    assert_same("underflow", error_bounds.underflow[row], expected.underflow)
    assert error_bounds.decided[row] == expected.within_range
    assert inside.decided[row] == expected.decided


def scalar_gradients(case: Case, arithmetic: Arithmetic) -> list[scalar.Bounds]:
    """The scalar derivation for each case of a batch."""
    arrays = (case.chain.weights, case.chain.biases, case.inputs, case.targets)
    found = []
    for row in range(len(case)):
        W, b, x, y = (np.asarray(a[row], np.float64).tolist() for a in arrays)
        with np.errstate(all="ignore"):
            found.append(scalar.gradient_bounds(W, b, case.chain.activations, x, y, arithmetic))
    return found


def scalar_substitutions(case: Case, system: System, arithmetic: Arithmetic) -> list[scalar.Bounds]:
    """The same for the solution of each computed system."""
    return [
        scalar.substitution_bounds(
            *(np.asarray(a[row], np.float64).tolist() for a in (*system, case.targets)), arithmetic
        )
        for row in range(len(case))
    ]


def assert_gradients(inside: Derived, linear: Derived, expected: list[scalar.Bounds]) -> None:
    """The envelopes of a batch, and those of its linearisation, are as expected."""
    assert len(inside.reference) == len(linear.reference) == len(expected)
    for row, one in enumerate(expected):
        assert_inside(inside, row, one)
        reference, bound, decided = scalar.linearisation_bounds(one, inside.arithmetic)
        assert_same("linearisation", linear.reference[row], reference, 2.0**-26 * linear.bound[row])
        assert_same("bound of the linearisation", linear.bound[row], bound)
        assert linear.decided[row] == decided


def rough_system(case: Case, seed: int) -> tuple[np.ndarray, ...]:
    """A float32 system near the true one, as a bad engine might compute it: 1 % off, with a subnormal here and there."""
    rng, truth = np.random.default_rng(seed), envelope(case).truth
    system = []
    with np.errstate(all="ignore"):
        couplings = truth.slopes[:, :, None] * truth.weights
    for part in (couplings, truth.slopes, truth.states):
        noise = rng.normal(1.0, 0.01, part.shape) * rng.choice([1.0, 1.0, 1.0, 0.0, 2.0**-130], part.shape)
        with np.errstate(all="ignore"):
            system.append(np.moveaxis(part * noise, -1, 0).astype(f32))
    return tuple(system)


def row_of(names: tuple[str, ...], weights: Any, biases: Any, x: Any = 1.0, y: Any = 0.0) -> Case:
    """One case of width 1."""
    return Case(Chain.scalar(weights, biases, names), f32([x]), f32([y]))


def square(names: tuple[str, ...], weights: Any, biases: Any, x: Any, y: Any) -> Case:
    """One case of any width."""
    return Case(Chain(f32(weights), f32(biases), names), f32(x), f32(y))


def together(*cases: Case) -> Case:
    """Single cases of one shape as a batch: what is decided for one must not hang on its neighbours."""
    chains = [case.chain for case in cases]
    chain = Chain(np.stack([c.weights for c in chains]), np.stack([c.biases for c in chains]), chains[0].activations)
    return Case(chain, np.stack([case.inputs for case in cases]), np.stack([case.targets for case in cases]))


#: Cases by hand, each for a branch of the derivation that random cases meet seldom or never.
BY_HAND: dict[str, Case] = {
    "kinks hit exactly": row_of(("relu", "leaky_relu"), [3.0, 1.0], [-1.5, 0.0], 0.5),
    "leaky kink hit exactly": row_of(("leaky_relu", "identity"), [3.0, 1.0], [-1.5, 0.0], 0.5),
    "kinks nearly hit": row_of(("relu", "leaky_relu"), [0.3, 0.7], [-0.3 * 0.7, 1e-9], 0.7),
    "leaky kink nearly hit from below": row_of(("leaky_relu", "identity"), [0.3, 0.7], [-0.3 * 0.7 - 1e-9, 0.1], 0.7),
    "crease from above": row_of(("elu", "identity"), [0.3, 0.7], [-0.3 * 0.7 + 2e-9, 0.1], 0.7),
    "crease from below": row_of(("elu", "elu"), [0.3, 0.7], [-0.3 * 0.7 - 2e-8, 0.1], 0.7),
    "crease far off": row_of(("elu", "elu"), [0.3, 0.7], [-0.4, 0.5], 0.7),
    "a subnormal input": row_of(("tanh", "identity"), [0.5, 2.0], [0.25, 1.0], 2.0**-130),
    "a subnormal target": row_of(("tanh", "identity"), [0.5, 2.0], [0.25, 1.0], 0.0, 2.0**-130),
    "subnormal weights": row_of(("sin", "sin", "sin"), [0.5, 2.0**-128, 2.0**100], [0.25, 1.0, 0.5]),
    "subnormal weights, and nothing beside them": row_of(
        ("identity", "sin", "relu"), [2.0**-128, 2.0**-127, 2.0**100], [0.0, 0.0, 0.0], 3.0
    ),
    "subnormal columns": square(
        ("identity", "sin", "relu"),
        [[[2.0**-128, 2.0**-127], [0.0, 1.0]], [[2.0**-127, 1.0], [2.0**-130, 0.0]], [[0.0, 2.0**-129], [0.0, 0.0]]],
        [[0.0, 0.0], [2.0**-140, 0.0], [0.0, 0.0]],
        [3.0, 2.0**-133],
        [0.5, 1.0],
    ),
    "subnormal biases": row_of(("identity", "relu", "sin"), [2.0**-100, 2.0**100, 1.0], [2.0**-127, -(2.0**-128), 0.5]),
    "the smallest normal number is none": row_of(("relu", "sin"), [η, 2.0**60], [η, 0.5], 2.0),
    "the smallest normal input is none": row_of(("sin", "sin"), [1.0, 2.0**60], [0.0, 0.5], η),
    "subnormal at width 2": square(
        ("relu", "tanh"),
        [[[1.0, 2.0**-127], [0.5, 2.0]], [[2.0**90, 2.0**-140], [1.0, -1.0]]],
        [[0.0, 2.0**-129], [1.0, 0.5]],
        [1.0, 2.0**-135],
        [0.5, 0.25],
    ),
    "nothing at all": row_of(("relu", "identity"), [0.0, 0.0], [0.0, 0.0], 0.0),
    "zero weights": square(
        ("relu", "identity"), np.zeros((2, 2, 2)), [[1.0, -1.0], [0.5, 0.0]], [1.0, 2.0], [0.5, 0.0]
    ),
    "growth beyond 1": row_of(("sigmoid", "tanh", "gelu"), [1e8, 3.0, 2.0], [-1e8, 0.5, 1.0]),
    "growth just below 1": row_of(("sigmoid", "tanh", "gelu"), [2e6, 3.0, 2.0], [-2e6, 0.5, 1.0]),
    "growth of a silu": row_of(("silu", "softplus", "silu"), [1.5e6, 1.0, 2.0], [-1.5e6 - 4.0, 0.5, 1.0]),
    "capped by ranges": row_of(("sin", "sigmoid", "relu", "tanh"), [1e9, 1e9, 2.0, 1e9], [0.5, 0.5, 0.5, 0.5]),
    "an infinite bound": row_of(("identity",) * 9, [1e38] * 9, [1.0] * 9),
    "no truth": row_of(("identity",) * 10, [1e38] * 10, [1.0] * 10, 1.0, 1.0),
    "no truth behind a sine": row_of(("identity",) * 10 + ("sin", "elu"), [1e38] * 10 + [1.0, 1.0], [1.0] * 12),
    "one exact unit of two": square(
        ("relu", "relu", "relu"), [[[1.0, 0.5], [0.1, 0.7]]] * 3, [[-0.5, 0.3]] * 3, [1.0, -1.0], [0.5, 0.25]
    ),
    "exact at width 3": square(
        ("relu", "leaky_relu", "identity", "relu"),
        [[[1.0, -0.5, 2.0], [0.5, 0.25, 0.0], [1.0, 1.0, -1.0]]] * 4,
        [[-0.5, 0.25, 1.0]] * 4,
        [1.0, -1.0, 0.5],
        [0.5, 0.25, 0.0],
    ),
    "25 bits": row_of(("relu", "relu"), [1.0, 1.0], [2.0**-24, 0.5], 1.0),
    "24 bits": row_of(("relu", "relu"), [1.0, 1.0], [2.0**-23, 0.5], 1.0 + 2.0**-23),
    "24 bits of 1": row_of(("relu", "relu"), [1.0, 1.0], [2.0**-24, 0.5], 1.0 - 2.0**-24),
    "exact, of subnormal terms": row_of(("relu", "relu"), [2.0**-100, 1.0], [0.0, 0.5], 2.0**-27),
    "exact, of smallest normal terms": row_of(("relu", "relu"), [2.0**-100, 1.0], [0.0, 0.5], 2.0**-26),
    "a leaky state below 0 is not exact": row_of(
        ("leaky_relu", "relu", "relu"), [1.0, 1.0, 1.0], [-2.0, 0.5, 0.25], 1.0
    ),
    "a curve ends exactness": row_of(("relu", "sin", "relu"), [1.0, 1.0, 0.0], [-2.0, 0.0, 0.25], 1.0),
}


#: An activation that is nobody's: each number of its model is another, so that none can stand in for another.
ODD = Activation(
    "odd",
    value=lambda z: 1.25 * np.tanh(z) - 0.25,
    slope=lambda z: 0.25 - 3.25 * np.exp(-np.abs(z)),
    local=lambda z: Local(0.5 + 0.0 * z, 0.75, 1.25, 0.625, 0.375 + np.abs(z), 0.875 + 2.0 * np.abs(z)),
    second_max=3.5,
    third_max=7.5,
    slope_range=(-3.25, 1.75),
    value_range=(-2.0, 1.5),
    value_rounding=3.0,
    slope_rounding=5.0,
    kinks=(0.25, 3.0),
    creases=(-0.5, 2.0),
    function=np.tanh,
    derivative=np.tanh,
)
#: The same without curvature; then with one kink that is settled.
BROKEN = replace(
    ODD,
    local=lambda z: Local(0.0, 0.0, 0.0, 0.0, np.where(z < 0.5, 0.0, np.abs(z)), 0.875 + 2.0 * np.abs(z)),
    second_max=0.0,
    third_max=0.0,
    creases=(),
)
ODDITIES = {
    "odd": ODD,
    "broken": BROKEN,
    "settled": replace(BROKEN, settled=True),
    "settled curve": replace(ODD, settled=True),
}


def true_system(case: Case) -> System:
    """The exact system of a case, in float64."""
    truth = envelope(case).truth
    system = (truth.slopes[:, :, None] * truth.weights, truth.slopes, truth.states)
    return tuple(np.moveaxis(part, -1, 0) for part in system)


#: Cases at an edge of what is decided, by a factor of the weight that is at the edge: decided just inside, or not.
LIMIT = FLOAT32.largest / 2.0**24
EDGES: dict[str, tuple[Callable[[float], Case], bool]] = {
    "a product nears the largest number": (
        lambda s: row_of(("identity",) * 2, [1.0, LIMIT * s], [0.0, 0.0], 0.0, -1.0),
        False,
    ),
    "a product nears it on its way": (
        lambda s: row_of(("identity",) * 4, [1.0, LIMIT * s, 2.0**-60, 4.0], [0.0] * 4, 0.0, -1.0),
        False,
    ),
    "a state nears it": (lambda s: row_of(("relu", "identity"), [-LIMIT * s, 1.0], [0.0, 0.0], 1.0, -1.0), False),
    "a residual nears it": (lambda s: row_of(("identity",), [1.0], [0.0], 0.0, -LIMIT * s), False),
    "the term for underflow reaches the gradient": (
        lambda s: row_of(("identity",) * 2, [1.0, 2.0**60], [0.0, 0.0], 0.0, -(2.0**-122) / s),
        True,
    ),
    "the term for underflow is no longer negligible": (
        lambda s: row_of(("identity",) * 2, [1.0, 2.0**22 * s], [0.0, 0.0], 0.0, -(2.0**-125)),
        True,
    ),
}


def argument_at_zero(**changes: Any) -> tuple[Case, Activation, float]:
    """A curved layer whose argument is 0, so that E_z and −E_z are numbers beside it; and E_z."""
    case, model = row_of(("odd",), [3.0], [-3.0], 1.0, 5.0), replace(ODD, **{"kinks": (), "creases": (), **changes})
    return case, model, scalar_error_bound(case)


def scalar_error_bound(case: Case) -> float:
    numbers = (case.chain.weights, case.chain.biases, case.inputs, case.targets)
    found = scalar.gradient_bounds(
        *(a.tolist() for a in numbers[:2]), ("sin",), *(a.tolist() for a in numbers[2:]), FLOAT32
    )
    assert found.z == [[0.0]]
    return found.E_z[0][0]


def by_values(values: tuple[float, ...], width: int, seed: int) -> tuple[Case, System]:
    """A system of these values alone, of no chain in particular."""
    rng, shape = np.random.default_rng(seed), (4, 3, width)
    C, δ, x, y = (rng.choice(f32(values), size) for size in ((*shape, width), shape, (4, 4, width), (4, width)))
    chain = Chain(np.ones_like(C), np.zeros_like(δ), ("identity",) * 3)
    return Case(chain, x[:, 0], y), (C, δ, x)


def width_edge(name: str, width: int, steps: int) -> Case:
    """Cases from inside to outside of an edge of what is decided, where the edge moves with the width."""
    eye, zero, one = np.eye(width), np.zeros(width), np.ones(width)
    cases = []
    for scale in np.exp2(np.linspace(-6.0, 6.0, steps)):
        if name == "product":
            case = square(("identity",) * 2, [eye, eye * LIMIT * scale / 8], [zero, zero], zero, -one)
        elif name == "floor":
            case = square(("identity",) * 2, [eye, eye * 2.0**60], [zero, zero], zero, one * 2.0**-119 / scale)
        else:
            layers = 1 if name == "affine alone" else 2
            weights = [np.full((width, width), LIMIT * scale / 8), eye][:layers]
            biases = [-one * LIMIT * scale / 8 * width, zero][:layers]
            case = square(("relu", "identity")[:layers], weights, biases, -one, -one)
        cases.append(case)
    return together(*cases)


def small_gradients(state: float, width: int, steps: int) -> Case:
    """Behind couplings of 2^60 a layer of zeros: the gradient is r and r xᵀ, as small as the target makes it."""
    eye, zero, falling = np.eye(width), np.zeros(width), -(0.4 ** np.arange(width))
    return together(
        *(
            square(
                ("identity",) * 3,
                [eye * 2.0**-60, eye * 2.0**60, eye * 0.0],
                [zero] * 3,
                state * falling,
                -falling * scale * 2.0**-60,
            )
            for scale in np.exp2(np.linspace(-6.0, 9.0, steps))
        )
    )


def growing_and_shrinking(depth: int, rows: int) -> tuple[Case, Case]:
    """Couplings that grow and shrink at random, so that the largest product is that of some run of them."""
    rng, narrow, wide = np.random.default_rng(depth), [], []
    for _ in range(rows):
        weights = np.ldexp(rng.choice([1.0, -1.5], depth), rng.integers(-30, 31, depth))
        narrow.append(row_of(("identity",) * depth, weights, np.zeros(depth), 0.0, 2.0**-70))
        weights = np.ldexp(rng.normal(size=(depth, 3, 3)), rng.integers(-30, 31, (depth, 1, 1)))
        target = [2.0**-70, 0.0, 2.0**-80]
        wide.append(square(("sin",) * depth, weights, np.zeros((depth, 3)), np.zeros(3), target))
    return together(*narrow), together(*wide)


def wide_argument(steps: int) -> Case:
    """Dead units whose argument nears the largest number only with what rounding has added to the state before them."""
    weights = [(1e6, -LIMIT * scale, 1.0) for scale in np.exp2(np.linspace(-1.0, 2.0, steps))]
    return together(*(row_of(("identity", "relu", "identity"), w, [-7e5 + 0.5, 0.0, 1.0], 0.7) for w in weights))


#: A slope without bounds; and a curvature that overflows even float64 when it is multiplied by a large weight.
UNBOUNDED = replace(ODD, slope_range=(0.0, math.inf), second_max=math.inf, third_max=math.inf)
STEEP = replace(
    ODD,
    local=lambda z: Local(1e290 + 0.0 * z, 1e290, 1e290, 0.0, 0.5, 0.5),
    second_max=1e290,
    third_max=1e290,
    slope_range=(-1e300, 1e300),
)
