"""The bench measures two things in turns, judges the ratio, and calls missed what misses."""

import io
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from chainback.cli.main import cli
from chainback.errors import UsageError
from chainback.reporting.files import read_csv
from chainback.studies import benchmarks
from chainback.studies.bench_results import Benchmark, Figure
from chainback.studies.benchmarks import bench
from chainback.studies.timing import Finished, Race, Spread, interleaved, run_process


class Clock:
    """Stands still but for what is said to have taken time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def takes(self, seconds: float):
        def side() -> None:
            self.now += seconds

        return side


@pytest.mark.parametrize("slower", [1.0, 1.5])
def test_two_things_are_timed_in_turns(slower: float) -> None:
    clock = Clock()
    race = interleaved(clock.takes(0.3 * slower), clock.takes(0.3), rounds=5, clock=clock)
    assert race.ratio().median == pytest.approx(slower)
    assert race.inverse(2.0).median == pytest.approx(2.0 / slower)
    assert Figure("x", race.ratio(), target=1.2).verdict == ("met" if slower < 1.2 else "missed")


def test_a_short_side_is_repeated() -> None:
    clock, calls = Clock(), []
    short = clock.takes(0.001)
    interleaved(lambda: (calls.append(1), short()), clock.takes(1.0), rounds=2, least_s=0.02, clock=clock)
    assert len(calls) == 2 + 2 * 20


def test_what_disturbs_a_round_disturbs_both_sides() -> None:
    race = Race((1.0, 10.0, 1.0, 1.0), (2.0, 20.0, 2.0, 2.0))
    assert race.ratio() == Spread(0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("value", "sense", "verdict", "factor"),
    [
        (0.5, "<=", "met", 0.5),
        (1.0, "<=", "met", 1.0),
        (1.0, "<", "missed", 1.0),
        (2.0, "<=", "missed", 2.0),
        (2.0, ">=", "met", 0.5),
        (0.25, ">=", "missed", 4.0),
        (math.nan, "<=", "missed", math.nan),
        (math.nan, ">=", "missed", math.nan),
        (2.0, "", "shown", 2.0),
    ],
)
def test_only_a_number_that_holds_is_met(value: float, sense: str, verdict: str, factor: float) -> None:
    figure = Figure("x", Spread.of([value]), sense=sense, target=1.0)
    assert figure.verdict == verdict
    np.testing.assert_equal(figure.factor, factor)


@pytest.mark.parametrize(
    ("figures", "code"),
    [
        ([], 3),
        ([Figure("x", Spread.of([]), skipped="no GPU")], 3),
        ([Figure("x", Spread.of([1.0]), target=2.0), Figure("y", Spread.of([]), skipped="no GPU")], 0),
        ([Figure("x", Spread.of([1.0]), target=2.0), Figure("y", Spread.of([3.0]), target=2.0)], 1),
    ],
)
def test_exit_codes(figures: list[Figure], code: int) -> None:
    assert Benchmark(tuple(figures), {}).exit_code == code


def ends(code: int = 0, seconds: float = 1.0, peak: float = 1e9):
    return lambda arguments, variables: Finished(code, seconds, peak, "said")


@pytest.mark.parametrize(
    ("run", "verdicts"),
    [
        (ends(), ["met"] * 4),
        (ends(seconds=45.0), ["met", "met", "missed", "met"]),
        (ends(peak=3e9), ["met", "missed"] * 2),
        (ends(code=1), ["missed"] * 4),
    ],
)
def test_a_run_that_is_slow_or_large_or_rejected_is_missed(run: Any, verdicts: list[str]) -> None:
    found = bench(only=["million"], run=run)
    assert [figure.verdict for figure in found.figures] == verdicts
    assert ("exit code 1: said" in found.figures[0].note) == (found.figures[0].value.median is math.nan)


@pytest.mark.parametrize(
    ("run", "verdicts"),
    [(ends(seconds=9.0), ["shown", "met"]), (ends(seconds=11.0), ["shown", "missed"]), (ends(code=1), ["missed"] * 2)],
)
def test_a_deep_chain_that_takes_long_or_is_rejected_is_missed(run: Any, verdicts: list[str]) -> None:
    assert [figure.verdict for figure in bench(only=["deep"], run=run).figures] == verdicts


def test_memory_that_grows_is_missed() -> None:
    sizes = iter((1e9, 1.05e9, 1e9, 2e9))
    verdicts = [bench(only="memory", run=lambda *_: Finished(0, 1.0, next(sizes))).figures[0].verdict for _ in range(2)]
    assert verdicts == ["met", "missed"]


def test_an_engine_that_dawdles_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    by = benchmarks._by

    def dawdling(engine: Any, names: tuple[str, ...]):
        program = by(engine, names)
        return lambda *arguments: (time.sleep(0.05), program(*arguments))[1]

    monkeypatch.setattr(benchmarks, "_by", dawdling)
    found = bench(only=["triangular"], quick=True)
    assert {figure.verdict for figure in found.figures} == {"missed"}
    assert found.exit_code == 1
    assert found.sentence().startswith("MISSED 4 of 4 targets")


def test_rows_that_are_not_known_are_refused() -> None:
    with pytest.raises(UsageError, match="row 'milion' is not known: use some of million, deep, components"):
        bench(only=["milion"])


@pytest.mark.parametrize("name", ["batch", "components", "cases", "depth", "gpu"])
def test_each_row_measures(name: str, tmp_path) -> None:
    found = bench(only=[name], quick=True, output=tmp_path)
    table = read_csv(tmp_path / "bench.csv", whole=True)
    assert set(table["row"]) == {name}
    assert list(table["verdict"]) == [figure.verdict for figure in found.figures]
    for figure in found.figures:
        assert figure.skipped or figure.value.median > 0
        assert not figure.skipped or name == "gpu"


def test_the_command(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def two(setting: Any) -> Iterator[Figure]:
        yield Figure("this", Spread.of([2.0, 2.5]), target=3.0, ours="1 s", theirs="2 s")
        yield Figure("that", Spread.of([5.0]), sense=">=", target=10.0)

    monkeypatch.setitem(benchmarks.ROWS, "batch", two)
    ran = CliRunner().invoke(cli, ["bench", "--only", "batch", "--output", str(tmp_path)], standalone_mode=False)
    assert ran.return_value == 1
    assert "MISSED 2 ×" in ran.output
    assert "MISSED 1 of 2 targets" in ran.output
    assert list(read_csv(tmp_path / "bench.csv")["verdict"]) == ["met", "missed"]
    assert (tmp_path / "bench.json").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what a process holds")
def test_a_process_and_its_children_are_watched() -> None:
    child = "import time; x = bytearray(200_000_000); time.sleep(0.5)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('done'); sys.exit(3)"
    ran = run_process(["-c", code], {})
    assert (ran.code, ran.said) == (3, "done")
    assert 2e8 < ran.peak < 4e8
    assert ran.seconds > 0.5
    assert subprocess.run([sys.executable, "-c", "pass"], check=False).returncode == 0


def test_a_narrow_table_keeps_what_is_judged_and_a_wide_one_tells_more() -> None:
    figure = Figure("time, 10 / 1 chains", Spread(20.0, 19.0, 21.0), "×", "<=", 10.0, "2 s", "0.1 s", row="cases")
    facts = {
        "packages": {},
        "platform": "cpu",
        "device_kind": "cpu",
        "cores": 2,
        "processor": {"model": ""},
        "load": 0.0,
    }
    found = Benchmark((figure,), facts | {"quick": False, "elapsed_s": 3.0})
    said = []
    for width in (80, 140):
        console = Console(width=width, record=True, file=io.StringIO())
        found.print(console)
        said.append(console.export_text())
    for text in said:
        assert "MISSED 2 ×" in text
        assert "<= 10 ×" in text
        assert "20 ×" in text
    assert ["quartiles" in text and "2 s, 0.1 s" in text for text in said] == [False, True]
    assert len([line for line in said[0].splitlines() if "10 / 1 chains" in line]) == 1
