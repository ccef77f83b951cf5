"""The battery that mutants of the truth, the bounds and the judge must not survive: milliseconds a mutant."""

import importlib
import math
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
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
    together,
    true_system,
    wide_argument,
    width_edge,
)

import chainback
from chainback import Case, Chain, draw
from chainback.errors import UsageError
from chainback.operations.activations import ACTIVATIONS
from chainback.operations.arithmetic import ARITHMETICS, FLOAT32, Arithmetic
from chainback.operations.elementwise import Activation
from chainback.problems.ensembles import draw_unpadded

f32: Any = np.float32
PACKAGE = Path(chainback.__file__).parent
#: What is mutated, each after those that it imports: a name, and the module's path.
MODULES = {
    "recurrences": "truth",
    "envelope": "truth",
    "chain_gradient": "truth",
    "chain_forward_error": "truth",
    "chain_bound": "truth",
    "judgement": "judging",
}


class Fresh(NamedTuple):
    """The modules, loaded anew; one of them may be a mutant."""

    recurrences: Any
    envelope: Any
    chain_gradient: Any
    chain_forward_error: Any
    chain_bound: Any
    judgement: Any


Check = Callable[[Fresh], None]


@contextmanager
def loaded(codes: dict[str, Any]) -> Iterator[Fresh]:
    """Load the modules from their codes beside the installed ones, each importing the others of its own generation."""
    rooms = {name: importlib.import_module(f"chainback.{room}") for name, room in MODULES.items()}
    paths = {name: f"chainback.{room}.{name}" for name, room in MODULES.items()}
    kept = {name: (sys.modules.get(path), getattr(rooms[name], name, None)) for name, path in paths.items()}
    fresh = []
    try:
        for name, path in paths.items():
            module = ModuleType(path)
            sys.modules[path] = module
            setattr(rooms[name], name, module)
            exec(codes[name], module.__dict__)
            fresh.append(module)
        yield Fresh(*fresh)
    finally:
        for name, (module, attribute) in kept.items():
            sys.modules.pop(paths[name], None) if module is None else sys.modules.update({paths[name]: module})
            vars(rooms[name]).pop(name, None) if attribute is None else setattr(rooms[name], name, attribute)


@cache
def originals() -> dict[str, str]:
    return {name: (PACKAGE / room / f"{name}.py").read_text() for name, room in MODULES.items()}


class Sample(NamedTuple):
    """A batch, a system beside it, and all that the scalar derivation says of them."""

    case: Case
    arithmetic: Arithmetic
    system: System
    gradients: list[scalar.Bounds]
    substitutions: list[scalar.Bounds]


@cache
def own_activations() -> dict[str, Activation]:
    """Activations under names of their own: each number of them is another, or stands at an edge."""
    models = {"odd": ODD, "broken": BROKEN, "settled": ODDITIES["settled"], "unbounded": UNBOUNDED, "steep": STEEP}
    with patch.dict(ACTIVATIONS, models):
        _, model, E_z = argument_at_zero()
    for place in (E_z, -E_z, math.nextafter(E_z, 1.0), -math.nextafter(E_z, 1.0)):
        models[f"kink {place}"], models[f"crease {place}"] = (
            replace(model, kinks=(place,)),
            replace(model, creases=(place,)),
        )
    rate = next(r for k in range(-8, 9) if (r := (1.0 + k * 2.0**-52) / E_z) * E_z == 1.0)
    for r in (rate, rate * (1.0 + 2.0**-50)):
        models[f"rate {r}"] = replace(model, local=lambda z, r=r: ODD.local(z)._replace(rate=r, curvature=1e3))
    return models


def sampled() -> list[Case]:
    """Cases of every kind, and by hand."""
    cases = [
        draw(name, seed=1, depth=depth, width=width, batch=batch, rows=3)
        for name, depth, width, batch in (
            ("mixed", 3, 2, 0),
            ("kinks", 4, 3, 1),
            ("saturated", 3, 1, 0),
            ("special", 4, 2, 2),
            ("tiny", 4, 1, 3),
            ("huge", 3, 2, 1),
            ("wide", 3, 3, 4),
            ("huge", 8, 1, 2),
        )
    ]
    return cases + [case.as_batch() for case in BY_HAND.values()]


def peculiar() -> list[Case]:
    """Cases of our own activations."""
    cases = [row_of(("odd", "broken"), [w, 0.5], [z - w, 0.125]) for w in (0.7, 1e6, 1e8) for z in (0.25, 2.0)]
    cases += [row_of(("odd", "odd"), [0.0, 0.5], [0.0625, 0.125])]
    # A state of 0 that may be far from it, before a weight that may be read as 0.
    cases += [row_of(("identity", "identity"), [w, 2.0**-130], [-w, 0.0], 1.0, 0.0) for w in (1e15, 1.1e15)]
    cases += [row_of((name,), [1.0], [-0.75], 1.0, 5.0) for name in ("broken", "settled")]
    cases += [row_of((name,), [3.0], [-3.0], 1.0, 5.0) for name in own_activations() if " " in name]
    pairs = (
        [row_of(("unbounded", "identity"), [w, 0.5], [-w, 0.5], 1.0, 5.0) for w in (1e7, 1.0)],
        [row_of(("steep",), [w], [0.5], 0.0, 5.0) for w in (1e38, 1.0)],
    )
    return [case.as_batch() for case in cases] + [together(*pair) for pair in pairs]


WIDTH_EDGES = ("product", "floor", "affine", "affine alone")


def edges() -> list[Case]:
    """Cases inside, at and outside the edges of what is decided."""
    # A dead unit whose argument may overflow though no product of couplings can; and couplings that grow, die, and grow.
    dead = Chain.scalar([-1e30, 1.0], [0.0, 0.5], ["relu", "identity"])
    waves = Chain.scalar([1.0, 64.0, 2.0**-30, 64.0, 2.0**-30, 64.0], [0.5] * 6, ["identity"] * 6)
    cases = [Case(dead, f32([1e6]), f32([0.25])).as_batch(), Case(waves, f32([1.5]), f32([0.25])).as_batch()]
    cases += [together(*(make(s) for s in (1.0 - 2.0**-22, 1.0, 1.0 + 2.0**-22))) for make, _ in EDGES.values()]
    cases += [width_edge(name, width, steps=25) for name in WIDTH_EDGES for width in (1, 2, 3)]
    # The same where a case is alone in its batch: the first that is not decided, and the last that is.
    cases += [width_edge("affine", 3, steps=25)[row].as_batch() for row in (12, 13)]
    cases += [small_gradients(state, width, steps=31) for state, width in ((8.0, 1), (-8.0, 2), (0.125, 3), (8.0, 3))]
    cases += [case for depth in (1, 2, 3, 6) for case in growing_and_shrinking(depth, rows=4)]
    return [*cases, wide_argument(steps=25)]


def deep() -> list[Case]:
    """Chains that are deep and few, which have ways of their own: one, two, of width 2; and one that Newton gives up."""
    return [
        draw_unpadded(name, seed=seed, depth=depth, width=width, rows=rows)[0]
        for name, seed, depth, width, rows in (
            ("mixed", 3, 70, 1, 1),
            ("alive", 1, 130, 1, 2),
            ("wide", 1, 130, 2, 1),
            ("tiny", 2, 70, 1, 1),
            ("kinks", 2, 70, 1, 1),
            ("saturated", 3, 90, 1, 1),
            ("huge", 3, 70, 1, 1),
        )
    ]


def cases_and_systems() -> Iterator[tuple[Case, Arithmetic, System]]:
    """All cases, each with a system beside it."""
    short = list(ARITHMETICS.values())[1:]
    for count, case in enumerate([*sampled(), *peculiar()]):
        system = rough_system(case, seed=count)
        yield case, FLOAT32, system
        if count < 10:
            yield case, short[count % 2], system
    for case in edges():
        yield case, FLOAT32, true_system(case)
    for case in deep():
        yield case, FLOAT32, rough_system(case, seed=1)
    η = FLOAT32.smallest_normal
    for values in ((η, -η, η / 2, 1.0, 0.0), (1e15, -1e12, 1e-15, 2.0**-140, 5.0), (1e35, 1e30, -1e20, 1e-30)):
        for width in (1, 2, 3):
            case, system = by_values(values, width, seed=width)
            yield case, FLOAT32, system


@cache
def samples() -> list[Sample]:
    """The batches of the battery; what is expected of them is computed once."""
    with patch.dict(ACTIVATIONS, own_activations()):
        return [
            Sample(case, how, system, scalar_gradients(case, how), scalar_substitutions(case, system, how))
            for case, how, system in cases_and_systems()
        ]


def assert_numbers(fresh: Fresh) -> None:
    """Every truth and bound is that of the scalar derivation."""
    bounds = fresh.chain_bound
    for sample in samples():
        inside = bounds.envelope(sample.case, sample.arithmetic)
        assert_gradients(inside, bounds.linearisation(inside), sample.gradients)
        solved = bounds.substitution(sample.case, *sample.system, sample.arithmetic)
        for row, expected in enumerate(sample.substitutions):
            assert_inside(solved, row, expected)


def assert_deep(fresh: Fresh) -> None:
    """Deep chains are solved at once, chunk by chunk, unless Newton gives up; what is deep is no matter of taste."""
    for layers, numbers, expected in (
        (64, 1, True),
        (63, 1, False),
        (128, 2, True),
        (127, 2, False),
        (9999, 200, False),
    ):
        assert fresh.recurrences.is_deep(np.zeros((layers, 1, numbers))) is expected
        assert fresh.recurrences.is_deep(np.zeros((layers, numbers, 1))) is expected
    chains = [sample for sample in samples() if sample.case.chain.depth >= 64]
    recurrence, ran = fresh.chain_forward_error._Recurrence, []
    run = recurrence.run
    for chunk in (fresh.recurrences._CHUNK, 32):  # the last chunk is short
        with (
            patch.object(fresh.recurrences, "_CHUNK", chunk),
            patch.object(recurrence, "run", lambda self, chunk: ran.append(self.names) or run(self, chunk)),
        ):
            for sample in chains:
                inside = fresh.chain_bound.envelope(sample.case, sample.arithmetic)
                assert_gradients(inside, fresh.chain_bound.linearisation(inside), sample.gradients)
    assert set(ran) == {sample.case.chain.activations for sample in chains[-2:]}


def assert_cut(fresh: Fresh) -> None:
    """What follows a state of a chain follows from how far that state may be off, and from whether it is exact."""
    for sample in samples():
        case, how, names = sample.case, sample.arithmetic, sample.case.chain.activations
        if not 2 <= len(names) <= 8:
            continue
        truth = fresh.chain_gradient.solve(case)
        flushed = fresh.chain_forward_error.flushed_magnitudes(truth.weights, how)
        with np.errstate(all="ignore"):
            whole = fresh.chain_forward_error.forward_error_bounds(truth, names, flushed, how)
            for k in range(1, len(names)):
                layers = (truth.weights, truth.biases, truth.states, truth.arguments, truth.slopes)
                back = truth.residual, truth.adjoints[k:], truth.bias_gradients[k:]
                rest = fresh.chain_gradient.Truth(*(part[k:] for part in layers), *back)
                start = whole.states[k], whole.exact[k - 1]
                found = fresh.chain_forward_error.forward_error_bounds(rest, names[k:], flushed[k:], how, start)
                for mine, theirs in zip(found, whole, strict=True):
                    assert np.array_equal(mine, theirs[k:], equal_nan=mine.dtype == np.float64)
                    assert mine.dtype == theirs.dtype


def assert_records(fresh: Fresh) -> None:
    """What an envelope says of itself, for a batch and for one case."""
    bounds, sample = fresh.chain_bound, samples()[0]
    for case, rows in ((sample.case, slice(None)), (sample.case[1], slice(1, 2))):
        system = tuple(part[rows] for part in sample.system)
        for how in (FLOAT32, ARITHMETICS["tf32"]):
            inside = bounds.envelope(case, how)
            linear, solved = bounds.linearisation(inside), bounds.substitution(case, *system, how)
            assert inside.arithmetic is linear.arithmetic is solved.arithmetic is how
            assert (linear.truth, linear.error_bounds) == (inside.truth, inside.error_bounds)
            assert not bounds.linearisation(replace(inside, decided=~inside.decided)).decided.any()
            shape = case.chain.depth, case.chain.width
            assert inside.blocks == solved.blocks == bounds.gradient_blocks(*shape)
            assert linear.blocks == bounds.linearisation_blocks(*shape)
            for truth in (inside.truth, solved.truth):
                assert np.array_equal(truth.weights, np.moveaxis(case.as_batch().chain.weights, 0, -1))
                assert np.array_equal(truth.biases, np.moveaxis(case.as_batch().chain.biases, 0, -1))
            assert solved.truth.arguments.shape == solved.truth.biases.shape
            assert np.isnan(solved.truth.arguments).all()  # a system says nothing of them
        found = fresh.chain_gradient.true_gradient(case)
        assert (found.weights.shape, found.biases.shape) == (case.chain.weights.shape, case.chain.biases.shape)
        assert np.array_equal(components(found, case), bounds.envelope(case).reference)
        assert found.activations == case.chain.activations


def components(gradient: Chain, case: Case) -> np.ndarray:
    """A gradient's components, one row a case."""
    return np.concatenate([part.reshape(len(case), -1) for part in (gradient.weights, gradient.biases)], axis=1)


def assert_frozen(fresh: Fresh) -> None:
    """Nothing that was judged can be changed by a name's new value."""
    case = samples()[0].case
    judged = fresh.judgement.judge(case, None)
    worst = fresh.judgement.Component(0, "", 0.0, 0.0, 1.0)
    for record in (
        judged,
        judged.envelope,
        judged.envelope.truth,
        judged.envelope.error_bounds,
        worst,
        fresh.judgement.Steps(judged, judged),
    ):
        (first, *_) = vars(record)
        try:
            setattr(record, first, None)
        except FrozenInstanceError:
            continue
        raise AssertionError(f"{type(record).__name__} can be changed")


def rows_of(inside: Any, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """The truth, rounded to float32, as a result."""
    count = case.chain.weights[0].size
    weights, biases = inside.reference[:, :count], inside.reference[:, count:]
    return weights.astype(f32).reshape(case.chain.weights.shape), biases.astype(f32).reshape(case.chain.biases.shape)


def assert_chunks(fresh: Fresh) -> None:
    """A chunk of layers is solved at once in few steps, unless a slope of it jumps: that is left to the loop."""
    chunk, solved = slice(0, 70), fresh.recurrences.forward_substitute
    for names, at_once in ((("sin",) * 70, True), (("sin",) * 69 + ("relu",), False), (("relu",) * 70, False)):
        weights, biases = np.full((70, 1, 1, 1), 0.9), np.linspace(-0.5, 0.5, 70).reshape(70, 1, 1)
        found = [np.full((71, 1, 1), 0.0) for _ in range(2)]
        by_loop, by_newton = (
            fresh.chain_gradient._States(names, weights, biases, np.empty_like(biases), x) for x in found
        )
        by_loop.run(chunk)
        steps: list[int] = []

        def counted(C: Any, r: Any, steps: list[int] = steps) -> Any:
            steps.append(1)
            return solved(C, r)

        with patch.object(fresh.recurrences, "forward_substitute", counted):
            assert by_newton.solve(chunk) is at_once
        if at_once:
            assert np.allclose(found[0], found[1], rtol=0, atol=2.0**-40)
            assert len(steps) == 7


def three_cases() -> Case:
    """The batch that verdicts are tested on."""
    return draw("wide", seed=5, depth=3, width=2, batch=0, rows=3)


def within_a_half(fresh: Fresh, case: Case, decided: Any = (True, True, False)) -> Any:
    """An envelope by hand around 0, so that the result is its own error."""
    inside = fresh.chain_bound.envelope(case)
    return replace(inside, reference=inside.reference * 0.0, bound=inside.bound * 0.0 + 0.5, decided=np.array(decided))


def assert_verdicts(fresh: Fresh) -> None:
    """Errors at, beside and beyond a bound."""
    judge, case = fresh.judgement.judge, three_cases()
    zero = (np.zeros((3, 3, 2, 2), f32), np.zeros((3, 3, 2), f32))
    by_hand, over = within_a_half(fresh, case), float(np.nextafter(f32(0.5), f32(1.0)))
    for error, accepted in ((0.5, True), (-0.5, True), (over, False), (-over, False), (np.nan, False), (np.inf, False)):
        weights, biases = zero[0].copy(), zero[1].copy()
        weights[1, 2, 0, 1], biases[2] = error, 9.0
        found = judge(case, (weights, biases), within=by_hand)
        assert found.accepted is accepted
        assert found.accepted_cases.tolist() == [True, accepted, False]
        assert found.rejected_cases.tolist() == [False, not accepted, False]
        assert found.deviation[1, 9] == error or np.isnan(error)
        assert found.deviation.dtype == np.float64
        assert found.error[1, 9] == abs(error) or np.isnan(error)
        assert (found.got.dtype, found.got[2, 12:].tolist()) == (f32, [9.0] * 6)
        assert str(found.worst()) == f"dW_3[0,1]: got {error:.9g}, expected 0 ± 0.5"
        assert found.worst().margin == abs(error) / 0.5 or np.isnan(error)
        by_steps = fresh.judgement.Steps(judge(case, zero, within=by_hand), found)
        assert [by_steps.failed(row) for row in range(3)] == [
            "",
            "" if accepted else f"its substitution is wrong at dW_3[0,1]: got {error:.9g}, expected 0 ± 0.5",
            "",
        ]
    undecided = judge(case, zero, within=within_a_half(fresh, case, [False] * 3))
    assert (undecided.verdict, undecided.worst()) == ("undecided", None)
    by_hand.reference[2] = np.inf
    assert judge(case, (zero[0] + f32(np.inf), zero[1]), within=by_hand).verdict == "rejected"
    verdict = fresh.judgement.Verdict
    assert list(verdict) == ["accepted", "rejected", "undecided", "not run", "known", "not there"]
    for parts, whole, code in (
        ((), "undecided", 3),
        ((verdict.NOT_RUN,), "undecided", 3),
        ((verdict.ACCEPTED, verdict.NOT_RUN), "accepted", 0),
        ((verdict.ACCEPTED, verdict.UNDECIDED), "undecided", 3),
        ((verdict.ACCEPTED, verdict.UNDECIDED, verdict.REJECTED), "rejected", 1),
    ):
        assert fresh.judgement.overall(iter(parts)) == whole
        assert fresh.judgement.exit_code(fresh.judgement.overall(parts)) == code


def assert_worst(fresh: Fresh) -> None:
    """The worst component is the one with the largest margin, NaN before any; each has its name, its place, its numbers."""
    judge, case, component = fresh.judgement.judge, three_cases(), fresh.judgement.Component
    inside = within_a_half(fresh, case, [False, True, True])
    inside.bound[1, 4] = 0.125

    def worst(*errors: tuple[int, int, float]) -> Any:
        rows = np.zeros_like(inside.reference)
        for row, place, error in errors:
            rows[row, place] = error
        return judge(case, rows_of(replace(inside, reference=rows), case), within=inside).worst()

    assert worst() == component(1, "dW_1[0,0]", 0.0, 0.0, 0.5)
    assert worst((0, 1, 9.0), (1, 4, -0.1875), (2, 9, 0.5)) == component(1, "dW_2[0,0]", -0.1875, 0.0, 0.125)
    assert worst((1, 4, 3e38), (2, 16, np.nan)).name == "db_3[0]"
    assert worst((1, 3, np.inf), (1, 5, np.nan)).name == "dW_1[1,1]"  # nothing is worse than either: the first
    inside.bound[:] = 1e-300
    assert worst((2, 9, 3e38)).name == "dW_3[0,1]"  # its margin overflows in silence
    assert component(0, "", 5.0, 2.0, 2.0).margin == 1.5
    text = "db_1[0]: got 0.333333333, expected 0.666666667 ± 0.14"
    assert str(component(0, "db_1[0]", 1 / 3, 2 / 3, 1 / 7)) == text
    assert type(worst((1, 4, 1.0)).row) is int
    inside.bound[:] = 0.5
    inside.bound[1, :4] = 0.0  # exact, and found exactly: 0 / 0 is no margin
    assert worst((1, 4, 0.25)) == component(1, "dW_2[0,0]", 0.25, 0.0, 0.5)
    assert worst((1, 2, 1e-30), (1, 4, 0.25)).margin == math.inf
    assert component(0, "", 2.0, 2.0, 0.0).margin == 0.0
    assert component(0, "", 5.0, 2.0, 0.0).margin == math.inf
    three = range(3)
    weights = [f"{{}}_{i + 1}[{j},{k}]" for i in three for j in three for k in three]
    vectors = [f"{{}}_{i + 1}[{j}]" for i in three for j in three]
    case = draw("wide", seed=5, depth=3, width=3, batch=0, rows=3)
    envelope = fresh.chain_bound.envelope(case)
    for each, names in (
        (envelope, [("dW", weights), ("db", vectors)]),
        (fresh.chain_bound.linearisation(envelope), [("state", vectors), ("slope", vectors), ("coupling", weights)]),
    ):
        got = (each.reference + 1.0).astype(f32)
        for place, name in enumerate(name.format(what) for what, some in names for name in some):
            found = fresh.judgement.component_at(each, got, 2, place)
            assert found == component(2, name, got[2, place], each.reference[2, place], each.bound[2, place])
            assert {type(number) for number in (found.got, found.expected, found.bound)} == {float}


def assert_named(fresh: Fresh, envelope: Any, arrays: dict[str, np.ndarray], names: list[str]) -> None:
    """Each component of an envelope has its name, its block and its index; and a row is split into its arrays."""
    assert [envelope.name_of(place) for place in range(len(names))] == names
    found = envelope.split(envelope.reference[1])
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert np.array_equal(found[name], array)
        assert found[name].shape == array.shape
    for place, number in enumerate(envelope.reference[1]):
        block, index = envelope.locate(place)
        assert arrays[block.name][index] == number
        assert {type(i) for i in index} <= {int}
    text = f"place must be below {len(names)}, got {len(names)}"
    assert_raises(IndexError, lambda: envelope.locate(len(names)), text)


def assert_envelopes(fresh: Fresh) -> None:
    """The components of a chain's gradient, and those of a program's, are named by their blocks alone."""
    block, of = fresh.envelope.Block, fresh.envelope.Envelope
    shapes = {"params['w']": (2, 3), "params['b']": (3,), "scale": (), "empty": (0, 4), "x": (2, 1, 2)}
    names = [f"params['w'][{i}, {j}]" for i in range(2) for j in range(3)]
    names += [f"params['b'][{i}]" for i in range(3)]
    names += ["scale", *(f"x[{i}, 0, {k}]" for i in range(2) for k in range(2))]
    rows = np.arange(3.0 * len(names)).reshape(3, -1)
    parts = np.split(rows[1], np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1])
    arrays = {name: part.reshape(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
    blocks = tuple(block(name, shape) for name, shape in shapes.items())
    assert [each.size for each in blocks] == [6, 3, 1, 0, 4]
    program = of(rows, rows, np.ones(3, bool), FLOAT32, blocks)
    assert program.ends == (6, 9, 10, 10, 14)
    assert_named(fresh, program, arrays, names)
    assert fresh.judgement.component_at(program, rows + 1.0, 2, 13) == fresh.judgement.Component(
        2, "x[1, 0, 1]", rows[2, 13] + 1.0, rows[2, 13], rows[2, 13]
    )
    for size in (13, 15):
        text = f"the blocks name {size} components, but a row has 14"
        assert_raises(ValueError, lambda size=size: replace(program, blocks=(block("x", (size,)),)), text)
    assert_raises(FrozenInstanceError, lambda: setattr(program, "blocks", ()))
    assert_raises(FrozenInstanceError, lambda: setattr(blocks[0], "name", ""))
    layers = np.arange(2.0 * 2 * 3).reshape(2, 2, 3)
    chain = of(layers.reshape(2, -1), rows, np.ones(2, bool), FLOAT32, (block("db", (2, 3), by_layer=True),))
    assert_named(fresh, chain, {"db": layers[1]}, [f"db_{i + 1}[{j}]" for i in range(2) for j in range(3)])
    columns = np.asfortranarray(layers)
    joined = fresh.envelope.components_of(columns, columns[:, :, 0])
    assert np.array_equal(joined, [[*layer.ravel(), *layer[:, 0]] for layer in layers])
    assert joined.flags["C_CONTIGUOUS"]


class Foreign:
    """An array of somebody else: its shape is a list, its numbers are not looked at before they are needed."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, list(array.shape), array.dtype

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        return self.array


class Raising:
    """An array that cannot be read."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise self.error


def assert_results(fresh: Fresh) -> None:
    """A right result is accepted in every form; a malformed one is rejected with its sentence."""
    judge, case = fresh.judgement.judge, three_cases()
    inside = fresh.chain_bound.envelope(case)
    w, b = right = rows_of(inside, case)
    pair = ", expected the pair (dweights, dbiases)"
    for result, text in (
        (None, "it returned nothing, expected (dweights, dbiases)"),
        ((w,), f"it returned a tuple of length 1{pair}"),
        ([w, b, b], f"it returned a list of length 3{pair}"),
        (w, f"it returned a ndarray{pair}"),
        (w[:2], f"it returned a ndarray{pair}"),
        ((w, w), "its dbiases have shape (3, 3, 2, 2), expected (3, 3, 2)"),
        ((w, b[:2]), "its dbiases have shape (2, 3, 2), expected (3, 3, 2)"),
        ((w.astype(float), b), "its dweights have dtype float64, expected float32"),
        ((w.tolist(), b), "its dweights have dtype float64, expected float32"),
        ((w, b.astype(np.float16)), "its dbiases have dtype float16, expected float32"),
        ((Raising(ValueError("no")), b), "its dweights cannot be read as an array (ValueError: no)"),
        ((w, Raising(SystemExit(3))), "its dbiases cannot be read as an array (SystemExit: 3)"),
    ):
        found = judge(case, result, within=within_a_half(fresh, case))
        assert (found.malformed, found.verdict, found.worst()) == (text, "rejected", None)
        assert (found.rejected_cases.tolist(), found.accepted_cases.tolist()) == ([True] * 3, [False] * 3)
        arrays = (found.got, found.deviation, found.error, found.accepted_components)
        assert [(a.shape, a.dtype) for a in arrays] == [((0, 0), kind) for kind in (f32, float, float, bool)]
    for result in (right, list(right), ([*w], [*b]), Chain(w, b, case.chain.activations)):
        assert judge(case, result).accepted_cases.all()
    assert judge(case[1], (w[1], b[1])).accepted
    assert judge(case[1], ([*w[1]], [*b[1]])).accepted
    read, other = fresh.judgement.read_result(case, right), fresh.judgement.read_result(case, (w, -b))
    none = fresh.judgement.Result(None, "none")
    assert read.malformed == ""
    assert read.same_bits(fresh.judgement.read_result(case, [w.copy(), b.copy()]))
    assert not any(a.same_bits(b) for a, b in ((read, other), (other, read), (read, none), (none, read), (none, none)))
    parts = (case.chain.weights, case.chain.biases, case.inputs, case.targets)
    weights, biases, inputs, targets = map(Foreign, parts)
    foreign = Case(Chain(weights, biases, case.chain.activations), inputs, targets)
    assert judge(foreign, right).accepted_cases.all()
    assert judge(foreign, (w[:2], b)).malformed == "its dweights have shape (2, 3, 2, 2), expected (3, 3, 2, 2)"
    biases.array = biases.array * np.nan
    assert_raises(UsageError, lambda: judge(foreign, right, within=inside))
    assert_raises(KeyboardInterrupt, lambda: judge(case, (Raising(KeyboardInterrupt()), b)))
    # An envelope that is handed over has an arithmetic already.
    rough, short = (w * f32(1.0 + 2.0**-12), b * f32(1.0 + 2.0**-12)), ARITHMETICS["bfloat16"]
    assert judge(case, rough).verdict == "rejected"
    assert judge(case, rough, arithmetic=short).verdict == "accepted"
    assert judge(case, rough, arithmetic=short, within=inside).verdict == "rejected"


def assert_raises(error: type[BaseException], call: Callable[[], Any], text: str = "") -> None:
    """Assert that a call raises an error, with this text unless it is empty."""
    try:
        call()
    except error as raised:
        found = str(raised)
    else:
        raise AssertionError(f"{error.__name__} was not raised")
    assert text in ("", found)


def assert_steps(fresh: Fresh) -> None:
    """Linearisation and substitution are judged each by its own envelope, and what fails is named."""
    for how in ARITHMETICS.values():
        assert_steps_under(fresh, three_cases(), how)


def assert_steps_under(fresh: Fresh, case: Case, how: Arithmetic) -> None:
    """The same, in one arithmetic."""
    inside = fresh.chain_bound.envelope(case, how)
    parts = tuple(a.astype(f32) for a in true_system(case))
    solved = fresh.chain_bound.substitution(case, *parts, how)
    w, b = rows_of(solved, case)
    for form in (np.asarray, list):
        steps = fresh.judgement.judge_steps(case, (w, b), *map(form, parts), inside)
        assert steps.linearisation.accepted_cases.all()
        assert steps.substitution.accepted_cases.all()
        assert [steps.failed(row) for row in range(3)] == [""] * 3
        assert np.array_equal(steps.linearisation.envelope.bound, fresh.chain_bound.linearisation(inside).bound)
        assert np.array_equal(steps.substitution.envelope.bound, solved.bound)
    off = b.copy()
    off[1, 1:, 0] += f32(1.0)
    steps = fresh.judgement.judge_steps(case, (w, off), *parts, inside)
    assert steps.substitution.rejected_cases.tolist() == [False, True, False]
    assert steps.failed(1).startswith("its substitution is wrong at db_2[0]: got ")
    for part, at, name in (
        (0, (1, 2, 1, 0), "coupling_3[1,0]"),
        (1, (1, 0, 1), "slope_1[1]"),
        (2, (1, 3, 1), "state_3[1]"),
    ):
        wrong = [a.copy() for a in parts]
        wrong[part][at] += f32(1.0)
        steps = fresh.judgement.judge_steps(case, (w, b), *wrong, inside)
        assert steps.linearisation.rejected_cases.tolist() == [False, True, False]
        first, second = steps.failed(1).split(" and ")
        assert first.startswith(f"its linearisation is wrong at {name}: got ")
        assert second.startswith("its substitution is wrong at d")


#: What a mutant must not survive.
CHECKS = (
    assert_numbers,
    assert_deep,
    assert_cut,
    assert_records,
    assert_frozen,
    assert_steps,
    assert_worst,
    assert_envelopes,
    assert_results,
    assert_chunks,
    assert_verdicts,
)
#: Nothing in the battery takes a hundredth of this.
PATIENCE = 20.0


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes longer, in seconds of processor time: a busy machine kills no mutant."""

    def late(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def survives(sources: dict[str, str], first: str = "", checks: tuple[Check, ...] = CHECKS) -> bool:
    """Whether the battery finds nothing: an exception, a warning or a hang kills as well as a failed assertion.

    Args:
        sources: The text of each module.
        first: The module that is a mutant, whose checks are then the first.
        checks: What it must pass.

    Raises:
        SyntaxError: A source is no Python, and so no mutant.
    """
    with warnings.catch_warnings(action="ignore"):
        codes = {name: compile(sources[name], f"{name}.py", "exec") for name in MODULES}
    prepared = samples()
    with patch.dict(ACTIVATIONS, own_activations()), warnings.catch_warnings(), limited(PATIENCE):
        warnings.simplefilter("error")
        try:
            with loaded(codes) as fresh:
                for check in reversed(checks) if first in ("judgement", "envelope") else checks:
                    check(fresh)
        except (Exception, SystemExit):
            return False
    return bool(prepared)
