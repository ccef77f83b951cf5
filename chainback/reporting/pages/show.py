"""A written report, shown again: its page made anew, its charts as pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from chainback.errors import ChainbackError, UsageError
from chainback.judging.judgement import Verdict
from chainback.judging.tally import Rejection, RowKey
from chainback.problems.ensembles import CaseId
from chainback.reporting.comparison import Comparison
from chainback.reporting.pages.comparison_sections import comparison_sections
from chainback.reporting.pages.html import plotting, slug, write_page
from chainback.reporting.pages.report_sections import report_sections
from chainback.reporting.pages.sections import Section
from chainback.reporting.report import Report, read_csv, read_environment, records

__all__ = ["FORMATS", "read_report", "show", "write_pictures"]

#: What pictures may be.
FORMATS = ("svg", "png")
_TABLES = ("tolerance", "steps", "agreement", "activations", "curves", "functions")


def show(folder: str | os.PathLike[str], *, pictures: str = "") -> Report:
    """Read a report that was written, write its page anew, and on request its charts as pictures.

    Args:
        folder: Of the report.
        pictures: "svg" or "png", to write each chart of the page into the folder's `report-pictures`.

    Raises:
        UsageError: The folder holds no report, or cannot be written.
        ChainbackError: The pictures cannot be drawn here: plotly, kaleido, or the browser that it needs, is not there.
    """
    report = read_report(folder)
    page = Path(folder) / "report.html"
    write_page(report, page)
    if pictures:
        write_pictures(report, page, pictures)
    return report


def read_report(folder: str | os.PathLike[str]) -> Report:
    """Read a report as it was written.

    Returns:
        The report; its rejections are those that the notes of its rows name.

    Raises:
        UsageError: The folder holds no report, or a damaged one.
    """
    environment = read_environment(folder)
    files = {name: Path(folder) / f"{name}.csv" for name in _TABLES}
    if not files["tolerance"].exists():
        raise UsageError(f"{folder} holds no tolerance.csv: name a folder that verify wrote")
    tables: dict[str, Any] = {name: read_csv(path) if path.exists() else pd.DataFrame() for name, path in files.items()}
    rejections = tuple(_rejections(tables["tolerance"], tables["steps"]))
    return Report(environment=environment, rejections=rejections, **tables)


def _rejections(tolerance: pd.DataFrame, steps: pd.DataFrame) -> Iterator[Rejection]:
    for row in (*records(tolerance), *records(steps)):
        if row["verdict"] == str(Verdict.REJECTED):
            case_id, _, reason = row["note"].partition(": ")
            step = f"its {row['judged']} is wrong: " if "judged" in row else ""
            key = [row[name] for name in RowKey._fields]
            yield Rejection(*key, CaseId.parse(case_id).batch, case_id, row.get("judged", ""), reason=step + reason)


def write_pictures(what: Report | Comparison, page: str | os.PathLike[str], form: str = "svg") -> list[Path]:
    """Write each chart of a page as a picture, by plotly's own exporter.

    Args:
        what: What the page is of.
        page: The page: its pictures stand beside it in a folder of its name, `report-pictures` of `report.html`.
        form: "svg" or "png".

    Returns:
        The files, in the order of the page.

    Raises:
        UsageError: `form` is neither, or they cannot be written.
        ChainbackError: plotly, kaleido, or the browser that it needs, is not there.
    """
    if form not in FORMATS:
        raise UsageError(f"pictures are {' or '.join(FORMATS)}, got {form!r:.20}")
    charts = plotting()
    if charts is None:
        raise ChainbackError("cannot draw pictures: plotly is not there: pip install 'chainback[pictures]'")
    sections = report_sections(what, charts) if isinstance(what, Report) else comparison_sections(what, charts)
    folder = Path(page).with_name(f"{Path(page).stem}-pictures")
    files = {folder / f"{name}.{form}": figure for name, figure in _standing(sections, charts)}
    if files:
        charts.save_all(files)
    return list(files)


def _standing(sections: list[Section], charts: Any) -> Iterator[tuple[str, Any]]:
    for section in sections:
        for name, chart in section.charts:
            title = f"{section.title}: {name}" if name else section.title
            yield slug(f"{section.title} {name}"), charts.standing(chart, title)
