"""The schema is what is written: every table has its columns, in order; older reports are read under the names of today."""

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from broken_engines import scaled_bias

from chainback import compare, merge, show, verify
from chainback.errors import UsageError
from chainback.judging.tally import Pair, Rejection, RowKey, StepTally, Tally
from chainback.reporting.columns import Kind
from chainback.reporting.files import read_csv
from chainback.reporting.report import Report
from chainback.reporting.schema import (
    IDENTITY,
    KEYS,
    READABLE,
    RENAMED,
    REPORT_FILES,
    REPORT_TABLES,
    SCHEMA,
    TABLES,
    differences,
    frame_of,
    kind_of,
)

REPORTS = Path(__file__).parents[2] / "reports"
#: Written by earlier versions of chainback, which did not have all columns yet.
COMMITTED = sorted(path.parent for path in REPORTS.rglob("environment.json")) if REPORTS.exists() else []
SMALL: dict[str, Any] = {"ensembles": ["lecture", "kinks"], "cases": 60, "depths": [3], "samples": False}


def raises(*arguments: Any) -> Any:
    raise ValueError('no "thanks", really')


def infinite(weights: Any, biases: Any, *arguments: Any) -> Any:
    return np.full_like(weights, np.inf), np.full_like(biases, np.nan)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    engines = ["reverse-scan", "triangular-substitution", scaled_bias, raises, infinite]
    verify(engines=engines, **SMALL, output=folder)
    return folder


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copied"))


def header(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return next(csv.reader(file))


def test_every_table_of_a_report_has_exactly_its_columns_in_order(written: Path) -> None:
    found = {path.name for path in written.iterdir()}
    assert found == set(REPORT_FILES) - {"functions.csv", "report.html"}, "functions were not asked for"
    for path in written.glob("*.csv"):
        assert differences(path.stem, header(path)) == []
        assert len(read_csv(path, whole=True)), "else the columns are those of no row"


def test_a_table_with_other_columns_is_found(written: Path) -> None:
    names = header(written / "tolerance.csv")
    assert differences("tolerance", names[:-1]) == ["tolerance lacks note"]
    assert differences("tolerance", [*names, "more"]) == ["tolerance has more, which its schema does not"]
    assert differences("tolerance", [*names[:-2], names[-1], names[-2]]) == [
        "tolerance has its columns in another order"
    ]
    assert differences("curves", [*TABLES["curves"].names, "-0.5", "0.5"]) == []
    assert differences("curves", [*TABLES["curves"].names[1:], "-0.5"]) != []


def test_a_column_that_no_schema_has_is_written_last_and_found() -> None:
    row = Tally(RowKey("e", "batched", "lecture", 3, 1)).row()
    frame = frame_of("tolerance", [dict.fromkeys(IDENTITY, "") | {"planted": 1} | row])
    assert frame.columns[-1] == "planted"
    assert differences("tolerance", frame.columns) == ["tolerance has planted, which its schema does not"]


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("tolerance", Tally(RowKey("e", "batched", "lecture", 3, 1)).row()),
        ("steps", StepTally(RowKey("e", "batched", "lecture", 3, 1), judged="truth").row()),
        ("agreement", Pair("a", "b", "lecture", 3, 1).row()),
        ("rejections", {field.name: None for field in fields(Rejection)}),
    ],
)
def test_what_is_counted_has_a_figure_for_every_column(table: str, row: dict[str, Any]) -> None:
    assert (*IDENTITY, *row) == TABLES[table].names


def test_what_a_row_lacks_is_empty_text_or_nan() -> None:
    frame = frame_of("activations", [{"schema": 2, "activation": "elu", "points": 3}, {"schema": 2, "digest": "00ff"}])
    assert frame["digest"].tolist() == ["", "00ff"]
    assert np.isnan(frame["margin_max"]).all()
    assert list(frame_of("tolerance", []).columns) == list(TABLES["tolerance"].names)


def test_the_schema_names_each_column_once_and_says_what_it_means() -> None:
    for table in TABLES.values():
        assert len(set(table.names)) == len(table.names)
        assert set(table.key) <= set(table.names)
        assert table.meaning
        assert all(column.meaning for column in table.columns)
    for name in REPORT_TABLES:
        assert TABLES[name].names[: len(IDENTITY)] == IDENTITY
    kinds: dict[str, set[bool]] = {}
    for name in REPORT_TABLES:
        for column in TABLES[name].columns:
            kinds.setdefault(column.name, set()).add(column.kind.is_text)
    assert all(len(found) == 1 for found in kinds.values()), "a name is text in all tables of a report, or in none"
    assert kind_of("digest") is Kind.DIGEST
    assert kind_of("unheard of") is None
    assert kind_of("12.5", "curves") is Kind.NUMBER
    assert set(KEYS) < set(REPORT_TABLES)


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda path: str(path.relative_to(REPORTS)))
def test_committed_reports_stay_readable(folder: Path, tmp_path: Path) -> None:
    report = Report.read(folder)
    assert report.environment["schema"] in READABLE
    assert "sharp" in report.tolerance
    assert "informative" not in report.tolerance
    assert set(compare(folder, folder).frame["outcome"]) == {"identical"}
    again = show(Path(shutil.copytree(folder, tmp_path / "copied")))
    assert again.verdict is report.verdict
    assert (tmp_path / "copied" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("path", sorted(REPORTS.rglob("*.csv")), ids=lambda path: str(path.relative_to(REPORTS)))
def test_no_committed_table_has_a_column_of_no_schema(path: Path) -> None:
    schema = read_csv(path)["schema"][0]
    names = [RENAMED.get(schema, {}).get(name, name) for name in header(path)]
    assert [found for found in differences(path.stem, names) if "lacks" not in found] == []


def as_schema_1(folder: Path) -> Path:
    """Make of a report what chainback would have written before there was rejections.csv."""
    for path in folder.glob("*.csv"):
        frame = read_csv(path).rename(columns={"sharp": "informative"}).assign(schema=1)
        frame.to_csv(path, index=False, lineterminator="\n", na_rep="nan")
    (folder / "rejections.csv").unlink()
    facts = json.loads((folder / "environment.json").read_text()) | {"schema": 1}
    (folder / "environment.json").write_text(json.dumps(facts) + "\n")
    return folder


def test_a_report_of_schema_1_is_read_with_what_its_notes_say(written: Path, copied: Path) -> None:
    new, old = Report.read(written), Report.read(as_schema_1(copied))
    assert old.tolerance.drop(columns="schema").equals(new.tolerance.drop(columns="schema"))
    assert old.verdict is new.verdict
    first: dict[Any, Rejection] = {}
    for rejection in new.rejections:
        first.setdefault((rejection.step, rejection.key), rejection)
    assert {str(rejection) for rejection in old.rejections} == {str(rejection) for rejection in first.values()}
    found = compare(copied, written)
    assert set(found.frame["outcome"]) == {"identical", "rejected"}
    assert not found.worse


def test_a_report_of_no_readable_schema_is_one_sentence(copied: Path) -> None:
    facts = json.loads((copied / "environment.json").read_text())
    (copied / "environment.json").write_text(json.dumps(facts | {"schema": SCHEMA + 1}))
    with pytest.raises(UsageError, match="is of no report of schema 1 or 2"):
        Report.read(copied)
    frame = read_csv(copied / "tolerance.csv").assign(schema=SCHEMA + 1)
    frame.to_csv(copied / "tolerance.csv", index=False, na_rep="nan")
    with pytest.raises(UsageError, match="is no report of schema 1 or 2"):
        read_csv(copied / "tolerance.csv")


def test_shards_of_schema_1_cannot_be_merged(tmp_path: Path) -> None:
    verify(engines=["reverse-scan"], **SMALL, activations=False, shard="1/1", output=tmp_path / "shard")
    with pytest.raises(UsageError, match="is of schema 1, whose totals differ: run the shard again"):
        merge([as_schema_1(tmp_path / "shard")])


def test_a_run_of_schema_1_is_not_resumed(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"engines": ["reverse-scan"], **SMALL, "activations": False, "duration": 60.0}
    verify(**asked, output=tmp_path)
    counts = json.loads((tmp_path / "counts.json").read_text())
    counts["run"]["schema"] = 1
    counts["tallies"] = [{"informative": 1}]
    (tmp_path / "counts.json").write_text(json.dumps(counts))
    with pytest.raises(UsageError, match="holds another run: it has another schema"):
        verify(**asked, output=tmp_path, resume=True)


def test_rejections_are_read_back_exactly(written: Path) -> None:
    report = Report.read(written)
    rows = read_csv(written / "rejections.csv")
    assert len(report.rejections) == len(rows) == report.environment["rejections"] > 6
    assert report.rejection_rows().astype(object).equals(rows.astype(object))
    by_engine = {rejection.engine.split(":")[-1]: rejection for rejection in report.rejections}
    failed, wild = by_engine["raises"], by_engine["infinite"]
    assert (failed.component, failed.got, failed.bound) == ("", None, None)
    assert failed.reason == 'it raised ValueError: no "thanks", really'
    assert (wild.component, wild.got) == ("dW_1[0,0]", np.inf)
    assert wild.wrong == wild.components > 0
    assert report.rejections == tuple(replace(rejection) for rejection in report.rejections)


def damaged(path: Path) -> Iterator[None]:
    """Damage a file in one way after another: cut off at every line, within lines, bare, with other columns or cells."""
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    cuts = {0, 1, len(whole) // 2, len(whole) - 1, *(sum(map(len, lines[:count])) for count in range(1, len(lines)))}
    texts = [whole[:cut] for cut in sorted(cuts)]
    texts += [whole.replace("component", "part", 1), whole.replace("batched", "0,batched", 1)]
    texts += ["".join([*lines[:-1], lines[-1].replace(",batched,", ",eager,")])]
    texts += [whole.replace(",3,1,0,", ",3,1,zero,", 1)]
    for text in texts:
        assert text != whole
        path.write_text(text)
        yield
    path.unlink()
    yield


def test_damaged_rejections_are_found(copied: Path) -> None:
    Report.read(copied)
    count = 0
    for _ in damaged(copied / "rejections.csv"):
        count += 1
        with pytest.raises(UsageError, match=r"rejections\.csv") as caught:
            Report.read(copied)
        assert "\n" not in str(caught.value)
    assert count > 15


def test_a_rejected_row_without_its_rejection_is_found(copied: Path) -> None:
    frame = read_csv(copied / "tolerance.csv")
    frame.loc[frame["engine"] == "reverse-scan", "verdict"] = "rejected"
    frame.to_csv(copied / "tolerance.csv", index=False, lineterminator="\n", na_rep="nan")
    with pytest.raises(UsageError, match=r"rejections\.csv: it lacks the rejection of reverse-scan batched"):
        Report.read(copied)


def test_a_cell_that_is_not_of_its_kind_is_found(copied: Path) -> None:
    frame = pd.read_csv(copied / "tolerance.csv", dtype=str, keep_default_na=False)
    for column, cell in (("depth", "3.5"), ("cases", "many"), ("margin_max", "small")):
        frame.assign(**{column: cell}).to_csv(copied / "tolerance.csv", index=False)
        with pytest.raises(UsageError, match=r"cannot read .*tolerance\.csv"):
            read_csv(copied / "tolerance.csv")
