"""What changed between two reports: each outcome, its negative control, and how often chance alone raises the alarm."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from chainback import Case, Chain, compare, judge, verify
from chainback.engines.registry import ENGINES
from chainback.errors import UsageError
from chainback.judging.statistics import Mean
from chainback.reporting.comparison import Comparison
from chainback.reporting.reading import read
from chainback.reporting.report import Report
from chainback.reporting.row_outcomes import sampled_moves

f32: Any = np.float32
SMALL: dict[str, Any] = {"ensembles": ["lecture", "alive"], "depths": [3, 8], "cases": 4000, "samples": False}


def right(*arguments: Any) -> Any:
    return tuple(np.array(part) for part in ENGINES["triangular-substitution"](*arguments))


def biased(*arguments: Any) -> Any:
    """Every component one last place too large: far below every bound."""
    return tuple(np.nextafter(part, np.where(part < 0, f32(-np.inf), f32(np.inf))) for part in right(*arguments))


def noisy(weights: Any, biases: Any, activations: Any, inputs: Any, targets: Any) -> Any:
    """Every other component off by a third of its bound upwards, the next as far downwards: no bias."""
    parts = right(weights, biases, activations, inputs, targets)
    bounds = judge(Case(Chain(weights, biases, activations), inputs, targets), parts).envelope.bound
    signs = np.where(np.arange(bounds.size).reshape(bounds.shape) % 2, 1, -1)
    moves = np.split(signs * bounds / 3, [weights[0].size], axis=1)
    return tuple((p + m.reshape(p.shape)).astype(f32) for p, m in zip(parts, moves, strict=True))


@cache
def report(engine: str = "right") -> Report:
    """One engine's report, under one name whichever it is."""

    def gradients(*arguments: Any) -> Any:
        return {"right": right, "biased": biased, "noisy": noisy}[engine](*arguments)

    gradients.__qualname__ = "mine"
    return verify(engines=[gradients, "reverse-scan"], **SMALL)


def changed(of: Report, table: str = "tolerance", row: int = 0, **values: Any) -> Report:
    frame = getattr(of, table).copy()
    for name, value in values.items():
        frame[name] = frame[name].astype(object) if isinstance(value, str) else frame[name]
        frame.loc[row, name] = value
    return replace(of, **{table: frame})


def outcomes(comparison: Comparison, table: str = "tolerance") -> list[tuple[str, bool]]:
    rows = comparison.frame[comparison.frame["table"] == table]
    return list(zip(rows["outcome"], rows["worse"], strict=True))


def test_a_report_is_identical_to_itself() -> None:
    found = compare(report(), report())
    assert set(found.frame["outcome"]) == {"identical"}
    assert {"tolerance", "steps", "agreement", "activations"} & set(found.frame["table"])
    assert (found.exit_code, found.worse) == (0, [])


def test_other_bits_within_the_bound_are_no_alarm() -> None:
    found = compare(report(), changed(report(), digest="0123456789abcdef"))
    assert outcomes(found)[0] == ("within bound", False)
    assert set(outcomes(found)[1:]) == {("identical", False)}
    assert "The bits of 1 rows changed though machine, jaxlib and flags are the same." in found.markdown()


def test_a_rejection_is_worse_only_where_there_was_none_or_there_are_more() -> None:
    wrong = changed(report(), verdict="rejected", rejected=3, note="lecture@1:0:3x1:0:1: it is wrong")
    for old, new, expected, code in (
        (report(), wrong, ("rejected", True), 1),
        (wrong, report(), ("mended", False), 0),
        (wrong, wrong, ("rejected", False), 0),
        (wrong, changed(wrong, rejected=4), ("rejected", True), 1),
    ):
        found = compare(old, new)
        assert (outcomes(found)[0], found.exit_code) == (expected, code)
    assert "it is wrong" in compare(report(), wrong).markdown()


@pytest.mark.parametrize("verdict", ["undecided", "not run"])
def test_what_is_proven_no_more_is_worse(verdict: str) -> None:
    found = compare(report(), changed(report(), verdict=verdict))
    assert (outcomes(found)[0], found.exit_code) == ((verdict, True), 1)
    assert compare(changed(report(), verdict=verdict), report()).exit_code == 0


def test_rows_that_went_and_rows_that_came() -> None:
    fewer = replace(report(), tolerance=report().tolerance.iloc[1:])
    found = compare(report(), fewer)
    assert (outcomes(found)[0], found.exit_code) == (("missing", True), 1)
    found = compare(fewer, report())
    assert (sorted(set(outcomes(found))), found.exit_code) == ([("identical", False), ("new", False)], 0)
    found = compare(fewer, changed(report(), verdict="rejected"))
    assert ("rejected", True) in outcomes(found)
    declined = changed(report(), verdict="not run")
    assert compare(declined, fewer).exit_code == 0, "what was never run cannot go missing"


@pytest.mark.parametrize(("drifting", "moved"), [("biased", "error_u_mean"), ("noisy", "margin_rms")])
def test_a_drift_far_below_every_bound_is_seen(drifting: str, moved: str) -> None:
    assert report(drifting).accepted
    found = compare(report(), report(drifting))
    mine = [row for row in found.worse if row["row"].startswith("test_comparison:mine") and "lecture" in row["row"]]
    assert [row["outcome"] for row in mine] == ["drifted"] * 2
    assert all(moved in row["moved"] for row in mine)
    assert found.exit_code == 1
    assert not any("reverse-scan" in row["row"] for row in found.worse if row["table"] == "tolerance")
    back = compare(report(drifting), report())
    assert "drifted" in set(back.frame["outcome"])
    assert back.exit_code == 0, "a drift towards zero is no worse"


def sample(generator: np.random.Generator, sizes: np.ndarray, bias: float = 0.0) -> dict[str, Any]:
    """A row whose cases have errors of given sizes, drawn anew."""
    mean, square = Mean(), Mean()
    errors = sizes * (generator.normal(size=sizes.size) + bias)
    mean.add(errors, np.ones(sizes.size))
    square.add(errors**2, np.ones(sizes.size))
    figures: dict[str, Any] = {"cases": sizes.size, "matmul_precision": "float32"}
    for name in ("error_u", "margin"):
        figures |= {f"{name}_mean": mean.mean, f"{name}_mean_se": mean.standard_error}
        figures |= {f"{name}_rms": square.root[0], f"{name}_rms_se": square.root[1]}
    return figures


@pytest.mark.parametrize("spread", [0.0, 1.0, 2.0])
def test_chance_alone_raises_no_more_alarms_than_stated(spread: float) -> None:
    """The same cases, their rounding errors drawn anew, from equal sizes to sizes that span many orders."""
    generator = np.random.default_rng(0)
    alarms, threshold, trials = 0, 2.5758, 1000  # a probability of 1 % for each of mean and root mean square
    for _ in range(trials):
        sizes = np.exp(spread * generator.normal(size=400))
        alarms += bool(list(sampled_moves(sample(generator, sizes), sample(generator, sizes), threshold)))
    assert alarms <= 0.02 * trials + 3 * np.sqrt(0.02 * trials)
    sizes = np.exp(spread * generator.normal(size=4000))
    assert list(sampled_moves(sample(generator, sizes), sample(generator, sizes, bias=2.0), threshold))


def test_few_cases_say_nothing_about_a_mean() -> None:
    few = {"cases": 29, "matmul_precision": "float32", "error_u_mean": 0.0, "error_u_mean_se": 1e-9}
    assert not list(sampled_moves(few, few | {"error_u_mean": 1.0}, 5.0))
    assert list(sampled_moves(few | {"cases": 30}, few | {"cases": 30, "error_u_mean": 1.0}, 5.0))


def test_a_sweep_drifts_by_size_and_by_lost_digits() -> None:
    swept = verify(engines=["reverse-scan"], ensembles=["lecture"], cases=20, samples=False)
    row = int(np.flatnonzero(swept.activations["error_u_rms"] > 1)[0])
    before = float(swept.activations["error_u_rms"][row])
    for values, expected in (
        ({"error_u_rms": before * 2}, ("drifted", True)),
        ({"error_u_rms": before / 2}, ("drifted", False)),
        ({"error_u_rms": before * 1.2}, ("within bound", False)),
        ({"lost_everything": 5000}, ("drifted", True)),
        ({"verdict": "rejected"}, ("rejected", True)),
    ):
        new = changed(swept, "activations", row, **values, digest="0")
        assert outcomes(compare(swept, new), "activations")[row] == expected


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("dtype", "float64", "dtype float32 in the one, float32, float64 in the other"),
        ("worst_case", "lecture@2:0:3x1:0:1/9", "version of ensemble lecture 1 in the one, 2 in the other"),
        ("worst_case", "lecture@1:7:3x1:0:1/9", "seed 0 in the one, 0, 7 in the other"),
        ("cases", 17, "they ran other cases, 1,000 and 17 of"),
    ],
)
def test_what_cannot_be_compared_is_said(column: str, value: Any, said: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be compared: {said}"):
        compare(report(), changed(report(), row=len(report().tolerance) - 1, **{column: value}))


def test_nothing_in_common_cannot_be_compared() -> None:
    other = report().tolerance.assign(engine="another")
    with pytest.raises(UsageError, match="they have no row in common"):
        compare(report(), replace(report(), tolerance=other))


def test_an_unfinished_run_proves_nothing() -> None:
    cut = replace(report(), environment=report().environment | {"complete": False})
    assert compare(report(), cut).exit_code == 3
    assert compare(cut, report()).exit_code == 0
    assert compare(report(), changed(cut, verdict="rejected")).exit_code == 1


def test_folders_and_single_files_are_read(tmp_path: Path) -> None:
    report().write(tmp_path / "old")
    report("noisy").write(tmp_path / "new")
    of_folders = compare(tmp_path / "old", tmp_path / "new", output=tmp_path / "comparison.csv")
    assert of_folders.frame.equals(compare(report(), report("noisy")).frame)
    assert len((tmp_path / "comparison.csv").read_text().splitlines()) == len(of_folders.frame) + 1
    of_files = compare(tmp_path / "old" / "tolerance.csv", tmp_path / "new" / "tolerance.csv")
    assert set(of_files.frame["table"]) == {"tolerance"}
    assert len(of_files.worse) == len([row for row in of_folders.worse if row["table"] == "tolerance"]) > 0


@pytest.mark.parametrize("cut", [0, 1, 100, 1500, -1, -30])
def test_a_damaged_file_is_one_clear_sentence(cut: int, tmp_path: Path) -> None:
    report().write(tmp_path)
    path = tmp_path / "tolerance.csv"
    path.write_text(path.read_text()[:cut])
    with pytest.raises(UsageError, match=r"tolerance.csv") as caught:
        compare(report(), tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"a,b\n1,2\n", b"schema,engine\n1,x\n", b'"\n'])
def test_what_is_no_report_is_one_clear_sentence(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tolerance.csv"
    path.write_bytes(damage)
    with pytest.raises(UsageError, match=r"tolerance.csv") as caught:
        read(path)
    assert len(str(caught.value).splitlines()) == 1


def test_the_words_for_a_pull_request() -> None:
    text = compare(report(), report("biased")).markdown()
    assert text.startswith("### jax ")
    assert "**WORSE in " in text
    assert "| tolerance |" in text
    assert "* **worse** drifted tolerance: " in text
    assert pd.Series(text.splitlines()).str.len().max() < 400


def functions(**verdicts: str) -> pd.DataFrame:
    """Rows of `functions.csv`; a function that is not there has one row, without method."""
    rows = []
    for name, verdict in verdicts.items():
        there = verdict != "not there"
        row = {"function": name, "argument": "0" if there else "", "quantity": "derivative", "second": ""}
        row |= {"method": "forward" if there else "", "execution": "jitted", "dtype": "float32", "points": 500}
        row |= {
            "verdict": verdict,
            "rejected": int(verdict == "rejected"),
            "digest": verdict,
            "note": f"{name} is wrong",
        }
        rows.append(row | {"error_u_rms": 1.0 if there else np.nan, "lost_everything": 0 if there else np.nan})
    return pd.DataFrame(rows)


def test_functions_come_go_break_and_are_mended() -> None:
    old = replace(
        report(),
        functions=functions(right="accepted", breaks="accepted", shows="accepted", dropped="accepted", comes="not there")
        .merge(functions(mends="known", heals="rejected", absent="not there"), how="outer"),
    )  # fmt: skip
    new = replace(
        report(),
        functions=functions(right="accepted", breaks="rejected", shows="known", dropped="not there", comes="accepted")
        .merge(functions(mends="accepted", heals="known", absent="not there"), how="outer"),
    )  # fmt: skip
    frame = compare(old, new).frame
    rows = frame[frame["table"] == "functions"]
    seen: dict[str, set[tuple[str, bool]]] = {}
    for subject, outcome, worse in zip(rows["subject"], rows["outcome"], rows["worse"], strict=True):
        seen.setdefault(subject, set()).add((outcome, bool(worse)))
    assert seen["right"] == {("identical", False)}
    assert seen["breaks"] == {("rejected", True)}
    assert seen["shows"] == {("known", True)}, "what is known in other versions is worse all the same"
    assert seen["dropped"] == {("not there", False), ("new", False)}
    assert seen["comes"] == {("missing", False), ("new", False)}
    assert seen["mends"] == seen["heals"] == {("mended", False)}
    assert seen["absent"] == {("identical", False)}
