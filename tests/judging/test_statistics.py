from typing import Any

import numpy as np

from chainback.judging.statistics import Histogram

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
