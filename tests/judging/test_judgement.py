"""The judge: what it accepts, and every way of being wrong that it must not."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainback import Chain, Verdict, draw, gradient, judge
from chainback.engines.networks import codes
from chainback.engines.triangular import SOLVERS, ExtendedJacobian, solve_chain
from chainback.judging.judgement import component_at, exit_code, judge_steps, overall
from chainback.truth.chain_bound import envelope, linearisation


@pytest.fixture(scope="module")
def case():
    return draw("lecture", seed=0, depth=8, width=1, batch=1, rows=64)


@pytest.fixture(scope="module")
def right(case):
    found = gradient(case.chain, case.inputs, case.targets)
    return np.asarray(found.weights), np.asarray(found.biases)


def test_a_right_answer_is_accepted_in_any_form(case, right) -> None:
    for result in (right, list(right), Chain(*right, case.chain.activations), tuple(map(jnp.asarray, right))):
        judgement = judge(case, result)
        assert judgement.accepted
        assert judgement.accepted_cases.all()
        assert not judgement.rejected_cases.any()


def test_a_single_case_is_judged_too(case, right) -> None:
    assert judge(case[5], (right[0][5], right[1][5])).accepted
    assert not judge(case[5], (right[0][6], right[1][6])).accepted


def scaled_bias(w, b):
    b[:, 4] *= np.float32(1 + 2.0**-16)


def first_half_zero(w, b):
    w[:, :4] = 0
    b[:, :4] = 0


def last_layer_wrong(w, b):
    w[:, -1] *= -1


def nan_in_one(w, b):
    b[17, 3] = np.nan


def infinity_in_one(w, b):
    w[17, 3] = np.inf


def swapped_layers(w, b):
    w[:, [0, 1]] = w[:, [1, 0]]


def one_sign(w, b):
    w[63, 7] *= -1


@pytest.mark.parametrize(
    "wrong",
    [scaled_bias, first_half_zero, last_layer_wrong, nan_in_one, infinity_in_one, swapped_layers, one_sign],
)
def test_a_wrong_component_is_rejected(case, right, wrong) -> None:
    weights, biases = right[0].copy(), right[1].copy()
    wrong(weights, biases)
    judgement = judge(case, (weights, biases))
    assert judgement.verdict is Verdict.REJECTED
    worst = judgement.worst()
    assert worst is not None
    assert not worst.margin <= 1


def test_bfloat16_arithmetic_is_rejected(case, right) -> None:
    rounded = tuple(np.asarray(jnp.asarray(a, jnp.bfloat16).astype(jnp.float32)) for a in right)
    assert judge(case, rounded).verdict is Verdict.REJECTED


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (lambda w, b: None, "it returned nothing"),
        (lambda w, b: (w,), "tuple of length 1, expected the pair"),
        (lambda w, b: w, "it returned a ndarray, expected the pair"),
        (lambda w, b: {}, "it returned a dict"),
        (lambda w, b: (w, b[:, :-1]), r"its dbiases have shape \(64, 7, 1\), expected \(64, 8, 1\)"),
        (lambda w, b: (w[:0], b[:0]), r"its dweights have shape \(0, 8, 1, 1\)"),
        (lambda w, b: (w.astype(np.float64), b), "its dweights have dtype float64, expected float32"),
        (lambda w, b: (w, [object()] * 3), "its dbiases have dtype object"),
        (lambda w, b: (w, [[1], [1, 2]]), "its dbiases cannot be read as an array"),
    ],
)
def test_a_malformed_answer_is_rejected_with_a_sentence(case, right, result, sentence: str) -> None:
    judgement = judge(case, result(*right))
    assert judgement.verdict is Verdict.REJECTED
    assert judgement.rejected_cases.all()
    assert not judgement.accepted_cases.any()
    import re

    assert re.search(sentence, judgement.malformed)
    assert "\n" not in judgement.malformed


def test_acceptance_needs_error_within_bound_to_be_true(case, right) -> None:
    bounds = envelope(case)
    weights, biases = right[0].copy(), right[1].copy()
    place = 8 + 3  # db_4
    for factor, accepted in ((0.99, True), (1.01, False)):
        edge = bounds.reference[0, place] + factor * bounds.bound[0, place]
        if abs(np.float32(edge) - edge) < 0.005 * bounds.bound[0, place]:
            biases[0, 3, 0] = np.float32(edge)
            assert judge(case, (weights, biases), within=bounds).accepted is accepted


def test_components_are_named_as_in_the_mathematics() -> None:
    case = draw("wide", seed=0, depth=3, width=2, batch=0, rows=2)
    found = gradient(case.chain, case.inputs, case.targets)
    weights, biases = np.array(found.weights), np.array(found.biases)
    weights[1, 2, 0, 1] = 99.0
    worst = judge(case, (weights, biases)).worst()
    assert worst is not None
    assert (worst.row, worst.name, worst.got) == (1, "dW_3[0,1]", 99.0)
    assert "got 99, expected" in str(worst)
    biases[0, 1, 1] = np.nan
    worst = judge(case, (weights, biases)).worst()
    assert worst is not None
    assert (worst.row, worst.name) == (0, "db_2[1]")


def test_only_proof_accepts() -> None:
    A, R, U, N = Verdict.ACCEPTED, Verdict.REJECTED, Verdict.UNDECIDED, Verdict.NOT_RUN
    assert overall([]) is U
    assert overall([N]) is U
    assert overall([A, N]) is A
    assert overall([A, U]) is U
    assert overall([A, U, R]) is R
    assert [exit_code(v) for v in (A, R, U, N)] == [0, 1, 3, 3]


def solved(case, solver: str):
    """Solve a batch by the triangular method: the gradients, and the system they came of, as NumPy arrays."""
    run = jax.vmap(lambda w, b, x, y: solve_chain(w, b, codes(case.chain.activations), x, y, solver))
    return jax.tree.map(np.array, run(case.chain.weights, case.chain.biases, case.inputs, case.targets))


def steps_of(case, gradients, system: ExtendedJacobian):
    return judge_steps(case, gradients, system.couplings, system.slopes, system.states, envelope(case))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", ["lecture", "mixed", "saturated", "kinks", "tiny", "huge", "special", "wide"])
def test_both_steps_of_the_triangular_method_are_accepted(name: str, solver: str) -> None:
    case = draw(name, seed=4, depth=5, width=3 if name == "wide" else 1, batch=0, rows=300)
    steps = steps_of(case, *solved(case, solver))
    assert steps.linearisation.accepted
    assert steps.substitution.accepted
    assert steps.substitution.accepted_cases.mean() > 0.5
    assert {steps.failed(row) for row in range(300)} == {""}


def wrong_slope(system):
    return replace(system, slopes=system.slopes * np.float32(1.001))


def wrong_coupling(system):
    return replace(system, couplings=np.roll(system.couplings, 1, axis=1))


def wrong_state(system):
    return replace(system, states=system.states + np.float32(0.001))


@pytest.mark.parametrize(
    ("fault", "first"), [(wrong_slope, "slope_"), (wrong_coupling, "coupling_"), (wrong_state, "state_")]
)
def test_a_wrong_linearisation_is_told_from_its_right_solution(fault, first: str) -> None:
    case = draw("alive", seed=4, depth=5, width=1, batch=0, rows=50)
    system = fault(solved(case, "substitution")[1])
    residual = system.states[:, -1] - case.targets
    adjoints = jax.vmap(lambda s, r: s.solve_transposed(jnp.zeros_like(s.slopes).at[-1].set(r)[:, :, None])[:, :, 0])(
        ExtendedJacobian(*map(jnp.asarray, (system.couplings, system.slopes, system.states))), residual
    )
    dbiases = np.asarray(system.slopes * adjoints)
    steps = steps_of(case, (dbiases[..., None] * system.states[:, :-1, None, :], dbiases), system)
    assert steps.linearisation.verdict is Verdict.REJECTED
    assert steps.substitution.accepted
    row = int(np.argmax(steps.linearisation.rejected_cases))
    assert steps.failed(row).startswith(f"its linearisation is wrong at {first}")


def test_a_wrong_solution_is_told_from_its_right_linearisation_however_small() -> None:
    case = draw("saturated", seed=4, depth=5, width=1, batch=0, rows=300)
    (dweights, dbiases), system = solved(case, "substitution")
    off = dbiases * np.float32(1 + 2.0**-20)
    steps = steps_of(case, (dweights, off), system)
    assert steps.linearisation.accepted
    assert steps.substitution.verdict is Verdict.REJECTED
    row = int(np.argmax(steps.substitution.rejected_cases))
    assert steps.failed(row).startswith("its substitution is wrong at db_")
    # The gradient's own bound, which carries the chain's conditioning, sees this fault in fewer cases.
    whole = judge(case, (dweights, off)).rejected_cases.mean()
    assert steps.substitution.rejected_cases.mean() > 1.2 * whole


def test_components_of_a_linearisation_are_named() -> None:
    case = draw("wide", seed=0, depth=3, width=2, batch=0, rows=1)
    inside = linearisation(envelope(case))
    zeros = np.zeros_like(inside.reference)
    names = [component_at(inside, zeros, 0, place).name for place in (0, 5, 6, 11, 12, 23)]
    assert names == ["state_1[0]", "state_3[1]", "slope_1[0]", "slope_3[1]", "coupling_1[0,0]", "coupling_3[1,1]"]
    assert inside.reference.shape == (1, 3 * (2 + 2 + 4))


def test_components_are_named_at_width_three() -> None:
    case = draw("wide", seed=0, depth=2, width=3, batch=0, rows=1)
    inside = envelope(case)
    zeros = np.zeros_like(inside.reference)
    names = [component_at(inside, zeros, 0, place).name for place in (0, 5, 9, 17, 18, 21, 23)]
    assert names == ["dW_1[0,0]", "dW_1[1,2]", "dW_2[0,0]", "dW_2[2,2]", "db_1[0]", "db_2[0]", "db_2[2]"]
