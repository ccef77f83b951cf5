"""`show`: the page of a written report made again, and its charts as pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chainback.errors import ChainbackError, UsageError
from chainback.reporting.comparison import Comparison
from chainback.reporting.pages.html import plotting, sections_of, slug, write_page
from chainback.reporting.report import Report
from chainback.reporting.schema import PAGE_FILE
from chainback.reporting.sections.section import Section

__all__ = ["FORMATS", "show", "write_pictures"]

#: What pictures may be.
FORMATS = ("svg", "png")


def show(folder: str | os.PathLike[str], *, pictures: str = "") -> Report:
    """Read a report that was written, write its page anew, and on request its charts as pictures.

    Args:
        folder: Of the report.
        pictures: "svg" or "png", to write each chart of the page into the folder's `report-pictures`.

    Raises:
        UsageError: The folder holds no report, or cannot be written.
        ChainbackError: The pictures cannot be drawn here: plotly, kaleido, or the browser that it needs, is not there.
    """
    report = Report.read(folder)
    page = Path(folder) / PAGE_FILE
    write_page(report, page)
    if pictures:
        write_pictures(report, page, pictures)
    return report


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
    folder = Path(page).with_name(f"{Path(page).stem}-pictures")
    files = {folder / f"{name}.{form}": figure for name, figure in _pictures(sections_of(what), charts)}
    if files:
        charts.save_all(files)
    return list(files)


def _pictures(sections: list[Section], charts: Any) -> Iterator[tuple[str, Any]]:
    for section in sections:
        for name, figure in (section.draw(charts).figures if section.draw else {}).items():
            title = f"{section.title}: {name}" if name else section.title
            yield slug(f"{section.title} {name}"), charts.as_picture(figure, title)
