from typing import Any

import numpy as np

from chainback import draw
from chainback.bounds import envelope
from chainback.judgement import Answer, judge_answer
from chainback.moments import Histogram
from chainback.rounding import FLOAT32
from chainback.yardstick import Measured, Yardstick

f32: Any = np.float32


def test_quantiles_are_at_most_a_thirty_second_above() -> None:
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(0, 4, 50_000)).astype(np.float32)
    histogram = Histogram()
    for part in np.array_split(values, 7):
        histogram.add(part)
    for share in (0.01, 0.5, 0.99, 1.0):
        exact = np.quantile(values, share, method="inverted_cdf")
        assert exact <= histogram.quantile(share) <= exact * (1 + 1 / 31)


def test_quantiles_of_nothing_zeros_and_infinities() -> None:
    assert np.isnan(Histogram().quantile(0.5))
    histogram = Histogram()
    histogram.add(f32([0, 0, 0, 0, np.inf]), ignored_zeros=1)
    assert histogram.counts.sum() == 4
    assert histogram.quantile(0.5) == 0.0
    assert histogram.quantile(1.0) > 3e38
    histogram.add(np.array([0xFFC00000], np.uint32).view(np.float32))  # NaN with its sign bit set, as inf · 0 gives
    assert histogram.counts.sum() == 5


def test_what_is_told_of_a_large_batch_is_told_of_a_quarter_of_it() -> None:
    """Its quantiles are those of all; and each case of the quarter counts four times, beside those of smaller batches."""
    of_all, of_some = Histogram(), Histogram()
    told = []
    for rows in (1023, 1024, 4096):
        case = draw("lecture", seed=3, depth=8, width=1, batch=rows, rows=rows)
        bounds = envelope(case)
        rng = np.random.default_rng(rows)
        answer = Answer((bounds.reference + bounds.bound * rng.uniform(-1, 1, bounds.bound.shape)).astype(f32))
        judgement, yardstick = judge_answer(bounds, answer), Yardstick(bounds, rows)
        measured = Measured(judgement, case.ids, yardstick)
        told.append(int(measured.margins.counts.sum()) / judgement.got.size)
        margins = judgement.error / bounds.bound
        of_all.add(margins)
        of_some.merge(measured.margins)
        assert measured.margin_max == margins.max(), "the largest is that of all"
        normal = np.abs(bounds.reference) >= FLOAT32.smallest_normal
        assert yardstick.every == (1 if rows == 1023 else 4)
        assert measured.errors.counts.sum() == yardstick.every * np.count_nonzero(normal[:: yardstick.every])
    assert told == [1.0, 1.0, 1.0]
    for share in (0.5, 0.9, 0.99):
        assert abs(of_some.quantile(share) / of_all.quantile(share) - 1) < 0.04
