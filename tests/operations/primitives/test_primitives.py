"""Every primitive's record: its maps are transposes, and float32 runs of its examples lie within its bounds."""

from dataclasses import replace

import numpy as np
import pytest
from primitive_laws import Trial, broken, examples_of, law_of_bounds, law_of_transposition

from chainback.operations.primitives.table import TABLE

HERE = sorted(name for name, record in TABLE.items() if examples_of(record))


def trial(name: str, place: int = 0) -> Trial:
    return Trial(name, examples_of(TABLE[name])[place], "float32")


def test_every_record_has_an_example() -> None:
    assert [name for name, record in TABLE.items() if not record.examples] == []


@pytest.mark.parametrize("name", HERE)
def test_push_and_pull_are_transposes(name: str) -> None:
    for place in range(len(examples_of(TABLE[name]))):
        law_of_transposition(trial(name, place))


@pytest.mark.parametrize("name", HERE)
def test_float32_runs_lie_within_the_bounds(name: str) -> None:
    law_of_bounds(trial(name), draws=1, ugly=2, eager=False)


def off(factor: float):
    """Return the record of tanh with a partial derivative that is off."""
    right = TABLE["tanh"]
    return replace(right, partials=lambda x, y: tuple(c * factor for c in right.partials(x, y)))


def test_a_partial_that_is_off_is_seen() -> None:
    law_of_bounds(trial("tanh"), draws=1, ugly=0, eager=False)
    with broken(off(1.0 + 2.0**-12)), pytest.raises(AssertionError):
        law_of_bounds(trial("tanh"), draws=1, ugly=0, eager=False)


def test_maps_that_are_no_transposes_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = trial("reduce_sum")
    edge = next(e for e in found.read(found.typed(found.draw(1.0, 0))).equations if e.name == "reduce_sum").edges[0]
    pull = type(edge.map).pull
    monkeypatch.setattr(type(edge.map), "pull", lambda self, c, dy: 1.01 * np.asarray(pull(self, c, dy)))
    with pytest.raises(AssertionError):
        law_of_transposition(found)
