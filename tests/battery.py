"""The battery that mutants of the truth, the bounds and the judge must not survive: milliseconds a mutant."""

import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
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
    ODD,
    System,
    assert_gradients,
    assert_inside,
    rough_system,
    row_of,
    scalar_gradients,
    scalar_substitutions,
)

import chainback
from chainback import Case, Chain, draw
from chainback.activations import ACTIVATIONS
from chainback.rounding import ARITHMETICS, FLOAT32, Arithmetic

f32: Any = np.float32
PACKAGE = Path(chainback.__file__).parent
MODULES = ("oracle", "bounds", "judgement")


class Fresh(NamedTuple):
    """The three modules, loaded anew; one of them may be a mutant."""

    oracle: Any
    bounds: Any
    judgement: Any


Check = Callable[[Fresh], None]


@contextmanager
def loaded(codes: dict[str, Any]) -> Iterator[Fresh]:
    """Load the three modules from their codes beside the installed ones, each importing the others of its own generation."""
    names = [f"chainback.{name}" for name in MODULES]
    kept = {name: sys.modules.get(name) for name in names}, {name: vars(chainback).get(name) for name in MODULES}
    fresh = []
    try:
        for name in MODULES:
            module = ModuleType(f"chainback.{name}")
            sys.modules[module.__name__] = module
            setattr(chainback, name, module)
            exec(codes[name], module.__dict__)
            fresh.append(module)
        yield Fresh(*fresh)
    finally:
        for name, module in kept[0].items():
            sys.modules.pop(name, None) if module is None else sys.modules.update({name: module})
        for name, module in kept[1].items():
            vars(chainback).pop(name, None) if module is None else setattr(chainback, name, module)


@cache
def originals() -> dict[str, str]:
    return {name: (PACKAGE / f"{name}.py").read_text() for name in MODULES}


class Question(NamedTuple):
    """A batch, a system beside it, and all that the scalar derivation says of them."""

    case: Case
    arithmetic: Arithmetic
    system: System
    gradients: list[scalar.Bounds]
    substitutions: list[scalar.Bounds]


#: A curved activation and a broken line whose numbers all differ, under names of their own.
OWN = {"odd": ODD, "broken": BROKEN}


@cache
def questions() -> list[Question]:
    """The batches of the battery; what is expected of them is computed once."""
    batches = [
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
    batches += [case.as_batch() for case in BY_HAND.values()]
    batches += [
        row_of(("odd", "broken"), [w, 0.5], [z - w, 0.125]).as_batch() for w in (0.7, 1e6, 1e8) for z in (0.25, 2.0)
    ]
    # A dead unit whose argument may overflow though no product of couplings can; and couplings that grow, die, and grow.
    dead = Chain.scalar([-1e30, 1.0], [0.0, 0.5], ["relu", "identity"])
    waves = Chain.scalar([1.0, 64.0, 2.0**-30, 64.0, 2.0**-30, 64.0], [0.5] * 6, ["identity"] * 6)
    batches += [Case(dead, f32([1e6]), f32([0.25])).as_batch(), Case(waves, f32([1.5]), f32([0.25])).as_batch()]
    short = list(ARITHMETICS.values())[1:]
    found = []
    for count, batch in enumerate(batches):
        for arithmetic in (FLOAT32, short[count % 2]) if count < 10 else (FLOAT32,):
            system = rough_system(batch, seed=count)
            gradients, substitutions = (
                scalar_gradients(batch, arithmetic),
                scalar_substitutions(batch, system, arithmetic),
            )
            found.append(Question(batch, arithmetic, system, gradients, substitutions))
    return found


def assert_numbers(fresh: Fresh) -> None:
    """Every truth and bound is that of the scalar derivation."""
    bounds = fresh.bounds
    for question in questions():
        inside = bounds.envelope(question.case, question.arithmetic)
        assert_gradients(inside, bounds.linearisation(inside), question.gradients)
        solved = bounds.substitution(question.case, *question.system, question.arithmetic)
        for row, expected in enumerate(question.substitutions):
            assert_inside(solved, row, expected)
    case = questions()[0].case
    found = fresh.oracle.true_gradient(case[0])
    assert np.array_equal([*found.weights.flat, *found.biases.flat], bounds.envelope(case).reference[0])


def assert_verdicts(fresh: Fresh) -> None:
    """Errors at, beside and beyond a bound, whatever is no answer, and what is said of each."""
    judge, case = fresh.judgement.judge, draw("wide", seed=5, depth=3, width=2, batch=0, rows=3)
    zero, inside = (np.zeros((3, 3, 2, 2), f32), np.zeros((3, 3, 2), f32)), fresh.bounds.envelope(case)
    decided = np.array([True, True, False])
    by_hand = replace(inside, reference=inside.reference * 0.0, bound=inside.bound * 0.0 + 0.5, decided=decided)
    over = float(np.nextafter(f32(0.5), f32(1.0)))
    for error, accepted in ((0.5, True), (-0.5, True), (over, False), (-over, False), (np.nan, False), (np.inf, False)):
        weights, biases = zero[0].copy(), zero[1].copy()
        weights[1, 2, 0, 1], biases[2] = error, 9.0
        found = judge(case, (weights, biases), within=by_hand)
        assert found.accepted is accepted
        assert found.accepted_cases.tolist() == [True, accepted, False]
        assert found.rejected_cases.tolist() == [False, not accepted, False]
        assert str(found.worst()) == f"dW_3[0,1]: got {error:.9g}, expected 0 ± 0.5"
        assert found.worst().margin == abs(error) / 0.5 or np.isnan(error)
        by_steps = fresh.judgement.Steps(judge(case, zero, within=by_hand), found)
        assert [by_steps.failed(row) for row in range(3)] == [
            "",
            "" if accepted else f"its substitution is wrong at dW_3[0,1]: got {error:.9g}, expected 0 ± 0.5",
            "",
        ]
    for answer, said in (
        (None, "it returned nothing, expected (dweights, dbiases)"),
        (zero[:1], "it returned a tuple of length 1, expected the pair (dweights, dbiases)"),
        (zero[0], "it returned a ndarray, expected the pair (dweights, dbiases)"),
        ((zero[0], zero[0]), "its dbiases have shape (3, 3, 2, 2), expected (3, 3, 2)"),
        ((zero[0].astype(float), zero[1]), "its dweights have dtype float64, expected float32"),
        (([[1], [1, 2]], zero[1]), "its dweights cannot be read as an array (ValueError: "),
    ):
        found = judge(case, answer, within=by_hand)
        assert found.malformed.startswith(said)
        assert found.verdict == "rejected"
        assert found.worst() is None
        assert (found.rejected_cases.tolist(), found.accepted_cases.tolist()) == ([True] * 3, [False] * 3)
    right = rows_of(inside, case)
    assert judge(case, right).accepted_cases.all()
    assert judge(case, Chain(*right, case.chain.activations)).accepted_cases.all()
    assert judge(case[1], (right[0][1], right[1][1])).accepted
    undecided = judge(case, zero, within=replace(by_hand, decided=~decided & False))
    assert (undecided.verdict, undecided.worst()) == ("undecided", None)
    verdict = fresh.judgement.Verdict
    for parts, whole, code in (
        ((), "undecided", 3),
        ((verdict.NOT_RUN,), "undecided", 3),
        ((verdict.ACCEPTED, verdict.NOT_RUN), "accepted", 0),
        ((verdict.ACCEPTED, verdict.UNDECIDED), "undecided", 3),
        ((verdict.ACCEPTED, verdict.UNDECIDED, verdict.REJECTED), "rejected", 1),
    ):
        assert fresh.judgement.overall(parts) == whole
        assert fresh.judgement.exit_code(fresh.judgement.overall(parts)) == code


def rows_of(inside: Any, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """The truth, rounded to float32, as an answer."""
    count = case.chain.weights[0].size
    weights, biases = inside.reference[:, :count], inside.reference[:, count:]
    return weights.astype(f32).reshape(case.chain.weights.shape), biases.astype(f32).reshape(case.chain.biases.shape)


#: What a mutant must not survive.
CHECKS = (assert_numbers, assert_verdicts)
#: Nothing in the battery takes a hundredth of this.
PATIENCE = 20.0


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""

    def late(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def survives(sources: dict[str, str], first: str = "", checks: tuple[Check, ...] = CHECKS) -> bool:
    """Whether the battery finds nothing: an exception, a warning or a hang kills as well as a failed assertion.

    Args:
        sources: The text of each module.
        first: The module that is a mutant, whose checks are then the first.
        checks: What is asked.

    Raises:
        SyntaxError: A source is no Python, and so no mutant.
    """
    with warnings.catch_warnings(action="ignore"):
        codes = {name: compile(sources[name], f"{name}.py", "exec") for name in MODULES}
    with patch.dict(ACTIVATIONS, OWN), warnings.catch_warnings(), limited(PATIENCE):
        expected = questions()
        warnings.simplefilter("error")
        try:
            with loaded(codes) as fresh:
                for check in reversed(checks) if first == "judgement" else checks:
                    check(fresh)
        except Exception:
            return False
    return bool(expected)
