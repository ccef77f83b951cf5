"""The record: exact round trips, whole files or none, verdicts that only proof can make."""

import io
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from chainback.errors import UsageError
from chainback.judging.tally import Rejection
from chainback.reporting import report as report_module
from chainback.reporting.files import read_csv
from chainback.reporting.pages.html import report_page, text
from chainback.reporting.report import Report
from chainback.reporting.schema import frame_of
from chainback.reporting.sections.report_sections import report_sections
from chainback.reporting.sections.section import JunitCase, Section, Table


def row(engine="e", verdict="accepted", **more):
    base = {
        "schema": 2,
        "jax": "0",
        "engine": engine,
        "execution": "batched",
        "ensemble": "lecture",
        "depth": 3,
        "width": 1,
        "cases": 10,
        "components": 60,
        "accepted": 10,
        "rejected": 0,
        "undecided": 0,
        "verdict": verdict,
        "sharp": 0.75,
        "margin_max": 0.1 + 0.2,
        "margin_p99": 1 / 3,
        "error_u_max": 1e300,
        "error_u_p99": 2.0,
        "digest": "0012345678901234",
        "run_s": 0.25,
        "note": "",
    }
    return base | more


def report(*rows, complete=True, agreement=(), activations=(), steps=(), **environment) -> Report:
    return Report(
        frame_of("tolerance", rows),
        frame_of("agreement", agreement),
        frame_of("activations", activations),
        {"complete": complete, "packages": {}} | environment,
        steps=frame_of("steps", steps),
    )


def test_csv_files_read_back_exactly(tmp_path) -> None:
    numbers = np.random.default_rng(0).random(200) * 10.0 ** np.arange(-100, 100)
    rows = [row(margin_max=v, note='a, "quoted" note') for v in numbers] + [row(margin_max=float("nan"))]
    written = report(*rows)
    written.to_csv(tmp_path / "tolerance.csv")
    back = read_csv(tmp_path / "tolerance.csv")
    pd.testing.assert_frame_equal(back, written.tolerance, check_exact=True)
    assert back["digest"][0] == "0012345678901234"


def test_the_folder_holds_what_is_promised_and_nothing_half_written(tmp_path) -> None:
    report(row(), activations=[{"schema": 2, "verdict": "accepted"}], seed=3).write(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "activations.csv",
        "agreement.csv",
        "environment.json",
        "rejections.csv",
        "steps.csv",
        "tolerance.csv",
    ]
    assert json.loads((tmp_path / "out" / "environment.json").read_text())["seed"] == 3


def test_a_file_that_cannot_be_replaced_leaves_no_trace(tmp_path) -> None:
    (tmp_path / "tolerance.csv").mkdir()
    with pytest.raises(UsageError, match=r"cannot write .*tolerance\.csv"):
        report(row()).to_csv(tmp_path / "tolerance.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["tolerance.csv"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "cannot read"), ("a,b\n1,2,3\n4,5,6,7,8\n", "cannot read"), ("a,b\n1,2\n", "no report of schema 1 or 2")],
)
def test_damaged_files_get_one_sentence(tmp_path, text: str, sentence: str) -> None:
    (tmp_path / "tolerance.csv").write_text(text)
    with pytest.raises(UsageError, match=sentence) as caught:
        read_csv(tmp_path / "tolerance.csv")
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="cannot read"):
        read_csv(tmp_path / "missing.csv")


@pytest.mark.parametrize(
    ("made", "verdict", "code"),
    [
        (report(row()), "accepted", 0),
        (report(row(), row(verdict="rejected")), "rejected", 1),
        (report(row(), row("f", "undecided")), "undecided", 3),
        (report(row(), row(verdict="undecided")), "accepted", 0),
        (report(row(), row("f", "not run")), "accepted", 0),
        (report(row("f", "not run")), "undecided", 3),
        (report(), "undecided", 3),
        (report(row(), complete=False), "undecided", 3),
        (report(row(verdict="rejected"), complete=False), "rejected", 1),
        (report(row(), agreement=[{"verdict": "rejected"}]), "rejected", 1),
        (report(row(), agreement=[{"verdict": "undecided"}]), "accepted", 0),
        (report(row(), activations=[{"verdict": "rejected"}]), "rejected", 1),
        (report(row(), steps=[{"judged": "substitution", "verdict": "rejected"}]), "rejected", 1),
        (report(row(), steps=[{"judged": "linearisation", "verdict": "rejected"}]), "rejected", 1),
        (report(row(), steps=[{"judged": "linearisation", "verdict": "undecided"}]), "accepted", 0),
        (report(row(sharp=0.09)), "undecided", 3),
        (report(row(sharp=0.11)), "accepted", 0),
        (report(row(sharp=0.01), row(depth=4, sharp=0.5)), "accepted", 0),
        (report(row(sharp=0.01), row("f")), "undecided", 3),
        (report(row(sharp=0.01), sharp_floor=0.001), "accepted", 0),
        (report(row(sharp=0.01, verdict="rejected")), "rejected", 1),
    ],
)
def test_only_proof_accepts(made: Report, verdict: str, code: int) -> None:
    assert (str(made.verdict), made.exit_code, made.accepted) == (verdict, code, verdict == "accepted")


def test_junit_counts_and_explains(tmp_path) -> None:
    rows = (row(), row(verdict="rejected", note="id: db_1[0] <&>"), row(verdict="not run", note="too deep"))
    pairs = ({"engine_a": "e", "engine_b": "f", "verdict": "rejected"}, {"engine_a": "e", "verdict": "accepted"})
    sweeps = ({"activation": "elu", "verdict": "rejected"},)
    made = report(*rows, agreement=pairs, activations=sweeps, complete=False, stopped="interrupted after 3 results")
    made.write_junit(tmp_path / "junit.xml")
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    counts = {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")}
    assert counts == {"tests": "7", "failures": "3", "skipped": "1", "errors": "1"}
    assert suite[1][0].get("message") == "id: db_1[0] <&>"
    assert suite[6][0].get("message") == "interrupted after 3 results"
    report(row()).write_junit(tmp_path / "junit.xml")
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("errors")) == ("1", "0")


def printed(made: Report, **options) -> str:
    console = Console(width=80, record=True, file=io.StringIO(), color_system=None)
    made.print(console, **options)
    return console.export_text()


def test_the_table_says_it_all_in_80_columns() -> None:
    made = Report(
        report(
            row("triangular-substitution", cases=1_000_000), row("f", "not run", note="too deep", depth=9)
        ).tolerance,
        frame_of("agreement", [{"verdict": "accepted"}]),
        pd.DataFrame(),
        {"complete": True, "packages": {"jax": "0.4.30"}, "device_kind": "cpu", "seed": 4, "elapsed_s": 1.25},
    )
    text = printed(made)
    assert "…" not in text
    for word in ("jax 0.4.30", "triangular-substitution", "1,000,000", "0.3", "75.0%", "ACCEPTED in 1.2 s"):
        assert word in text
    assert "f was not run at 9x1: too deep." in text
    assert max(map(len, text.splitlines())) <= 80


def test_rejections_are_printed_even_when_quiet() -> None:
    wrong = report(row(verdict="rejected"))
    made = Report(
        wrong.tolerance,
        wrong.agreement,
        wrong.activations,
        wrong.environment,
        (Rejection("e", "batched", "lecture", 3, 1, 0, "id", reason="db_1"),),
    )
    assert "REJECTED e (batched) on id: db_1" in printed(made, brief=True)
    assert "margin" not in printed(made, brief=True)


def test_an_incomplete_run_says_so() -> None:
    assert "INCOMPLETE: interrupted after 5 results." in printed(
        report(row(), complete=False, stopped="interrupted after 5 results")
    )


def test_what_alone_is_rejected_is_printed_even_when_quiet() -> None:
    pairs = ({"engine_a": "e", "engine_b": "f", "verdict": "rejected"},)
    sweeps = ({"activation": "elu", "quantity": "slope", "verdict": "rejected"},)
    text = " ".join(printed(report(row(), agreement=pairs, activations=sweeps), brief=True).split())
    assert "REJECTED pairs of engines: " in text
    assert "REJECTED activation sweeps: " in text


def test_a_run_without_teeth_says_so() -> None:
    text = " ".join(printed(report(row("blunt", sharp=0.042), row("keen"))).split())
    assert "blunt: 4.2% of its components were judged sharply, less than 10%." in text
    assert "keen: " not in text
    assert "UNDECIDED" in text


def test_every_table_says_how_sharp_it_is() -> None:
    pairs = ({"engine_a": "e", "verdict": "accepted", "components": 10, "sharp": 0.25},)
    sweeps = ({"activation": "elu", "verdict": "accepted", "points": 10, "sharp": 0.5},)
    steps = (
        {"judged": "linearisation", "verdict": "accepted", "components": 10, "sharp": 0.75},
        {"judged": "substitution", "verdict": "accepted", "components": 10, "sharp": 1.0},
    )
    text = " ".join(printed(report(row(), agreement=pairs, activations=sweeps, steps=steps)).split())
    for sentence in (
        "linearisations: 1 of 1 rows accepted, 0 rejected; 75.0% sharp.",
        "substitutions on the computed system: 1 of 1 rows accepted, 0 rejected; 100.0% sharp.",
        "pairs of engines: 1 of 1 rows accepted, 0 rejected; 25.0% sharp.",
        "activation sweeps: 1 of 1 rows accepted, 0 rejected; 50.0% sharp.",
    ):
        assert sentence in text


def test_a_section_more_is_in_every_printed_form(tmp_path, monkeypatch) -> None:
    """There is one list of sections: what is added to it is printed, summarised, tested and on the page."""
    planted = Section(
        "Planted",
        "A lead.",
        [Table(("what",), [["a cell"]])],
        sentences=["A sentence."],
        alarms=["REJECTED an alarm"],
        tests=[JunitCase("planted", "a test", "rejected", "its message")],
    )
    made = report(row())
    monkeypatch.setattr(report_module, "report_sections", lambda report: [*report_sections(report), planted])
    made.write_junit(tmp_path / "junit.xml")
    forms = {
        "terminal": (printed(made), ("A sentence.", "REJECTED an alarm")),
        "brief": (printed(made, brief=True), ("REJECTED an alarm",)),
        "Markdown": (made.markdown(), ("* A sentence.", "* REJECTED an alarm")),
        "JUnit": ((tmp_path / "junit.xml").read_text(), ("chainback.planted", "a test", "its message")),
        "page": (report_page(made), ("Planted", "A lead.", "a cell", "A sentence.", "REJECTED an alarm")),
        "log": (text(made), ("#### Planted", "A lead.", "a cell")),
    }
    for form, (content, words) in forms.items():
        assert [word for word in words if word not in content] == [], form
    assert "A sentence." not in printed(made, brief=True)
    monkeypatch.undo()
    assert "A sentence." not in printed(made), "the negative control"
