"""Several devices: a batch split over all of them, and the same cases on one platform and on another.

Tests that need eight devices are skipped where JAX sees fewer; the last one runs them in a process that has eight.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import broken_engines
import jax
import numpy as np
import pandas as pd
import pytest

from chainback import ENGINES, compare, judge, merge, verify
from chainback.engines.devices import device_of, platforms_of
from chainback.engines.engine import Compiled
from chainback.engines.registry import Engine
from chainback.errors import UsageError
from chainback.judging.judgement import Result, judge_result
from chainback.judging.measurement import Measured, PairBound, Units
from chainback.operations.arithmetic import ARITHMETICS, FLOAT32
from chainback.problems.ensembles import draw
from chainback.reporting.pages.html import report_page
from chainback.reporting.report import Report
from chainback.studies.planted_faults import FAULTS
from chainback.truth.chain_bound import envelope

SUPPORT = Path(__file__).parents[1] / "support"
DEVICES = 8
eight = pytest.mark.skipif(jax.local_device_count() < DEVICES, reason="needs eight devices")
#: Of this seed the batches have 32 rows, of scalars and of 2×2 matrices.
ALL: dict[str, Any] = {"cases": 3000, "seed": 6, "depths": [4], "activations": False, "samples": False}
#: JAX before 0.4.34 loses the tail of exact GELU: without it, a right engine is accepted under any version.
SOME: dict[str, Any] = {"ensembles": ["lecture", "kinks"], "cases": 400, "seed": 1, "depths": [4], "samples": False}
SOME |= {"engines": ["reverse-scan", "triangular-substitution"], "activations": False}
TWO = {"platform": "cpu:0,cpu:1"}
#: How many of a batch of 64 cases count.
ROWS = 50
#: What no order of evaluation may change.
COUNTED = ("engine", "execution", "ensemble", "depth", "width", "cases", "components", "accepted", "rejected")
COUNTED += ("undecided", "verdict", "sharp", "bound_u_p50", "bound_u_p99", "judged", "note")
TABLES = ("tolerance", "steps", "agreement", "activations", "curves", "functions")


def rows(report: Report, table: str) -> pd.DataFrame:
    return getattr(report, table).drop(columns=["compile_s", "run_s"], errors="ignore")


def arguments(case: Any) -> tuple[Any, ...]:
    return case.chain.weights, case.chain.biases, case.chain.activations, case.inputs, case.targets


def devices_at_work(monkeypatch: pytest.MonkeyPatch, **asked: Any) -> tuple[Report, set[tuple[int, int]]]:
    """Run a campaign; return also, of each answer of an engine of ours, how many devices computed it, and rows of each."""
    seen = set()
    run = Compiled.run

    def told(self: Compiled, *arguments: Any) -> Any:
        found = run(self, *arguments)
        for part in jax.tree.leaves(found):
            shards = {shard.device: shard.data.shape[0] for shard in part.addressable_shards}
            (each,) = set(shards.values())
            seen.add((len(shards), each))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Compiled, "run", told)
        return verify(**asked), seen


@eight
def test_a_run_on_eight_devices_finds_what_a_run_on_one_finds(monkeypatch) -> None:
    split, at_work = devices_at_work(monkeypatch, **ALL)
    alone, at_one = devices_at_work(monkeypatch, **ALL, platform="cpu:0")
    assert (split.environment["devices"], alone.environment["devices"]) == ({"cpu": 8}, {"cpu:0": 1})
    assert at_work == {(8, 4)}, "the work was not on eight devices, with four rows on each"
    assert at_one == {(1, 32)}, "a run that is quietly on one device would show"
    assert split.verdict is alone.verdict
    assert set(split.tolerance["engine"]) == set(ENGINES)
    for table in ("tolerance", "steps"):
        both = [rows(report, table) for report in (split, alone)]
        theirs, others = (frame[[name for name in frame if name in COUNTED]] for frame in both)
        pd.testing.assert_frame_equal(theirs, others, check_exact=True)
        same = both[0]["digest"] == both[1]["digest"]
        assert same.mean() > 0.5, "a share of few rows may be compiled otherwise, not most of them"
        assert (both[0]["margin_max"].dropna() <= 1).all()
    for name in ("engine_a", "engine_b", "components", "disagreeing", "sharp", "verdict"):
        assert split.agreement[name].tolist() == alone.agreement[name].tolist()


@eight
@pytest.mark.parametrize(
    ("depth", "width", "batch", "used"), [(4, 2, 32, 8), (3, 17, 8, 8), (4, 1, 33, 8), (4, 1, 7, 7), (4, 1, 17, 8)]
)
def test_each_device_computes_its_share_as_it_would_alone(depth: int, width: int, batch: int, used: int) -> None:
    """Bit for bit. One device that computes the whole batch may round otherwise.

    XLA compiles by the number of rows: one row has no batched product, and a loop over few rows is no loop of vectors.
    """
    case = draw("wide" if width > 1 else "kinks", seed=0, depth=depth, width=width, batch=0, rows=batch)
    for engine in (ENGINES["triangular-substitution"], ENGINES["reverse-scan"]):
        program = engine.compile(depth, width, batch, *jax.local_devices())
        assert {
            len(part.sharding.device_set) for part in jax.tree.leaves(program.run(program.place(*arguments(case))))
        } == {used}
        together = program(*arguments(case))
        assert {len(part) for part in together} == {batch}
        each = -(-batch // used)
        alone = engine.compile(depth, width, each, jax.local_devices()[0])
        for place in range(used):
            mine = np.minimum(np.arange(place * each, (place + 1) * each), batch - 1)
            w, b, names, x, y = arguments(case)
            for whole, part in zip(together, alone(w[mine], b[mine], names, x[mine], y[mine]), strict=True):
                assert np.array_equal(np.asarray(whole)[mine].view(np.int32), np.asarray(part).view(np.int32))


def on_device(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Plant a fault in one device: what our engines compute there has one bias gradient off by 2^-12."""
    run = Compiled.run

    def faulty(self: Compiled, *arguments: Any) -> Any:
        found = run(self, *arguments)
        dweights, dbiases = found[0] if self.visible else found
        wrong = np.array(dbiases)
        for shard in dbiases.addressable_shards:
            if shard.device.id == number:
                wrong[shard.index[0], 0] *= np.float32(1 + 2.0**-12)
        gradients = dweights, wrong
        return (gradients, found[1]) if self.visible else gradients

    monkeypatch.setattr(Compiled, "run", faulty)


@eight
def test_one_faulty_device_of_eight_is_rejected(monkeypatch) -> None:
    assert verify(**SOME).accepted
    on_device(monkeypatch, 5)
    found = verify(**SOME)
    assert found.exit_code == 1
    judged: Any = found.tolerance
    assert judged["rejected"].between(1, judged["cases"] / DEVICES + 2).all(), "the other seven are right"


@eight
def test_two_platforms_are_one_report(monkeypatch) -> None:
    found, at_work = devices_at_work(monkeypatch, **SOME | {"activations": True, "samples": True}, **TWO)
    assert found.accepted
    assert {shards for shards, _ in at_work} == {1}
    names = [f"{engine}@{where}" for engine in SOME["engines"] for where in ("cpu:0", "cpu:1")]
    assert found.environment["engines"] == names
    assert found.environment["devices"] == {"cpu:0": 1, "cpu:1": 1}
    assert list(dict.fromkeys(found.tolerance["engine"])) == names
    assert set(found.tolerance["execution"]) == {"batched", "single", "eager"}
    alone = verify(**SOME | {"activations": True, "samples": True}, platform="cpu:0")
    for where in ("cpu:0", "cpu:1"):
        for table, column in (("tolerance", "engine"), ("steps", "engine"), ("activations", "activation")):
            its: Any = rows(found, table)
            its = its[its[column].str.endswith(f"@{where}")].reset_index(drop=True)
            its[column] = its[column].str.removesuffix(f"@{where}")
            if table == "steps":
                its = its.sort_values(["judged", "engine", "ensemble"]).reset_index(drop=True)
            pd.testing.assert_frame_equal(its, rows(alone, table), check_exact=True)
    pairs: Any = found.agreement
    assert len(set(zip(pairs["engine_a"], pairs["engine_b"], strict=True))) == 6, "each with each other"
    across = pairs[(pairs["engine_a"] == names[0]) & (pairs["engine_b"] == names[1])]
    assert (across["identical"] == 1.0).all(), "two processors of a kind give the same bits"
    said = "cpu:0 and cpu:1: the same engine gives the same bits on both in 100.0% of the components; elsewhere they differ"
    assert any(remark.startswith(said) for remark in found.remarks)


@eight
@pytest.mark.parametrize("whose", ["ours", "the user's"])
def test_a_fault_of_one_device_is_rejected_there_and_shown_as_disagreement(monkeypatch, whose: str) -> None:
    engines = ["reverse-scan"] if whose == "ours" else [broken_engines.wrong_on_the_second_device]
    if whose == "ours":
        on_device(monkeypatch, 1)
    found = verify(**SOME | {"engines": engines}, **TWO)
    assert found.exit_code == 1
    verdicts = found.tolerance.groupby("engine")["verdict"].unique()
    assert [list(verdict) for verdict in verdicts] == [["accepted"], ["rejected"]]
    assert {rejection.engine.rpartition("@")[2] for rejection in found.rejections} == {"cpu:1"}
    assert set(found.agreement["verdict"]) == {"rejected"}
    assert not any("in 100.0% of the components" in remark for remark in found.remarks)
    assert "--platform cpu:1" in report_page(found)
    right = verify(**SOME | {"engines": engines}, platform="cpu:0,cpu:2")
    assert right.accepted
    assert set(right.agreement["verdict"]) == {"accepted"}


@eight
def test_each_answer_is_judged_under_the_arithmetic_of_its_own_device(monkeypatch) -> None:
    def arithmetic(device: Any) -> Any:
        return ARITHMETICS["tf32" if device.id == 1 else "float32"]

    monkeypatch.setattr("chainback.engines.devices.arithmetic_of", arithmetic)
    asked = SOME | {"ensembles": ["wide"], "widths": [4]}
    found = verify(**asked | {"engines": [FAULTS["tf32-products"].engine]}, **TWO)
    (at_0, rejected), (at_1, accepted) = found.tolerance.groupby("engine")["verdict"]
    assert (at_0.endswith("cpu:0"), list(rejected)) == (True, ["rejected"])
    assert (at_1.endswith("cpu:1"), list(accepted)) == (True, ["accepted"])
    assert found.tolerance["matmul_precision"].tolist() == ["float32", "tf32"]
    assert found.agreement["matmul_precision"].tolist() == ["float32 and tf32"]
    honest = verify(**asked | {"engines": ["reverse-scan"]}, **TWO)
    title = honest.title
    assert "(cpu:0 and cpu:1), matmul precision float32 and tf32, seed" in title
    assert "at most 1/1000 on cpu:0, 1/16 on cpu:1 of the truth" in honest.sections[0].lead
    monkeypatch.setattr("chainback.engines.devices.arithmetic_of", lambda device: ARITHMETICS["float32"])
    alike = verify(**asked | {"engines": ["reverse-scan", "triangular-parallel"]}, **TWO)
    monkeypatch.setattr("chainback.engines.devices.arithmetic_of", arithmetic)
    differing = verify(**asked | {"engines": ["reverse-scan", "triangular-parallel"]}, **TWO)
    margins = [
        frame.set_index(["engine_a", "engine_b"])["margin_max"]["reverse-scan@cpu:0", "triangular-parallel@cpu:1"]
        for frame in (alike.agreement, differing.agreement)
    ]
    assert margins[1] < 0.1 * margins[0], "the wider bound is in the sum"


@eight
def test_what_is_done_with_a_report_is_done_with_one_of_two_platforms(tmp_path) -> None:
    asked = SOME | TWO | {"activations": True}
    whole = verify(**asked, output=tmp_path / "whole")
    for k in (1, 2):
        verify(**asked, shard=f"{k}/2", output=tmp_path / str(k))
    merged = merge([tmp_path / "2", tmp_path / "1"], output=tmp_path / "merged")
    cut_off = tmp_path / "cut-off"

    def interrupt(done: int, *_: Any) -> None:
        if done >= 100:
            raise KeyboardInterrupt

    assert not verify(**asked, output=cut_off, progress=interrupt).complete
    with pytest.raises(UsageError, match="it has another engines, platforms"):
        verify(**asked | {"platform": "cpu:0,cpu:2"}, output=cut_off, resume=True)
    again = verify(**asked, output=cut_off, resume=True)
    read = Report.read(tmp_path / "whole")
    for other in (merged, again, read):
        assert other.verdict is whole.verdict
        for table in TABLES if other is not read else ("tolerance", "agreement"):
            pd.testing.assert_frame_equal(rows(other, table), rows(whole, table), check_exact=True, check_dtype=False)
    same = compare(tmp_path / "whole", tmp_path / "merged")
    assert set(same.frame["outcome"]) == {"identical"}
    assert len(same.frame) == sum(
        len(getattr(whole, table)) for table in ("tolerance", "steps", "agreement", "activations")
    )
    page = report_page(read)
    for said in ("reverse-scan@cpu:1", "sigmoid@cpu:0", "(cpu:0 and cpu:1)", "--engines reverse-scan --platform cpu:"):
        assert said in page


@eight
def test_platforms_may_overlap_but_not_be_the_same() -> None:
    assert [len(platform.devices) for platform in platforms_of("cpu,cpu:0,cpu:7")] == [8, 1, 1]
    assert device_of("cpu:3").id == 3
    with pytest.raises(UsageError, match=r"'cpu:8' is not there: JAX sees cpu:0 to cpu:7 here"):
        platforms_of("cpu:8")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("nonsense", "platform 'nonsense' is not there: JAX sees cpu here"),
        ("cpu,nonsense:1", "platform 'nonsense:1' is not there: JAX sees cpu here"),
        ("cpu,cpu", "`platform` names 'cpu' twice: name each once"),
        ("cpu:999", "platform 'cpu:999' is not there: JAX sees cpu:0"),
        ("cpu,", "platform '' cannot be read: write gpu, gpu:1, or several as cpu,gpu"),
        ("cpu:x", "platform 'cpu:x' cannot be read"),
        (":0", "platform ':0' cannot be read"),
    ],
)
def test_a_platform_that_is_not_there_is_one_sentence(asked: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        verify(**SOME, platform=asked)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(jax.local_device_count() > 1, reason="needs a platform of one device")
def test_a_platform_of_one_device_is_that_device() -> None:
    with pytest.raises(UsageError, match="names 'cpu' and 'cpu:0', which are the same here: name each once"):
        platforms_of("cpu,cpu:0")
    with pytest.raises(UsageError, match="'cpu,gpu' is more than one: name one here"):
        device_of("cpu,gpu")
    assert [platform.name for platform in platforms_of(None)] == ["cpu"]


@pytest.mark.parametrize("others", ["float32", "tf32"])
def test_a_pair_may_differ_by_the_sum_of_its_two_bounds(others: str) -> None:
    case = draw("lecture", seed=0, depth=9, width=1, batch=0, rows=64)
    bounds_of = [envelope(case, arithmetic) for arithmetic in (FLOAT32, ARITHMETICS[others])]
    one, other = [Units(bounds, ROWS) for bounds in bounds_of]
    if others == "float32":
        other = one
    reference, allowed = bounds_of[0].reference, bounds_of[0].bound + bounds_of[1].bound
    pair_bound, compared = PairBound(one, other), []
    for share in (0.0, 0.5, 2.0):  # float32 rounds each answer, by half a u
        answers = [components.astype(np.float32) for components in (reference, reference + share * allowed)]
        judged = [
            judge_result(bounds, Result(got))
            for bounds, got in zip((bounds_of[0], bounds_of[-1]), answers, strict=True)
        ]
        compared.append(pair_bound.agreement(*map(Measured, judged, 2 * [case.ids], (one, other))))
    same, near, far = compared
    size = ROWS * reference.shape[1]
    assert (same.components, same.identical, same.disagreeing, same.margin_max) == (size, size, 0, 0.0)
    assert (near.disagreeing, far.disagreeing) == (0, size)
    assert 0.4 < near.margin_max <= 1.0 < far.margin_max
    sharp = ARITHMETICS[others].sharp_bound * np.abs(reference[:ROWS])
    assert same.sharp == (allowed[:ROWS] <= sharp).sum() > 0


def test_cases_that_one_bound_leaves_undecided_are_not_compared() -> None:
    case = draw("special", seed=0, depth=9, width=1, batch=0, rows=64)
    bounds_of = [envelope(case, arithmetic) for arithmetic in (FLOAT32, ARITHMETICS["tf32"])]
    both = bounds_of[0].decided & bounds_of[1].decided
    assert 0 < both.sum() < 64
    units = [Units(bounds, 64) for bounds in bounds_of]
    answer = Result(np.where(both[:, None], bounds_of[0].reference, np.nan).astype(np.float32))
    measured = [Measured(judge_result(b, answer), case.ids, y) for b, y in zip(bounds_of, units, strict=True)]
    found = PairBound(*units).agreement(*measured)
    assert (found.components, found.disagreeing) == (both.sum() * bounds_of[0].reference.shape[1], 0)


def test_engines_run_where_they_are_compiled_for() -> None:
    engine: Engine = ENGINES["reverse-scan"]
    case = draw("lecture", seed=0, depth=3, width=1, batch=0, rows=5)
    found = engine.compile(3, 1, 5, jax.local_devices()[-1])(*arguments(case))
    assert found[0].devices() == {jax.local_devices()[-1]}
    assert judge(case, found).accepted


def test_with_eight_devices() -> None:
    if jax.local_device_count() >= DEVICES:
        pytest.skip("the tests above ran")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", __file__]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=SUPPORT.parents[1], env=environment, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "needs eight devices" not in done.stdout
