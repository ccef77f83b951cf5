"""Bisection over a made-up index."""

from typing import Any

import pytest
from made_up_versions import OFFERED, changed, rejected_from

from chainback import bisect
from chainback.errors import BuildError, UsageError
from chainback.reporting.report import Report


@pytest.mark.parametrize("first", OFFERED[:-1])
def test_bisect_finds_the_release(first: str, index: Any) -> None:
    made = index(rejected_from(first))
    found = bisect("1.0.0", "1.5.0")
    assert (found.metric, found.changed, found.exit_code) == ("verdict", first, 0)
    assert found.unchanged == OFFERED[OFFERED.index(first) + 1]
    assert len(made.versions) == len(set(made.versions)) <= 5
    assert found.comparison is not None
    assert found.comparison.exit_code == 1


def test_bisect_goes_backwards_as_well(index: Any) -> None:
    index(rejected_from("1.3.0"))
    found = bisect("1.5.0", "1.0.0")
    assert (found.unchanged, found.changed) == ("1.3.0", "1.2.0")


def test_bisect_steps_over_a_version_that_cannot_be_run(index: Any) -> None:
    index(rejected_from("1.3.0"), broken=("1.3.0", "1.4.0"))
    found = bisect("1.0.0", "1.5.0")
    assert (found.unchanged, found.changed) == ("1.2.0", "1.4.1")
    assert sorted(found.between) == ["1.3.0", "1.4.0"]


def test_bisect_takes_the_gravest_thing_that_differs_or_the_one_asked_for(index: Any) -> None:
    def of(jax: str) -> Report:
        made = rejected_from("1.4.0")(jax)
        return made if jax == "1.0.0" else changed(made, digest="0123456789abcdef")

    index(of)
    assert bisect("1.0.0", "1.5.0").changed == "1.4.0"
    assert bisect("1.0.0", "1.5.0", metric="digest").changed == "1.1.0"
    assert bisect("1.0.0", "1.3.0").metric == "digest"
    assert bisect("1.0.0", "1.5.0", rows="triangular").exit_code == 3, "no such row changed"
    assert bisect("1.1.0", "1.3.0").changed == ""
    with pytest.raises(UsageError, match="`metric` must be one of verdict, drift, digest, got 'colour'"):
        bisect("1.0.0", "1.5.0", metric="colour")


def test_bisect_needs_both_ends(index: Any) -> None:
    index(rejected_from("1.4.0"), broken=("1.5.0",))
    with pytest.raises(BuildError, match=r"jax 1.5.0 cannot be run: there is no version"):
        bisect("1.0.0", "1.5.0")
