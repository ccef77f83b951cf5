from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chainback import draw, gradient, judge
from chainback.judging.judgement import read_result
from chainback.judging.measurement import Agreement, Measured, Units
from chainback.judging.tally import Pair, RowKey, Tally
from chainback.operations.arithmetic import ARITHMETICS
from chainback.running.batch import Batch
from chainback.running.schedule import PlannedBatch
from chainback.truth.chain_bound import envelope

f32: Any = np.float32


@pytest.fixture(scope="module")
def judged():
    case = draw("huge", seed=0, depth=5, width=1, batch=2, rows=200)
    bounds = envelope(case)
    assert 0 < bounds.decided.sum() < 200
    found = gradient(case.chain, case.inputs, case.targets)
    return case, bounds, np.array(found.weights), np.array(found.biases)


def tally_of(case, bounds, result, rows=200):
    tally = Tally(RowKey("engine", "batched", "huge", 5, 1))
    rejection = tally.add(Measured(judge(case, result, within=bounds), case.ids, Units(bounds, rows)))
    return tally, rejection


def test_rows_say_what_the_numbers_are(judged) -> None:
    case, bounds, weights, biases = judged
    tally, rejection = tally_of(case, bounds, (weights, biases))
    row = tally.row()
    decided = bounds.decided
    assert rejection is None
    assert (row["cases"], row["components"]) == (200, 2000)
    assert (row["accepted"], row["rejected"], row["undecided"]) == (decided.sum(), 0, 200 - decided.sum())
    got = np.concatenate([weights.reshape(200, -1), biases.reshape(200, -1)], 1)[decided].astype(float)
    reference, bound = bounds.reference[decided], bounds.bound[decided]
    error = np.abs(got - reference)
    assert row["margin_max"] == pytest.approx((error / bound).max())
    normal = np.abs(reference) >= 2.0**-126
    in_u = (error[normal] / np.abs(reference[normal])) * 2.0**24
    assert row["error_u_max"] == pytest.approx(in_u.max())
    sharp = (bound <= 1e-3 * np.abs(reference)) & normal
    with np.errstate(all="ignore"):
        signed = np.where(sharp, (got - reference) / reference * 2.0**24, 0.0)
        of_case = (signed.sum(axis=1) / sharp.sum(axis=1))[sharp.any(axis=1)]
        bound_u = (bound / np.abs(reference))[normal] * 2.0**24
    assert row["error_u_rms"] == pytest.approx(np.sqrt(np.sum(signed**2) / sharp.sum()))
    assert row["error_u_mean"] == pytest.approx(of_case.mean())
    with np.errstate(all="ignore"):
        margins = np.where(sharp, (got - reference) / bound * np.sign(reference), 0.0)
        of_case_margin = (margins.sum(axis=1) / sharp.sum(axis=1))[sharp.any(axis=1)]
    assert row["margin_mean"] == pytest.approx(of_case_margin.mean())
    assert row["margin_mean_se"] == pytest.approx(of_case_margin.std(ddof=1) / np.sqrt(of_case_margin.size))
    assert row["error_u_mean_se"] == pytest.approx(of_case.std(ddof=1) / np.sqrt(of_case.size))
    assert np.median(bound_u) <= row["bound_u_p50"] <= np.median(bound_u) * 33 / 32
    assert row["sharp"] == pytest.approx(np.mean(bound <= 1e-3 * np.abs(reference)))
    worst = int(np.flatnonzero(decided)[np.argmax((error / bound).max(axis=1))])
    assert row["worst_case"] == case.ids[worst]
    assert row["verdict"] == "accepted"


def test_a_bias_far_below_the_bound_shows_in_the_mean() -> None:
    case = draw("lecture", seed=0, depth=8, width=1, batch=0, rows=20_000)
    bounds = envelope(case)
    found = gradient(case.chain, case.inputs, case.targets)
    weights, biases = np.array(found.weights), np.array(found.biases)
    right, _ = tally_of(case, bounds, (weights, biases), rows=20_000)
    away = [np.nextafter(a, np.where(a < 0, -np.inf, np.inf).astype(f32)) for a in (weights, biases)]
    biased, rejection = tally_of(case, bounds, away, rows=20_000)
    assert rejection is None
    assert str(biased.verdict) == "accepted"
    rise = biased.mean_error.mean - right.mean_error.mean
    assert 1.0 < rise < 2.0  # an ulp is one to two u
    for mean in ("mean_error", "mean_margin"):
        before, after = getattr(right, mean), getattr(biased, mean)
        assert after.mean - before.mean > 5 * np.hypot(before.standard_error, after.standard_error)


@pytest.mark.parametrize("name", ARITHMETICS)
def test_what_is_sharp_follows_the_arithmetic(name: str) -> None:
    arithmetic = ARITHMETICS[name]
    bounds = envelope(draw("lecture", seed=0, depth=3, width=1, batch=0, rows=100), arithmetic)
    share = bounds.bound / np.abs(bounds.reference)
    units = Units(bounds, 100)
    assert units.sharp == (share <= arithmetic.sharp_bound).sum() > 100
    assert units.sharp_pairs == (2 * share <= arithmetic.sharp_bound).sum() > 0
    assert (share <= 1e-3).any() == (name == "float32")  # a fixed threshold would be vacuous


def test_one_case_has_no_standard_error() -> None:
    case = draw("lecture", seed=0, depth=8, width=1, batch=0, rows=1)
    found = gradient(case.chain, case.inputs, case.targets)
    tally, _ = tally_of(case, envelope(case), (np.array(found.weights), np.array(found.biases)), rows=1)
    assert np.isfinite(tally.row()["error_u_mean"])
    assert np.isnan(tally.row()["error_u_mean_se"])
    assert np.isnan(Tally(RowKey("engine", "batched", "huge", 5, 1)).mean_error.mean)


def test_the_rejected_case_is_named(judged) -> None:
    case, bounds, weights, biases = judged
    row = int(np.flatnonzero(bounds.decided)[7])
    wrong = biases.copy()
    wrong[row, 2] += 1 + np.abs(wrong[row, 2])
    tally, rejection = tally_of(case, bounds, (weights, wrong))
    assert rejection is not None
    assert rejection.case_id == case.ids[row]
    assert "db_3[0]: got" in rejection.reason
    assert (tally.rejected, str(tally.verdict)) == (1, "rejected")
    assert tally.row(rejection)["note"] == f"{case.ids[row]}: {rejection.reason}"
    assert (rejection.ensemble, rejection.depth, rejection.width, rejection.batch) == ("huge", 5, 1, 2)
    assert (rejection.component, rejection.wrong, rejection.components) == ("db_3[0]", 1, 10)
    place = 5 + 2
    assert (rejection.got, rejection.expected) == (wrong[row, 2, 0], bounds.reference[row, place])
    assert rejection.bound == bounds.bound[row, place]
    assert rejection.got is not None
    assert rejection.expected is not None
    assert rejection.bound is not None
    assert not abs(rejection.got - rejection.expected) <= rejection.bound


def test_nan_is_the_worst_margin(judged) -> None:
    case, bounds, weights, biases = judged
    wrong = biases.copy()
    wrong[np.flatnonzero(bounds.decided)[0], 0] = np.nan
    tally, _ = tally_of(case, bounds, (weights, wrong))
    assert tally.row()["margin_max"] == np.inf
    assert tally.rejected == 1


def test_only_judged_rows_count(judged) -> None:
    case, bounds, weights, biases = judged
    tally, _ = tally_of(case, bounds, (weights, biases), rows=50)
    assert tally.row()["cases"] == 50
    assert tally.accepted == bounds.decided[:50].sum()


def test_digests_know_bits_and_not_order(judged) -> None:
    case, _, weights, biases = judged
    other = draw("huge", seed=0, depth=5, width=1, batch=3, rows=200)
    result = tuple(map(np.asarray, gradient(other.chain, other.inputs, other.targets).__dict__.values()))[:2]

    def digest(*order, flip=False):
        tally = Tally(RowKey("engine", "batched", "huge", 5, 1))
        for which in order:
            part, grads = (case, (weights, biases)) if which == 0 else (other, result)
            if flip and which == 0:
                changed = grads[1].copy()
                changed.view(np.int32)[0, 0] ^= 1
                grads = (grads[0], changed)
            inside = envelope(part)
            tally.add(Measured(judge(part, grads, within=inside), part.ids, Units(inside, 200)))
        return tally.row()["digest"]

    assert digest(0, 1) == digest(1, 0)
    assert digest(0, 1) != digest(0, 1, flip=True)
    assert digest(0) != digest(1)


def test_an_unsteady_batch_turns_one_case_and_invents_none(judged) -> None:
    case, bounds, weights, biases = judged
    tally, _ = tally_of(case, bounds, (weights, biases))
    before = tally.accepted
    tally.unsteady(case.ids[0], "other bits")
    assert (tally.accepted, tally.rejected, str(tally.verdict)) == (before - 1, 1, "rejected")
    assert tally.accepted + tally.rejected + tally.undecided == tally.cases == 200
    nothing = Tally(RowKey("engine", "batched", "huge", 5, 1))
    nothing.fail(7, case.ids[0], "it raised")
    rejection = nothing.unsteady(case.ids[0], "other bits")
    assert (rejection.component, rejection.got, rejection.wrong, rejection.reason) == ("", None, 0, "other bits")
    assert (nothing.cases, nothing.rejected) == (7, 7)


def test_pairs_count_bits_and_margins() -> None:
    pair = Pair("a", "b", "lecture", 3, 1)
    a = f32([[1.0, 2.0, 3.0]])
    b = f32([[1.0, 2.0 + 2.0**-22, 4.0]])
    pair.add(Agreement.of(a, b, f32([[10.0, 10.0, 10.0]]), 2))
    row = pair.row()
    assert (row["components"], row["disagreeing"], row["verdict"]) == (3, 1, "rejected")
    assert row["identical"] == pytest.approx(1 / 3)
    assert row["sharp"] == pytest.approx(2 / 3)
    assert row["margin_max"] == pytest.approx(10.0)
    nan = Pair("a", "b", "lecture", 3, 1)
    nan.add(Agreement.of(f32([[np.nan]]), f32([[np.nan]]), f32([[1.0]]), 0))
    assert nan.row()["verdict"] == "rejected"
    assert Pair("a", "b", "lecture", 3, 1).row()["verdict"] == "undecided"


def test_rows_of_components_are_contiguous_whatever_they_are_made_of() -> None:
    bounds = envelope(draw("lecture", seed=0, depth=4, width=1, batch=0, rows=50))
    assert bounds.reference.flags.c_contiguous
    assert bounds.bound.flags.c_contiguous


def test_an_exact_bound_has_the_margin_zero_or_infinity() -> None:
    case = draw("lecture", seed=0, depth=2, width=1, batch=0, rows=3)
    found = gradient(case.chain, case.inputs, case.targets)
    weights, biases = np.array(found.weights), np.array(found.biases)
    truth = envelope(case)
    reference = np.concatenate([weights.reshape(3, -1), biases.reshape(3, -1)], 1).astype(float)
    exact = replace(truth, reference=reference, bound=np.zeros_like(reference))
    right, _ = tally_of(case, exact, (weights, biases), rows=3)
    assert (right.accepted, right.margin_max) == (3, 0.0)
    off, _ = tally_of(case, exact, (weights, np.nextafter(biases, f32(np.inf))), rows=3)
    assert (off.rejected, off.margin_max) == (3, np.inf)


def test_engines_share_a_measurement_only_where_every_bit_is_the_same(judged) -> None:
    case, bounds, weights, biases = judged
    batch = Batch(0, PlannedBatch("huge", 5, 1, 2, 200, 200), case, bounds, Units(bounds, 200))
    first = batch.measure(read_result(case, (weights, biases)))
    assert batch.measure(read_result(case, (weights.copy(), biases.copy()))) is first
    for place in ((0, 0), (150, 3)):
        other = biases.copy()
        other.view(np.int32)[place] ^= 1
        found = batch.measure(read_result(case, (weights, other)))
        assert found is not first
        assert found.digest != first.digest
    negative = np.where(biases == 0.0, -biases, biases)
    assert (batch.measure(read_result(case, (weights, negative))) is first) == bool((biases != 0.0).all())
    assert batch.measure(read_result(case, None)).judgement.malformed
    assert batch.measure(read_result(case, (weights, biases))) is first
