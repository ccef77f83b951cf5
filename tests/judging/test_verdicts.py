"""The judge by itself: no engine, envelopes made by hand, and every table of verdicts and every sentence in full."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chainback import Case, Chain, Verdict, draw, judge
from chainback.errors import UsageError
from chainback.judging.judgement import Component, Judgement, Steps, component_at, exit_code, judge_steps, overall
from chainback.operations.arithmetic import ARITHMETICS, FLOAT32
from chainback.truth.chain_bound import envelope, linearisation, substitution
from chainback.truth.envelope import Envelope

f32: Any = np.float32
A, R, U, N = Verdict.ACCEPTED, Verdict.REJECTED, Verdict.UNDECIDED, Verdict.NOT_RUN


@pytest.fixture(scope="module")
def case() -> Case:
    return draw("wide", seed=5, depth=3, width=2, batch=0, rows=4)


def rows_to_pair(case: Case, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of components as the pair (dweights, dbiases), in float32."""
    count = case.chain.weights[0].size
    return rows[:, :count].astype(f32).reshape(case.chain.weights.shape), rows[:, count:].astype(f32).reshape(
        case.chain.biases.shape
    )


def made(case: Case, *, bound: float = 0.5, decided: Any = True) -> Envelope:
    """An envelope around 0 by hand, so that the result is its own error."""
    inside = envelope(case)
    return replace(
        inside,
        reference=np.zeros_like(inside.reference),
        bound=np.full_like(inside.bound, bound),
        decided=np.broadcast_to(np.asarray(decided), inside.decided.shape).copy(),
    )


def judged(case: Case, errors: dict[tuple[int, int], float], **how: Any) -> Judgement:
    """The judgement of an result with these errors at (row, place), 0 elsewhere, within an envelope by hand."""
    inside = made(case, **how)
    rows = np.zeros_like(inside.reference)
    for at, error in errors.items():
        rows[at] = error
    return judge(case, rows_to_pair(case, rows), within=inside)


def test_the_values_of_verdicts_are_what_reports_say() -> None:
    assert [str(v) for v in Verdict] == ["accepted", "rejected", "undecided", "not run", "known", "not there"]


@pytest.mark.parametrize("verdicts", [c for n in range(5) for c in itertools.combinations((A, R, U, N), n)])
def test_the_whole_is_what_its_parts_prove(verdicts: tuple[Verdict, ...]) -> None:
    expected = R if R in verdicts else A if A in verdicts and U not in verdicts else U
    assert overall(verdicts) is expected
    assert overall(v for v in verdicts * 2) is expected


def test_every_verdict_has_its_exit_code() -> None:
    assert {v: exit_code(v) for v in Verdict} == {A: 0, R: 1, U: 3, N: 3, Verdict.KNOWN: 3, Verdict.NOT_THERE: 3}


@pytest.mark.parametrize(
    ("error", "accepted"),
    [
        (0.0, True),
        (0.5, True),
        (-0.5, True),
        (float(np.nextafter(f32(0.5), f32(1.0))), False),
        (-float(np.nextafter(f32(0.5), f32(1.0))), False),
        (np.inf, False),
        (-np.inf, False),
        (np.nan, False),
    ],
)
def test_a_component_is_accepted_up_to_its_bound_and_that_included(case: Case, error: float, accepted: bool) -> None:
    found = judged(case, {(2, 7): error})
    assert found.accepted_components[2, 7] == accepted
    assert found.accepted_components.sum() == found.got.size - (not accepted)
    assert found.verdict is (A if accepted else R)
    assert found.accepted is accepted
    assert list(found.rejected_cases) == [False, False, not accepted, False]
    assert list(found.accepted_cases) == [True, True, accepted, True]
    assert found.error[2, 7] == abs(error) or math.isnan(error)
    assert found.deviation[2, 7] == error or math.isnan(error)
    assert found.malformed == ""


def test_the_error_is_taken_in_float64(case: Case) -> None:
    inside = made(case, bound=2.0**-30)
    inside = replace(inside, reference=inside.reference + 1.0 + 2.0**-30)
    found = judge(case, rows_to_pair(case, np.ones_like(inside.reference)), within=inside)
    assert found.accepted
    assert (found.deviation == -(2.0**-30)).all()
    assert (found.error == 2.0**-30).all()
    assert not judge(
        case, rows_to_pair(case, np.ones_like(inside.reference)), within=replace(inside, bound=inside.bound / 2)
    ).accepted


@pytest.mark.parametrize("decided", list(itertools.product([True, False], repeat=2)))
@pytest.mark.parametrize("wrong", list(itertools.product([True, False], repeat=2)))
def test_a_verdict_counts_decided_cases_only(decided: tuple[bool, bool], wrong: tuple[bool, bool]) -> None:
    two = draw("wide", seed=0, depth=2, width=2, batch=0, rows=2)
    found = judged(two, {(row, 3): 9.0 for row in range(2) if wrong[row]}, decided=decided)
    rejected = [d and w for d, w in zip(decided, wrong, strict=True)]
    accepted = [d and not w for d, w in zip(decided, wrong, strict=True)]
    assert list(found.rejected_cases) == rejected
    assert list(found.accepted_cases) == accepted
    assert found.verdict is (R if any(rejected) else A if any(accepted) else U)
    assert found.accepted is (found.verdict is A)


@pytest.mark.parametrize("decided", [True, False])
def test_a_malformed_answer_is_rejected_even_where_nothing_is_decided(case: Case, decided: bool) -> None:
    found = judge(case, None, within=made(case, decided=decided))
    assert found.verdict is R
    assert not found.accepted
    assert found.rejected_cases.tolist() == [True] * 4
    assert found.accepted_cases.tolist() == [False] * 4
    assert found.worst() is None
    assert [(a.shape, a.dtype) for a in (found.got, found.deviation, found.accepted_components)] == [
        ((0, 0), np.dtype(np.float32)),
        ((0, 0), np.dtype(np.float64)),
        ((0, 0), np.dtype(bool)),
    ]


def test_the_worst_component_is_the_one_with_the_largest_margin(case: Case) -> None:
    inside = made(case)
    inside.bound[1, 4] = 0.125
    rows = np.zeros_like(inside.reference)
    rows[0, 2], rows[1, 4], rows[3, 9] = 0.25, -0.1875, 0.5
    found = judge(case, rows_to_pair(case, rows), within=inside)
    worst = found.worst()
    assert worst == Component(1, "dW_2[0,0]", -0.1875, 0.0, 0.125)
    assert worst.margin == 1.5
    assert str(worst) == "dW_2[0,0]: got -0.1875, expected 0 ± 0.12"
    assert str(Component(0, "db_1[0]", 1 / 3, 2 / 3, 1 / 7)) == "db_1[0]: got 0.333333333, expected 0.666666667 ± 0.14"
    assert Component(0, "db_1[0]", 5.0, 2.0, 2.0).margin == 1.5
    inside.decided[1] = False
    worst = found.worst()
    assert worst == Component(3, "dW_3[0,1]", 0.5, 0.0, 0.5)
    inside.decided[:] = False
    assert found.worst() is None


def test_nan_is_worse_than_any_number_and_undecided_is_nothing(case: Case) -> None:
    found = judged(case, {(0, 0): np.nan, (2, 16): np.nan, (3, 1): 1e30}, decided=[False, True, True, True])
    worst = found.worst()
    assert worst is not None
    assert (worst.row, worst.name) == (2, "db_3[0]")
    assert math.isnan(worst.got)
    found = judged(case, {(1, 1): 0.0})
    assert found.worst() == Component(0, "dW_1[0,0]", 0.0, 0.0, 0.5)
    found = judged(case, {(0, 0): 9.0}, decided=[False, True, True, True])
    assert found.worst() == Component(1, "dW_1[0,0]", 0.0, 0.0, 0.5)


def test_the_largest_margin_overflows_in_silence(case: Case) -> None:
    worst = judged(case, {(1, 5): 3e38}, bound=1e-300).worst()
    assert worst is not None
    assert (worst.row, worst.name) == (1, "dW_2[0,1]")


def test_every_component_has_its_name_and_numbers(case: Case) -> None:
    inside = envelope(case)
    names = [f"dW_{i}[{j},{k}]" for i in (1, 2, 3) for j in (0, 1) for k in (0, 1)]
    names += [f"db_{i}[{j}]" for i in (1, 2, 3) for j in (0, 1)]
    got = inside.reference + 1.0
    for place, name in enumerate(names):
        assert component_at(inside, got, 3, place) == Component(
            3, name, got[3, place], inside.reference[3, place], inside.bound[3, place]
        )
    linear = linearisation(inside)
    names = [f"{what}_{i}[{j}]" for what in ("state", "slope") for i in (1, 2, 3) for j in (0, 1)]
    names += [f"coupling_{i}[{j},{k}]" for i in (1, 2, 3) for j in (0, 1) for k in (0, 1)]
    assert [component_at(linear, linear.reference, 0, place).name for place in range(24)] == names


def test_the_components_of_truth_are_where_their_names_say(case: Case) -> None:
    inside, row = envelope(case), 2
    truth, (weights, biases) = inside.truth, rows_to_pair(case, inside.reference)
    assert np.allclose(weights[row], truth.weight_gradients[..., row], rtol=1e-6)
    assert np.allclose(biases[row], truth.bias_gradients[..., row], rtol=1e-6)
    right = judge(case, Chain(weights, biases, case.chain.activations))
    assert right.accepted
    assert right.envelope.reference.tolist() == inside.reference.tolist()


class Raising:
    """What an engine may hand over in place of an array."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise self.error


PAIR = "expected the pair (dweights, dbiases)"


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (lambda w, b: None, "it returned nothing, expected (dweights, dbiases)"),
        (lambda w, b: (w,), f"it returned a tuple of length 1, {PAIR}"),
        (lambda w, b: [w, b, b], f"it returned a list of length 3, {PAIR}"),
        (lambda w, b: [], f"it returned a list of length 0, {PAIR}"),
        (lambda w, b: w, f"it returned a ndarray, {PAIR}"),
        (lambda w, b: {1: w, 2: b}, f"it returned a dict, {PAIR}"),
        (lambda w, b: "ab", f"it returned a str, {PAIR}"),
        (lambda w, b: (w[:, :2], b), "its dweights have shape (4, 2, 2, 2), expected (4, 3, 2, 2)"),
        (lambda w, b: (w, b[:, :, :1]), "its dbiases have shape (4, 3, 1), expected (4, 3, 2)"),
        (lambda w, b: (w[0], b[0]), "its dweights have shape (3, 2, 2), expected (4, 3, 2, 2)"),
        (lambda w, b: (b, w), "its dweights have shape (4, 3, 2), expected (4, 3, 2, 2)"),
        (lambda w, b: (w.astype(np.float64), b), "its dweights have dtype float64, expected float32"),
        (lambda w, b: (w, b.astype(np.float16)), "its dbiases have dtype float16, expected float32"),
        (lambda w, b: (w, b.astype(int)), "its dbiases have dtype int64, expected float32"),
        (lambda w, b: (Raising(ValueError("no")), b), "its dweights cannot be read as an array (ValueError: no)"),
        (lambda w, b: (w, Raising(SystemExit(3))), "its dbiases cannot be read as an array (SystemExit: 3)"),
    ],
)
def test_a_malformed_answer_has_its_sentence(case: Case, result: Any, sentence: str) -> None:
    found = judge(case, result(*rows_to_pair(case, envelope(case).reference)))
    assert found.malformed == sentence
    assert found.verdict is R


def test_an_interruption_is_no_answer(case: Case) -> None:
    with pytest.raises(KeyboardInterrupt):
        judge(case, (Raising(KeyboardInterrupt()), case.chain.biases))


def test_a_right_answer_is_right_in_every_form(case: Case) -> None:
    weights, biases = rows_to_pair(case, envelope(case).reference)
    for result in ((weights, biases), [weights, biases], Chain(weights, biases, case.chain.activations)):
        assert judge(case, result).accepted_cases.all()
        assert judge(case, result).got.dtype == np.float32
    assert judge(case[1], (weights[1], biases[1])).accepted_cases.tolist() == [True]
    assert judge(case[1], (weights[1:2], biases[1:2])).malformed.startswith("its dweights have shape (1, 3, 2, 2)")
    assert not judge(case, (weights[::-1], biases)).accepted
    assert not judge(case, (weights, biases[::-1])).accepted


def test_the_arithmetic_of_a_judgement_is_the_one_it_is_told(case: Case) -> None:
    weights, biases = rows_to_pair(case, envelope(case).reference * (1.0 + 2.0**-12))
    short = ARITHMETICS["bfloat16"]
    assert judge(case, (weights, biases)).envelope.arithmetic is FLOAT32
    assert judge(case, (weights, biases)).verdict is R
    assert judge(case, (weights, biases), arithmetic=short).verdict is A
    assert judge(case, (weights, biases), arithmetic=short).envelope.arithmetic is short
    # An envelope that is handed over has an arithmetic already.
    assert judge(case, (weights, biases), arithmetic=short, within=envelope(case)).verdict is R


def test_a_case_that_cannot_be_used_raises() -> None:
    chain = Chain.scalar([1.0], [0.0], ["identity"])
    with pytest.raises(UsageError, match="finite"):
        judge(Case(chain, f32([np.nan]), f32([0.0])), None)


@pytest.fixture(scope="module")
def solved(case: Case) -> tuple[Any, ...]:
    """The gradient of a case, and the system that it came of, as rounding to float32 leaves them."""
    truth = envelope(case).truth
    couplings, slopes, states = (
        np.moveaxis(a, -1, 0).astype(f32)
        for a in (truth.slopes[:, :, None] * truth.weights, truth.slopes, truth.states)
    )
    gradient = rows_to_pair(case, substitution(case, couplings, slopes, states).reference)
    return gradient, couplings, slopes, states


def with_error(array: np.ndarray, at: tuple[int, ...]) -> np.ndarray:
    array = array.copy()
    array[at] += f32(1.0)
    return array


def test_both_steps_are_judged_each_by_its_own_envelope(case: Case, solved: tuple[Any, ...]) -> None:
    for arithmetic in ARITHMETICS.values():
        inside = envelope(case, arithmetic)
        steps = judge_steps(case, *solved, inside)
        assert steps.linearisation.accepted_cases.all()
        assert steps.substitution.accepted_cases.all()
        assert [steps.failed(row) for row in range(4)] == [""] * 4
        assert steps.linearisation.envelope.arithmetic is steps.substitution.envelope.arithmetic is arithmetic
        assert np.array_equal(steps.linearisation.envelope.bound, linearisation(inside).bound)
        assert np.array_equal(steps.substitution.envelope.bound, substitution(case, *solved[1:], arithmetic).bound)


def test_a_system_may_come_as_lists(case: Case, solved: tuple[Any, ...]) -> None:
    gradient, *system = solved
    steps = judge_steps(case, gradient, *(list(a) for a in system), envelope(case))
    assert steps.linearisation.accepted_cases.all()
    assert steps.substitution.accepted_cases.all()


def test_a_failed_step_names_its_first_wrong_component(case: Case, solved: tuple[Any, ...]) -> None:
    gradient, couplings, slopes, states = solved
    inside, row = envelope(case), 1
    off = with_error(with_error(gradient[1], (row, 1, 0)), (row, 2, 1))
    steps = judge_steps(case, (gradient[0], off), couplings, slopes, states, inside)
    assert steps.linearisation.accepted
    assert steps.substitution.rejected_cases.tolist() == [False, True, False, False]
    wrong = component_at(steps.substitution.envelope, steps.substitution.got, row, 12 + 2)
    assert wrong.name == "db_2[0]"
    assert wrong.got == off[row, 1, 0]
    assert steps.failed(row) == f"its substitution is wrong at {wrong}"
    assert steps.failed(0) == ""

    for part, at, name, place in (
        ("states", (row, 3, 1), "state_3[1]", 5),
        ("slopes", (row, 0, 1), "slope_1[1]", 7),
        ("couplings", (row, 2, 1, 0), "coupling_3[1,0]", 22),
    ):
        system = {"couplings": couplings, "slopes": slopes, "states": states}
        system[part] = with_error(system[part], at)
        steps = judge_steps(case, gradient, **system, within=inside)
        assert steps.linearisation.rejected_cases.tolist() == [False, True, False, False]
        wrong = component_at(steps.linearisation.envelope, steps.linearisation.got, row, place)
        assert wrong.name == name
        assert steps.failed(row).startswith(f"its linearisation is wrong at {wrong}")
    # The solution of the right system is no solution of the wrong one: both steps failed, and both are named.
    first, second = steps.failed(row).split(" and ")
    assert first.startswith("its linearisation is wrong at coupling_3[1,0]: got ")
    assert second.startswith("its substitution is wrong at d")


def test_a_step_without_a_verdict_has_not_failed(case: Case) -> None:
    undecided = judged(case, {(0, 0): 9.0}, decided=False)
    assert Steps(undecided, undecided).failed(0) == ""
