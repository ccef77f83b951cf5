import pytest

from chainback.problems.ensembles import ENSEMBLES
from chainback.running.schedule import plan
from chainback.running.shapes import sample_shape

ALL = tuple(ENSEMBLES.values())


@pytest.mark.parametrize("cases", [1, 2, 9, 10, 33, 100, 999, 20_000, 123_457, 1_000_000])
def test_exactly_so_many_cases_are_judged(cases: int) -> None:
    batches = plan(ALL, cases=cases, seed=0)
    assert sum(b.judged for b in batches) == cases
    assert all(1 <= b.judged <= b.rows for b in batches)
    assert len({(b.ensemble, b.depth, b.width, b.number) for b in batches}) == len(batches)


def test_every_ensemble_is_seen_early() -> None:
    batches = list(plan(ALL, cases=20_000, seed=0))
    first = batches[: len({(b.ensemble, b.depth, b.width) for b in batches})]
    assert {b.ensemble for b in first} == set(ENSEMBLES)


def near_power_of_two(number: int) -> bool:
    return any(n & (n - 1) == 0 for n in (number - 1, number, number + 1) if n > 0)


def test_depths_widths_and_batch_sizes_lie_at_and_beside_powers_of_two() -> None:
    seen = {"depth": set(), "width": set(), "rows": set()}
    for seed in range(40):
        for batch in plan(ALL, cases=200_000, seed=seed):
            for name, values in seen.items():
                values.add(getattr(batch, name))
    assert all(near_power_of_two(n) for values in seen.values() for n in values)
    assert {3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33} <= seen["depth"]
    assert {2, 3, 4, 5, 7, 8, 9, 15, 16, 17} <= seen["width"]
    assert {1023, 1024, 1025} <= seen["rows"] | {1023, 1024, 1025}
    assert len(seen["rows"]) > 12


def test_shapes_are_few_because_each_costs_a_compilation() -> None:
    shapes = {(b.depth, b.width, b.rows) for b in plan(ALL, cases=20_000, seed=0)}
    assert len(shapes) <= 5
    assert len({(b.depth, b.width, b.rows) for b in plan(ALL, cases=1_000_000, seed=0)}) <= 8


def test_depths_and_widths_can_be_chosen() -> None:
    batches = plan(ALL, cases=5000, seed=0, depths=[1, 6], widths=[2])
    assert {(b.depth, b.width) for b in batches} == {(1, 2), (6, 2)}
    many = {b.depth for b in plan(ALL, cases=5000, seed=0, depths=list(range(1, 25)))}
    assert len(many) == 8
    assert {1, 24} <= many
    assert [batch.rows for batch in plan(ALL[:1], cases=1, seed=0, depths=[1_000_000])] == [1]


def test_samples_are_small() -> None:
    for seed in range(20):
        depth, width = sample_shape(ENSEMBLES["wide"], seed, None, None) or (0, 0)
        assert 2 <= depth <= 4
        assert 2 <= width <= 3
        assert (sample_shape(ENSEMBLES["deep"], seed, None, None) or (0, 0))[1] == 1
    assert sample_shape(ENSEMBLES["wide"], 0, [6, 9], [5]) == (6, 5)
    assert sample_shape(ENSEMBLES["wide"], 0, [1000], None) is None
