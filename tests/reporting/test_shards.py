"""Counts of shards, merged: what one run would have written, or one sentence that says why not."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainback import Verdict, merge, verify
from chainback.errors import UsageError
from chainback.judging.statistics import Sum
from chainback.reporting.files import read_csv
from chainback.reporting.report import Report

TABLES = ("tolerance", "steps", "agreement", "activations", "curves")
SMALL: dict[str, Any] = {"engines": ["reverse-scan", "triangular-substitution"], "cases": 300, "depths": [3, 4]}
SMALL |= {"ensembles": ["lecture", "kinks", "tiny"], "seed": 5}


def rows(report: Report, table: str) -> Any:
    frame = getattr(report, table)
    return frame.drop(columns=[name for name in ("compile_s", "run_s") if name in frame])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shards")
    for k in (1, 2, 3):
        verify(**SMALL, shard=f"{k}/3", output=folder / str(k))
    return [folder / str(k) for k in (1, 2, 3)]


@pytest.fixture
def copies(shards: list[Path], tmp_path: Path) -> list[Path]:
    return [Path(shutil.copytree(shard, tmp_path / shard.name)) for shard in shards]


def test_merged_shards_are_the_whole_run(shards: list[Path], tmp_path: Path) -> None:
    whole = verify(**SMALL, output=tmp_path / "whole")
    merged = merge([shards[2], shards[0], shards[1]], output=tmp_path / "merged")
    for table in TABLES:
        assert len(rows(whole, table))
        assert rows(merged, table).equals(rows(whole, table)), table
    assert merged.verdict is whole.verdict is Verdict.ACCEPTED
    again = read_csv(tmp_path / "merged" / "tolerance.csv")
    assert again["digest"].tolist() == whole.tolerance["digest"].tolist()


def test_each_shard_runs_a_part_of_its_own(shards: list[Path]) -> None:
    cases = [read_csv(shard / "tolerance.csv")["cases"].sum() for shard in shards]
    one_by_one = 6  # three families: two of them jitted one by one, one un-jitted, by two engines
    assert sum(cases) == 2 * SMALL["cases"] + one_by_one
    assert min(cases) > 0


def sloppy(*arguments: Any) -> Any:
    from chainback.engines.registry import ENGINES

    weights, biases = map(np.array, ENGINES["reverse-scan"](*arguments))
    weights[::7] *= np.float32(1.001)
    return weights, biases


def test_what_one_shard_rejected_the_merged_report_rejects_in_the_same_words(tmp_path: Path) -> None:
    asked = SMALL | {"engines": [sloppy]}
    whole = verify(**asked)
    for k in (1, 2):
        verify(**asked, shard=f"{k}/2", output=tmp_path / str(k))
    merged = merge([tmp_path / "2", tmp_path / "1"])
    assert merged.verdict is Verdict.REJECTED
    assert merged.rejections == whole.rejections
    assert merged.tolerance["note"].tolist() == whole.tolerance["note"].tolist()


def test_without_a_shard_nothing_is_accepted(shards: list[Path]) -> None:
    part = merge(shards[:2])
    assert part.verdict is Verdict.UNDECIDED
    assert part.environment["stopped"] == "without 3/3"


def test_shards_of_another_run_are_refused(copies: list[Path], tmp_path: Path) -> None:
    verify(**SMALL | {"seed": 6}, shard="2/3", output=tmp_path / "other")
    with pytest.raises(UsageError, match=r"other is a shard of another run: it has another seed"):
        merge([copies[0], tmp_path / "other"])
    facts = json.loads((copies[1] / "environment.json").read_text())
    (copies[1] / "environment.json").write_text(json.dumps(facts | {"shard": "2/4"}))
    with pytest.raises(UsageError, match="another number of shards"):
        merge(copies)


def test_a_shard_twice_is_refused(shards: list[Path]) -> None:
    with pytest.raises(UsageError, match=r"is shard 1/3, and so is"):
        merge([shards[0], shards[1], shards[0]])


def test_a_whole_report_is_no_shard(tmp_path: Path) -> None:
    verify(**SMALL | {"cases": 10}, output=tmp_path)
    with pytest.raises(UsageError, match="holds no shard of a run: write it with --shard K/M"):
        merge([tmp_path])


@pytest.mark.parametrize("damage", ["", "{", '{"tallies": [{}]}', "[]", '{"tallies": 1}'])
def test_damaged_counts_are_one_sentence(copies: list[Path], damage: str) -> None:
    (copies[0] / "counts.json").write_text(damage)
    with pytest.raises(UsageError, match=r"counts.json: it is damaged: run the shard again"):
        merge(copies)


def test_a_folder_without_counts_is_one_sentence(copies: list[Path]) -> None:
    (copies[0] / "counts.json").unlink()
    with pytest.raises(UsageError, match=r"cannot read .*counts.json: No such file"):
        merge(copies)


@pytest.mark.parametrize("name", ["", "1", "0/3", "4/3", "a/b", "-1/3", "1/3/5"])
def test_a_shard_is_named_k_of_m(name: str) -> None:
    with pytest.raises(UsageError, match="`shard` must be K/M"):
        verify(**SMALL, shard=name)


def test_a_sum_does_not_see_the_order() -> None:
    numbers = np.random.default_rng(0).normal(size=300) * np.exp(np.random.default_rng(1).normal(scale=3, size=300))
    exact = math.fsum(numbers)
    assert len({float(sum(order)) for order in (numbers, numbers[::-1], np.sort(numbers))}) > 1, "a plain sum does"
    for order in (numbers, numbers[::-1], np.sort(numbers)):
        left, right = Sum(), Sum()
        for place, number in enumerate(order):
            (left if place % 3 else right).add(float(number))
        left.merge(Sum.from_json(json.loads(json.dumps(right.to_json()))))
        assert float(left) == exact
    left.add(math.inf)
    left.add(1.0)
    assert float(left) == math.inf
    left.add(-math.inf)
    assert math.isnan(float(left))
