"""Replaying a case: the layers, the shrinking, and reproducers that stand on JAX and NumPy alone."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import broken_engines
import jax
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import chainback
from chainback import ENGINES, Case, Chain, draw, gradient, judge, replay
from chainback.diagnosis.layers import layers
from chainback.diagnosis.reproducer import script
from chainback.diagnosis.shrinking import shrink
from chainback.engines.registry import Engine
from chainback.engines.triangular import extended_jacobian
from chainback.errors import UsageError
from chainback.judging.judgement import judge_steps
from chainback.operations.activations import ACTIVATIONS
from chainback.operations.arithmetic import FLOAT32
from chainback.truth.chain_bound import Derived, envelope, linearisation
from chainback.truth.envelope import Envelope

f32: Any = np.float32
SUPPORT = Path(__file__).parents[1] / "support"


def test_an_accepted_case_prints_layer_by_layer() -> None:
    case_id = draw("lecture", seed=0, depth=3, width=1, batch=0, rows=8).ids[5]
    again = replay(case_id, engines=["reverse-scan", "triangular-dense"])
    assert again.exit_code == 0
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(again)
    text = console.export_text()
    for word in (
        case_id,
        "state",
        "slope",
        "coupling",
        "adjoint",
        "computed",
        "true",
        "bound",
        "accepted  reverse-scan",
    ):
        assert word in text
    assert list(again.layers["layer"].unique()) == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "depth", "width"), [("lecture", 9, 1), ("mixed", 9, 1), ("wide", 5, 4), ("saturated", 9, 1)]
)
def test_every_intermediate_quantity_lies_within_its_bound(name: str, depth: int, width: int) -> None:
    batch = draw(name, seed=1, depth=depth, width=width, batch=0, rows=20)
    for row in range(20):
        frame = layers(batch[row], FLOAT32)
        assert len(frame) == depth * (3 * width + width * width)
        assert (frame["margin"] <= 1).all(), frame.loc[frame["margin"].idxmax()]


def test_bounds_of_the_layers_are_sharp() -> None:
    frame = layers(draw("lecture", seed=1, depth=9, width=1, batch=0, rows=1)[0], FLOAT32)
    for quantity in ("state", "slope", "coupling", "adjoint"):
        rows = frame[frame["quantity"] == quantity]
        assert (rows["bound"] / rows["true"].abs()).median() < 1e-4


def judged_as_verify_does(case: Case) -> Envelope:
    """The envelope by which `verify` judges a linearisation: that of the judgement itself."""
    system = extended_jacobian(case.chain, case.inputs)
    parts = [np.asarray(part)[None] for part in (system.couplings, system.slopes, system.states)]
    found = gradient(case.chain, case.inputs, case.targets, "triangular-substitution")
    gradients = np.asarray(found.weights)[None], np.asarray(found.biases)[None]
    return judge_steps(case.as_batch(), gradients, *parts, envelope(case)).linearisation.envelope


def prints_the_bounds_of(frame: pd.DataFrame, within: Envelope) -> bool:
    """Whether every state, slope and coupling is printed with the reference and bound of an envelope."""
    rows = {}
    for place in range(within.reference.shape[1]):
        block, (layer, *index) = within.locate(place)
        key = layer + 1, block.name, ",".join(map(str, index))
        rows[key] = within.reference[0, place], within.bound[0, place]
    printed = frame[frame["quantity"] != "adjoint"]
    keys = zip(printed["layer"], printed["quantity"], printed["index"], strict=True)
    return dict(zip(keys, zip(printed["true"], printed["bound"], strict=True), strict=True)) == rows


def off_by_one_term(within: Derived) -> Derived:
    """A bound of couplings that forgets |δ|, as `replay` once derived it by itself."""
    right = linearisation(within)
    bound, δ = right.bound.copy(), np.abs(within.truth.slopes[..., 0])
    assert (δ > 1.0).any()
    bound[:, -right.blocks[2].size :] -= 2.0 * FLOAT32.smallest_normal * (np.maximum(1.0, δ) - 1.0).ravel()
    return replace(right, bound=bound)


def test_the_bounds_printed_are_those_that_verify_judges_by(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, depth, width in (("lecture", 9, 1), ("wide", 5, 4), ("tiny", 5, 2), ("kinks", 4, 2)):
        case = draw(name, seed=1, depth=depth, width=width, batch=0, rows=1)[0]
        assert prints_the_bounds_of(layers(case, FLOAT32), judged_as_verify_does(case))
    # Without a weight a coupling's bound is what underflow may do, and the slope of silu at 2.4 is above 1.
    case = Case(Chain.scalar([0.0], [2.4], ["silu"]), f32([1.0]), f32([0.0]))
    assert prints_the_bounds_of(layers(case, FLOAT32), judged_as_verify_does(case))
    monkeypatch.setattr("chainback.diagnosis.layers.linearisation", off_by_one_term)
    assert not prints_the_bounds_of(layers(case, FLOAT32), judged_as_verify_does(case))


def test_states_that_are_exact_in_every_order_have_a_margin_of_zero() -> None:
    case = Case(Chain.scalar([1.0, 0.5], [0.5, 0.25], ["relu", "identity"]), f32([1.0]), f32([0.25]))
    frame = layers(case, FLOAT32)
    states = frame[frame["quantity"] == "state"]
    assert (states["bound"] == 0.0).all()
    assert (states["margin"] == 0.0).all()


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        ("scaled_bias", "db_1[0]"),
        ("first_half_zero", "got 0"),
        ("returns_nan", "nan"),
        ("raises", "it raised RuntimeError"),
    ],
)
def test_a_rejected_case_is_shrunk_and_reproduced(broken: str, word: str) -> None:
    case_id = draw("mixed", seed=0, depth=7, width=2, batch=1, rows=8).ids[2]
    again = replay(case_id, engines=[f"broken_engines:{broken}"])
    assert again.exit_code == 1
    done = again.engines[0]
    assert word in done.reason
    assert done.smallest is not None
    assert (done.smallest.chain.depth, done.smallest.chain.width) == (1, 1)
    numbers = np.concatenate([np.ravel(a) for a in (done.smallest.chain.weights, done.smallest.chain.biases)])
    assert set(np.abs(numbers)) <= {0.0, 1.0}
    assert f"from broken_engines import {broken} as engine" in done.script


def test_a_fault_of_the_batch_alone_is_distinguished() -> None:
    case_id = draw("lecture", seed=0, depth=4, width=1, batch=0, rows=8).ids[1]
    again = replay(case_id, engines=["broken_engines:wrong_in_one_case_of_a_large_batch"])
    assert again.exit_code == 1
    assert again.engines[0].reason.startswith("right alone, but in its batch of 8: d")
    assert again.engines[0].smallest is None


def wrong_where(eager: bool) -> Engine:
    """A built-in engine that is wrong op by op only, or when traced without the batch axis only."""

    def gradient(weights, biases, activations, x, y):
        dweights, dbiases = ENGINES["reverse-scan"].gradient(weights, biases, activations, x, y)
        alone = isinstance(activations, tuple) and isinstance(x, jax.core.Tracer) is not eager
        return dweights, dbiases * f32(1.5 if alone else 1.0)

    return Engine("half-wrong", gradient)


@pytest.mark.parametrize(("eager", "word"), [(True, "eager: db_"), (False, "single: db_")])
def test_a_fault_of_one_execution_is_found_and_shrunk_in_it(eager: bool, word: str) -> None:
    case_id = draw("lecture", seed=0, depth=3, width=1, batch=0, rows=1).ids[0]
    again = replay(case_id, engines=[wrong_where(eager)])
    assert again.exit_code == 1
    done = again.engines[0]
    assert done.reason.startswith(word)
    assert done.smallest is not None
    assert done.smallest.chain.depth == 1


def test_other_bits_at_repetition_are_rejected() -> None:
    case_id = draw("lecture", seed=0, depth=3, width=1, batch=0, rows=8).ids[0]
    again = replay(case_id, engines=[broken_engines.other_bits_every_other_call])
    assert (again.exit_code, again.engines[0].reason) == (
        1,
        "batched: right at first, but when run again: it gave other bits",
    )


def test_an_engine_beyond_its_limit_is_not_run() -> None:
    case_id = draw("deep", seed=0, depth=200, width=1, batch=0, rows=1).ids[0]
    again = replay(case_id, engines=["forward-unrolled"])
    assert again.exit_code == 3
    assert "unrolled program of 200 layers" in again.engines[0].reason


def test_shrinking_keeps_what_matters() -> None:
    case = draw("mixed", seed=3, depth=8, width=3, batch=0, rows=1)[0]
    place = case.chain.activations.index(case.chain.activations[4])
    wanted = case.chain.activations[place]
    tried = []

    def fails(smaller: Case) -> bool:
        tried.append(smaller)
        return wanted in smaller.chain.activations and abs(float(smaller.inputs[0])) > 0

    least = shrink(case, fails)
    assert (least.chain.depth, least.chain.width, least.chain.activations) == (1, 1, (wanted,))
    assert abs(float(least.inputs[0])) == 1.0
    assert not least.chain.weights.any()
    assert len(tried) <= 601


def test_a_case_that_cannot_shrink_is_kept() -> None:
    case = draw("mixed", seed=3, depth=3, width=2, batch=0, rows=1)[0]
    assert shrink(case, lambda smaller: False) is case


def execute(text: str, tmp_path: Path) -> str:
    (tmp_path / "reproducer.py").write_text(text)
    assert "chainback." not in text.replace("Found by chainback", "")
    assert "import chainback" not in text
    done = subprocess.run(
        [sys.executable, "reproducer.py"], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(name, marks=() if name in ("reverse-scan", "triangular-parallel") else pytest.mark.slow)
        for name in ENGINES
    ],
)
def test_reproducers_compute_what_the_engine_does(engine: str, tmp_path) -> None:
    """Judged with one component changed, a right engine looks wrong: its script must find it right again."""
    names = tuple(ACTIVATIONS)
    rng = np.random.default_rng(0)
    width = 2
    chain = Chain(rng.normal(size=(10, width, width)).astype(f32), rng.normal(size=(10, width)).astype(f32), names)
    case = Case(chain, rng.normal(size=width).astype(f32), rng.normal(size=width).astype(f32))
    found = gradient(case.chain, case.inputs, case.targets, engine)
    dweights, dbiases = np.array(found.weights), np.array(found.biases)
    dbiases[1, 1] *= 2
    judgement = judge(case, (dweights, dbiases))
    text = script(engine, case, judgement, "nowhere")
    out = execute(text, tmp_path)
    assert "right" in out
    expected = judgement.envelope.reference[0].reshape(-1)[10 * width * width + 3]
    assert f"expected {expected:.9g} +- " in out
    # The negative control: with the component's own wrong value in place of the computed one, it says WRONG.
    assert "right" in execute(script(engine, case, judgement, "nowhere", "eager"), tmp_path)
    wrong = text.replace("got = float(dbiases[1, 1])", f"got = {float(dbiases[1, 1])!r}")
    assert wrong != text
    assert "WRONG" in execute(wrong, tmp_path)


def test_bad_ids_are_refused() -> None:
    with pytest.raises(UsageError, match="case id 'nothing' is none"):
        replay("nothing")
    with pytest.raises(UsageError, match="ensemble 'lectrue' is not known"):
        replay("lectrue@1:0:8x1:3:17")
    with pytest.raises(UsageError, match="engine 'backward' is not known"):
        replay("lecture@1:0:8x1:3:17", engines=["backward"])
    assert chainback.rebuild("lecture@1:0:8x1:3:17").chain.depth == 8
    assert broken_engines.not_callable == 3
