"""The truth on a device: the same numbers as NumPy's, believed as far as NumPy bears them out, and no further."""

import gc
import itertools
import weakref
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from chainback import Case, Chain, compare, draw, merge, verify
from chainback.errors import UsageError
from chainback.judging.judgement import Result, read_result
from chainback.operations.activations import ACTIVATIONS
from chainback.operations.arithmetic import ARITHMETICS, FLOAT32
from chainback.operations.elementwise import Activation
from chainback.problems.ensembles import ENSEMBLES
from chainback.reporting.pages.html import report_page
from chainback.reporting.report import Report
from chainback.running.batch import Batch
from chainback.running.device_check import compared
from chainback.running.device_truth import DeviceTruth
from chainback.running.schedule import PlannedBatch
from chainback.studies.planted_faults import FAULTS
from chainback.truth.chain_bound import envelope
from chainback.truth.envelope import Envelope

pytestmark = pytest.mark.xdist_group("the device's oracle")  # a program of it takes seconds to compile
CPU = jax.devices("cpu")[0]
#: Three batches and more of each row, of 64 cases about.
SMALL: dict[str, Any] = {"ensembles": ["lecture", "kinks"], "cases": 3000, "seed": 1, "depths": [4], "samples": False}
SMALL |= {"engines": ["reverse-scan", "triangular-substitution"], "activations": False}
#: JAX has had algorithms for products since 0.4.36.
ALGORITHMS = pytest.mark.skipif(not hasattr(jax.lax, "DotAlgorithmPreset"), reason="this JAX knows no algorithms")
TIMES = ["compile_s", "run_s"]


@pytest.fixture(scope="module")
def on_cpu() -> DeviceTruth:
    return DeviceTruth("oracle@cpu", CPU)


@pytest.fixture
def by_numpy(monkeypatch) -> list[Case]:
    """The batches that NumPy works out."""
    asked = []

    def noted(case: Case, arithmetic: Any = FLOAT32) -> Envelope:
        asked.append(case)
        return envelope(case, arithmetic)

    for where in ("chainback.running.batch.envelope", "chainback.running.device_truth.envelope"):
        monkeypatch.setattr(where, noted)
    return asked


def checks(report: Report) -> Any:
    return report.steps[report.steps["judged"] == "truth"]


@pytest.mark.parametrize("arithmetic", ARITHMETICS.values(), ids=ARITHMETICS)
@pytest.mark.parametrize("family", ENSEMBLES)
def test_it_finds_what_numpy_finds(on_cpu: DeviceTruth, family: str, arithmetic: Any) -> None:
    for depth, width in ((5, 1), (4, 3)) if arithmetic is FLOAT32 else ((4, 3),):  # each shape takes seconds to compile
        case = draw(family, seed=5, depth=depth, width=width, batch=3, rows=301)
        expected = envelope(case, arithmetic)
        found = on_cpu.envelope(case, arithmetic)
        assert np.array_equal(found.decided, expected.decided)
        judged = compared(found, expected, case.chain.activations)
        assert judged.accepted
        with np.errstate(all="ignore"):
            margins = (judged.error / judged.envelope.bound)[judged.envelope.decided]
        # 2⁻²⁰ of a bound leaves room for all that two roundings of the same text may differ by.
        assert margins.max() < 0.02


@pytest.mark.parametrize(("weight", "verdict"), [(3.0, "rejected"), (3e6, "undecided")])
def test_what_float64_does_not_settle_is_held_against_nobody(weight: float, verdict: str) -> None:
    """sin(10¹³ ± 10⁶): two right oracles need not agree on it, nor on the bounds that follow from its slope."""
    chain = Chain.scalar([weight, weight], [0.0, 0.0], ["identity", "sin"])
    case = Case(chain, np.float32([1.1]), np.float32([0.0])).as_batch()
    expected = envelope(case)
    assert expected.decided.all()
    found = replace(expected, bound=1.001 * expected.bound)
    judged = compared(found, expected, chain.activations)
    assert str(judged.verdict) == verdict
    at_odds = compared(replace(found, decided=~expected.decided), expected, chain.activations)
    assert str(at_odds.verdict) == verdict


@pytest.mark.parametrize(("family", "depth"), [("kinks", 31), ("mixed", 31), ("saturated", 16)])
@pytest.mark.parametrize("arithmetic", ARITHMETICS.values(), ids=ARITHMETICS)
def test_float64_settles_nearly_all(family: str, depth: int, arithmetic: Any) -> None:
    case = draw(family, seed=0, depth=depth, width=1, batch=3, rows=1000)
    expected = envelope(case, arithmetic)
    judged = compared(expected, expected, case.chain.activations)
    assert judged.envelope.decided.sum() > 0.98 * expected.decided.sum()


def test_a_run_by_it_is_the_run_by_numpy(by_numpy: list[Case]) -> None:
    right = verify(**SMALL)
    every = len(by_numpy)
    assert sum(map(len, by_numpy)) > 2900
    by_numpy.clear()
    made = verify(**SMALL, truth="cpu")
    assert made.accepted, made.rejections
    assert (made.environment["truth"], right.environment["truth"]) == ("cpu", "numpy")
    assert 2 <= len(by_numpy) < every / 3, "most batches are not worked out here"
    for table in ("tolerance", "agreement"):
        mine, theirs = (getattr(r, table).drop(columns=TIMES, errors="ignore") for r in (made, right))
        # A quantile may come to stand in the next bin.
        pd.testing.assert_frame_equal(mine, theirs, check_exact=False, rtol=2.0**-5)
        same = ["digest", "accepted", "rejected", "undecided", "worst_case"] if table == "tolerance" else ["identical"]
        assert mine[same].equals(theirs[same])
    assert checks(right).empty
    found = checks(made)
    assert set(found["engine"]) == {"oracle@cpu"}
    assert found["ensemble"].tolist() == ["kinks", "lecture"]
    assert 0 < sum(map(len, by_numpy)) - found["cases"].sum() < 128, "all but the filler of a last batch"
    assert (found["components"] == found["cases"] * 2 * 8).all(), "truth and bound of every component"
    assert found["margin_max"].between(0, 0.02).all()
    assert (found["verdict"] == "accepted").all()
    assert "truths of another oracle, against NumPy's: 2 of 2 rows accepted, 0 rejected" in " ".join(made.remarks)


def test_each_row_begins_with_a_check_and_one_in_sixteen_follow(on_cpu: DeviceTruth) -> None:
    first = draw("lecture", seed=0, depth=3, width=1, batch=7, rows=65)
    fresh = DeviceTruth("oracle@cpu", CPU)
    assert fresh(first, FLOAT32)[1] is not None, "the first batch of a shape, wherever a run begins"
    assert fresh(first, ARITHMETICS["tf32"])[1] is not None
    later = [draw("lecture", seed=0, depth=3, width=1, batch=number, rows=65) for number in range(8, 328)]
    checked = [fresh(case, FLOAT32) for case in later]
    share = sum(judged is not None for _, judged in checked) / len(checked)
    assert 0.02 < share < 0.12
    assert all(hasattr(bounds, "truth") == (judged is not None) for bounds, judged in checked)
    unchecked = next(case for case, (_, judged) in zip(later, checked, strict=True) if judged is None)
    assert fresh(unchecked, FLOAT32, True)[1] is not None


def test_what_is_deep_and_alone_is_left_to_numpy() -> None:
    case = draw("deep", seed=0, depth=129, width=1, batch=1, rows=2)
    fresh = DeviceTruth("oracle@cpu", CPU)
    bounds, judged = fresh(case, FLOAT32)
    assert judged is None
    assert np.array_equal(bounds.reference, envelope(case).reference)
    assert not fresh._programs


def a_little_off(reference: np.ndarray, bound: np.ndarray, decided: np.ndarray) -> tuple[np.ndarray, ...]:
    """By a float32's rounding of a thousandth of the gradient: no engine's verdict would change."""
    return reference * (1 + 2.0**-33), bound, decided


def a_little_wide(reference: np.ndarray, bound: np.ndarray, decided: np.ndarray) -> tuple[np.ndarray, ...]:
    return reference, bound * (1 + 2.0**-19), decided


def a_little_narrow(reference: np.ndarray, bound: np.ndarray, decided: np.ndarray) -> tuple[np.ndarray, ...]:
    return reference, bound * (1 - 2.0**-19), decided


def one_component_off(reference: np.ndarray, bound: np.ndarray, decided: np.ndarray) -> tuple[np.ndarray, ...]:
    reference = reference.copy()
    reference[-1, -1] = np.nan
    return reference, bound, decided


def undecided(reference: np.ndarray, bound: np.ndarray, decided: np.ndarray) -> tuple[np.ndarray, ...]:
    decided = decided.copy()
    decided[3] = False
    return reference, bound, decided


TWINS = [a_little_off, a_little_wide, a_little_narrow, one_component_off, undecided]


@pytest.mark.parametrize("wrong", TWINS)
def test_a_device_that_is_off_is_rejected(wrong: Callable[..., Any], on_cpu: DeviceTruth) -> None:
    case = draw("lecture", seed=2, depth=5, width=1, batch=1, rows=301)
    right = on_cpu.envelope(case, FLOAT32)
    reference, bound, decided = wrong(right.reference, right.bound, right.decided)
    found = replace(right, reference=reference, bound=bound, decided=decided)
    assert compared(right, envelope(case), case.chain.activations).accepted
    assert not compared(found, envelope(case), case.chain.activations).accepted


def test_a_case_that_the_device_decides_and_numpy_does_not_is_rejected(on_cpu: DeviceTruth) -> None:
    case = draw("huge", seed=5, depth=5, width=1, batch=3, rows=301)
    expected = envelope(case)
    assert not expected.decided.all()
    found = replace(on_cpu.envelope(case, FLOAT32), decided=np.ones(301, bool))
    judged = compared(found, expected, case.chain.activations)
    assert np.array_equal(judged.rejected_cases, ~expected.decided)


def planted(monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., Any], spared: Callable[[Case], bool]) -> None:
    """Have the device find something else of the batches that are not spared."""
    right = DeviceTruth.envelope

    def found(self: DeviceTruth, case: Case, arithmetic: Any) -> Envelope:
        bounds = right(self, case, arithmetic)
        if spared(case):
            return bounds
        reference, bound, decided = wrong(bounds.reference, bounds.bound, bounds.decided)
        return replace(bounds, reference=reference, bound=bound, decided=decided)

    monkeypatch.setattr(DeviceTruth, "envelope", found)


def test_a_run_by_a_device_that_is_off_is_rejected(monkeypatch, tmp_path) -> None:
    planted(monkeypatch, a_little_off, lambda case: False)
    made = verify(**SMALL, truth="cpu", output=tmp_path)
    assert made.exit_code == 1
    assert (made.tolerance["verdict"] == "accepted").all(), "engines are not to blame"
    assert (checks(made)["verdict"] == "rejected").all()
    assert {rejection.engine for rejection in made.rejections} == {"oracle@cpu"}
    assert made.rejections[0].sentence.startswith("its truth is wrong: dW_1[0,0]: got ")
    read = Report.read(tmp_path)
    assert set(read.rejections) <= set(made.rejections)
    page = report_page(read)
    assert "oracle@cpu" in page
    assert "its truth is wrong" in page
    assert f"chainback verify --truth cpu --case {made.rejections[0].case_id}" in page


def far_off(reference: np.ndarray, bound: np.ndarray, decided: np.ndarray) -> tuple[np.ndarray, ...]:
    return reference * 1.01, bound, decided


def where_nobody_looks() -> Callable[[Case], bool]:
    """Whether a batch is worked out by NumPy whatever is found of it: the first of its ensemble, and one in sixteen."""
    met: set[str] = set()

    def looked_at(case: Case) -> bool:
        family = case.ids[0].split("@")[0]
        first = family not in met
        met.add(family)
        return first or zlib.crc32(case.ids[0].encode()) % 16 == 0

    return looked_at


@pytest.mark.parametrize("wrong", [far_off, undecided])
def test_nothing_is_rejected_or_left_out_on_the_word_of_the_device(wrong: Callable[..., Any], monkeypatch) -> None:
    """Off where nobody looks: engines that seem wrong by it are judged by NumPy, and the device is rejected."""
    right = verify(**SMALL)
    planted(monkeypatch, wrong, where_nobody_looks())
    made = verify(**SMALL, truth="cpu")
    assert made.exit_code == 1
    assert (made.tolerance["verdict"] == "accepted").all()
    assert {rejection.engine for rejection in made.rejections} == {"oracle@cpu"}
    assert (checks(made)["verdict"] == "rejected").all()
    for name in ("digest", "accepted", "rejected", "undecided", "margin_max"):
        assert made.tolerance[name].tolist() == right.tolerance[name].tolist()
    assert made.agreement["disagreeing"].sum() == 0


def test_runs_by_different_oracles_are_compared(monkeypatch) -> None:
    """What judges a device's truth is missed where a device works it out again, and there alone."""
    by_numpy, by_device = verify(**SMALL), verify(**SMALL, truth="cpu")
    for old, new in ((by_numpy, by_device), (by_device, by_numpy)):
        assert compare(old, new).worse == []
    unchecked = replace(by_device, steps=by_numpy.steps)
    assert {row["outcome"] for row in compare(by_device, unchecked).worse} == {"missing"}
    planted(monkeypatch, a_little_off, lambda case: False)
    wrong = compare(by_numpy, verify(**SMALL, truth="cpu")).worse
    assert {(row["outcome"], row["table"]) for row in wrong} == {("rejected", "steps")}


def test_one_case_shows_again_what_was_wrong(monkeypatch) -> None:
    """The command that a rejected oracle names."""
    one: dict[str, Any] = {"case": "lecture@1:1:4x1:1:0/128", "engines": ["reverse-scan"], "truth": "cpu"}
    assert verify(**one).accepted
    planted(monkeypatch, far_off, lambda case: False)
    assert {rejection.engine for rejection in verify(**one).rejections} == {"oracle@cpu"}


@pytest.mark.parametrize("fault", ["sign-flip", "stale-residual", "dropped-layer"])
def test_a_wrong_engine_is_rejected_with_the_same_words(fault: str) -> None:
    asked = SMALL | {"engines": ["reverse-scan", FAULTS[fault].engine], "ensembles": ["lecture"]}
    right, made = verify(**asked), verify(**asked, truth="cpu")
    assert made.exit_code == 1
    assert made.rejections == right.rejections
    assert made.tolerance["rejected"].tolist() == right.tolerance["rejected"].tolist()
    assert made.agreement["disagreeing"].tolist() == right.agreement["disagreeing"].tolist()


def test_shards_are_of_one_truth(tmp_path) -> None:
    for k, truth in ((1, "cpu"), (2, "cpu"), (3, "numpy")):
        verify(**SMALL, truth=truth, shard=f"{k}/3", output=tmp_path / str(k))
    with pytest.raises(UsageError, match="is a shard of another run: it has another truth"):
        merge([tmp_path / "1", tmp_path / "2", tmp_path / "3"])
    joined = merge([tmp_path / "1", tmp_path / "2"])
    assert (checks(joined)["verdict"] == "accepted").all()
    assert joined.environment["truth"] == "cpu"


def test_a_device_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="by 'numpy' or a device: platform 'tpu' is not there: JAX sees cpu") as caught:
        verify(**SMALL, truth="tpu")
    assert "\n" not in str(caught.value)


def of_its_own(z: np.ndarray) -> np.ndarray:
    return np.asarray(z) * 1.0


def test_an_activation_that_cannot_be_lifted_is_one_sentence(monkeypatch) -> None:
    strange = replace(ACTIVATIONS["identity"], name="strange", value=of_its_own, function=jnp.positive)
    strange = replace(strange, derivative=lambda z: (z, jnp.ones_like(z)))
    monkeypatch.setitem(ACTIVATIONS, "strange", strange)
    said = r"cpu cannot work out the truth \(TypeError: a lifted array has no values yet\): leave it to numpy"
    with pytest.raises(UsageError, match=said):
        verify(**SMALL, truth="cpu")


def test_an_activation_of_the_users_own_is_lifted(monkeypatch) -> None:
    own: Activation = replace(ACTIVATIONS["tanh"], name="own", function=jnp.tanh)
    own = replace(own, derivative=lambda z: (jnp.tanh(z), 1 - jnp.tanh(z) ** 2))
    monkeypatch.setitem(ACTIVATIONS, "own", own)
    case = draw("lecture", seed=2, depth=5, width=1, batch=1, rows=301)
    case = replace(case, chain=replace(case.chain, activations=("own",) * 5))
    judged = DeviceTruth("oracle@cpu", CPU)(case, FLOAT32)[1]
    assert judged is not None
    assert judged.accepted


def test_an_oracle_that_takes_its_process_along_is_rejected_and_numpy_goes_on(monkeypatch) -> None:
    monkeypatch.setenv("CHAINBACK_TEST_CRASHING_ORACLE", "1")
    asked = SMALL | {"engines": ["saboteurs:oracle", "reverse-scan"], "cases": 300}
    made = verify(**asked, truth="cpu", supervised=True)
    assert made.exit_code == 1
    assert made.complete
    assert set(made.tolerance["verdict"]) == {"accepted"}
    assert {rejection.engine for rejection in made.rejections} == {"oracle@cpu"}
    assert "the process died of SIGSEGV while it ran (batched) at 4x1" in made.rejections[0].reason


def test_an_oracle_that_fails_is_rejected_and_numpy_goes_on(monkeypatch) -> None:
    right, batches = DeviceTruth._program, itertools.count()

    def full(*_: Any) -> Any:
        raise MemoryError("the device is full")

    def program(self: DeviceTruth, *asked: Any) -> Any:
        return full if next(batches) == 3 else right(self, *asked)

    monkeypatch.setattr(DeviceTruth, "_program", program)
    made = verify(**SMALL, truth="cpu")
    assert made.exit_code == 1
    assert (made.tolerance["verdict"] == "accepted").all()
    (rejection,) = made.rejections
    assert (rejection.engine, rejection.reason) == ("oracle@cpu", "it raised MemoryError: the device is full")


def test_a_batch_goes_when_it_is_counted() -> None:
    """It does not hold itself: a run of many would fill the memory until somebody looks for cycles."""
    case = draw("lecture", seed=2, depth=5, width=1, batch=1, rows=64)
    gc.disable()
    try:
        batch = Batch.of(0, PlannedBatch("lecture", 5, 1, 1, 64, 64), case, FLOAT32)
        assert batch.derived is batch.envelope
        gone = weakref.ref(batch)
        del batch
        assert gone() is None
    finally:
        gc.enable()


def test_a_batch_is_counted_by_the_device_unless_an_answer_would_be_rejected(on_cpu: DeviceTruth) -> None:
    case = draw("lecture", seed=2, depth=5, width=1, batch=1, rows=301)
    planned = PlannedBatch("lecture", 5, 1, 1, 301, 301)
    there = Batch.of(0, planned, case, FLOAT32, Unchecked(on_cpu))
    wrong = read_result(case, FAULTS["sign-flip"].engine(*_arguments(case)))
    right = Result(envelope(case).reference.astype(np.float32))
    assert there.settled([right, Result(None, "it is none")]) is there
    here = there.settled([right, wrong])
    assert here.derived is here.envelope
    assert here.checked is not None
    assert here.checked.accepted
    assert here.measure(wrong).rejected.tolist() == there.measure(wrong).rejected.tolist()
    assert here.settled([wrong]) is here


class Unchecked:
    """An oracle that nobody checks."""

    name = "unchecked"

    def __init__(self, oracle: DeviceTruth) -> None:
        self.oracle = oracle

    def prepare(self, depth: int, width: int, rows: int, arithmetic: Any) -> None:
        self.oracle.prepare(depth, width, rows, arithmetic)

    def __call__(self, case: Case, arithmetic: Any, check: bool) -> tuple[Envelope, None]:
        return self.oracle.envelope(case, arithmetic), None


@pytest.mark.parametrize("setting", ["float32", "bfloat16", pytest.param("F32_F32_F32", marks=ALGORITHMS)])
def test_the_precision_under_test_does_not_reach_the_truth(setting: str) -> None:
    """A product of float64 obeys JAX's matmul precision."""
    case = draw("wide", seed=5, depth=3, width=4, batch=3, rows=65)
    with jax.default_matmul_precision(setting):
        found = DeviceTruth("", CPU).envelope(case, FLOAT32)
        assert compared(found, envelope(case), case.chain.activations).accepted


def _arguments(case: Case) -> tuple[Any, ...]:
    return case.chain.weights, case.chain.biases, case.chain.activations, case.inputs, case.targets
