"""HTML pages: the sections of a report, a comparison or a history as one file that needs no network.

Charts are drawn in the browser by plotly's own bundle, which is in the page once, compressed. Without plotly a page has all
its tables, and names the command that installs it.
"""

from __future__ import annotations

import base64
import gzip
import importlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from chainback.judging.judgement import Verdict
from chainback.reporting.comparison import Comparison
from chainback.reporting.files import write_text
from chainback.reporting.report import Report
from chainback.reporting.sections.comparison_sections import comparison_sections
from chainback.reporting.sections.section import Charts, Section, Table, markdown
from chainback.reporting.text import is_number, run_details

__all__ = ["comparison_page", "document", "plotting", "report_page", "sections_of", "slug", "text", "write_page"]


def write_page(what: Report | Comparison, path: str | Path) -> None:
    """Write the page of a report or a comparison, whole or not at all.

    Raises:
        UsageError: The file cannot be written.
    """
    write_text(Path(path), report_page(what) if isinstance(what, Report) else comparison_page(what))


def report_page(report: Report) -> str:
    """Return the page of a report."""
    word, details = str(report.verdict).upper(), run_details(report.environment)
    return document(report.verdict, word, report.title, details, report.remarks, report.sections)


def comparison_page(comparison: Comparison) -> str:
    """Return the page of a comparison."""
    verdict = {0: Verdict.ACCEPTED, 1: Verdict.REJECTED}.get(comparison.exit_code, Verdict.UNDECIDED)
    sections = comparison_sections(comparison)
    return document(verdict, comparison.outcome, comparison.title, "", comparison.remarks(), sections)


def sections_of(what: Report | Comparison) -> list[Section]:
    """Return the sections of a report or a comparison."""
    return what.sections if isinstance(what, Report) else comparison_sections(what)


def text(what: Report | Comparison) -> str:
    """Return the tables of a page as Markdown, for a log."""
    return markdown(sections_of(what))


def plotting() -> Any:
    """Return the module that draws, or None where plotly is not installed."""
    try:
        return importlib.import_module("chainback.reporting.pages.charts")
    except ModuleNotFoundError:
        return None


def document(
    verdict: Verdict | None,
    word: str,
    title: str,
    details: str,
    remarks: Iterable[str],
    sections: Iterable[Section],
) -> str:
    """Return a page.

    Args:
        verdict: Its colour; None for a page that gives no verdict.
        word: Its heading.
        title: What it is about.
        details: What produced it, in one line.
        remarks: Sentences above the sections.
        sections: Its parts; those with nothing to show are left out.
    """
    charts = plotting()
    chosen = [section for section in sections if section.on_page]
    drawn = [(section, _drawn(section, charts)) for section in chosen]
    figures = [_json(figure) for _, found in drawn for figure in found.figures.values()]
    places = iter(range(len(figures)))
    return Template(_file("page.html")).substitute(
        title=escape(f"{word}: {title}"),
        style=f"\n{_file('report.css')}",
        verdict=escape(str(verdict or "none").replace(" ", "-")),
        word=escape(word),
        what=escape(title),
        when=escape(details),
        remarks="\n".join(f"<li>{escape(remark)}</li>" for remark in remarks),
        missing=_MISSING if charts is None and any(section.draw for section in chosen) else "",
        sections="\n".join(_section(section, found, places) for section, found in drawn),
        scripts=_scripts(figures) if figures else "",
    )


def _file(name: str) -> str:
    """Return a file that lies beside this one."""
    return resources.files("chainback.reporting.pages").joinpath(name).read_text(encoding="utf-8")


def _drawn(section: Section, charts: Any) -> Charts:
    return Charts({}) if section.draw is None or charts is None else section.draw(charts)


def _json(figure: Any) -> str:
    """Return a figure as JSON that may stand in a page's script."""
    return str(figure.to_json()).replace("<", "\\u003c")


def _section(section: Section, charts: Charts, places: Iterator[int]) -> str:
    panels = []
    for name, figure in charts.figures.items():
        caption = f"<figcaption>{escape(name)}</figcaption>" if name else ""
        label = escape(f"{section.title}{': ' * bool(name)}{name}, a chart: its numbers stand in the table below")
        height = f'style="min-height: {figure.layout.height}px"'
        box = f'<div class="chart" role="img" aria-label="{label}" data-figure="{next(places)}" {height}></div>'
        panels.append(f"<figure>{caption}{box}</figure>")
    kind = "panels" if len(panels) > 1 else "panel"
    return "\n".join(
        (
            f'<section id="{slug(section.title)}"><div class="head"><h2>{escape(section.title)}</h2>',
            f"<p>{escape(section.lead)}</p>",
            _legend(charts.legend if panels else ()),
            "</div>",
            *map(_html_table, section.tables),
            f'<div class="{kind}">{"".join(panels)}</div>' if panels else "",
            *map(_folded, section.folded),
            "</section>",
        )
    )


def slug(title: str) -> str:
    """Return a title as an anchor or a file's name."""
    return re.sub(r"[^a-z0-9_.]+", "-", title.lower()).strip("-.")


def _legend(entries: Sequence[tuple[str, str, str]]) -> str:
    items = (f"<li>{_sign(colour, style)}{escape(name)}</li>" for name, colour, style in entries)
    return f'<ul class="legend">{"".join(items)}</ul>' if entries else ""


def _sign(colour: str, style: str) -> str:
    """Return a line of a dash, or a marker, as plotly draws them."""
    if style in _MARKERS:
        return f'<svg width="12" height="12" aria-hidden="true"><path d="{_MARKERS[style]}" fill="{escape(colour)}"/></svg>'
    return (
        f'<svg width="26" height="8" aria-hidden="true"><path d="M0 4H26" stroke="{escape(colour)}" stroke-width="2.5" '
        f'stroke-dasharray="{_DASHES.get(style, "none")}"/></svg>'
    )


#: A table of more columns, or of longer names of columns, is too broad for a phone.
_MOST_COLUMNS, _MOST_CHARACTERS = 5, 40
_DASHES = {"dash": "6 4", "dot": "2 4", "dashdot": "6 3 2 3"}
_MARKERS = {
    "circle": "M6 2A4 4 0 0 1 6 10A4 4 0 0 1 6 2",
    "diamond": "M6 1L11 6L6 11L1 6Z",
    "square": "M2 2H10V10H2Z",
    "triangle-up": "M6 1L11 10H1Z",
}


def _folded(table: Table) -> str:
    return f"<details><summary>{escape(table.name or 'Show the table')}</summary>{_html_table(table)}</details>"


def _html_table(table: Table) -> str:
    columns = range(len(table.header))
    kinds = [[_kind(table, i, j, cell) for j, cell in enumerate(row)] for i, row in enumerate(table.rows)]
    # A column is of numbers where all of it is; on a phone a matrix is squeezed, and a table with much text or with many
    # columns is one card a row: nothing that matters, as a verdict, is to be scrolled for.
    matrix = any("shade" in kind for row in kinds for kind in row)
    numbers = [not matrix and all(_is_number(row[j]) for row in table.rows) for j in columns]
    broad = len(columns) > _MOST_COLUMNS or sum(map(len, table.header)) > _MOST_CHARACTERS
    much = broad or any(kind in ("long", "command") for row in kinds for kind in row)
    form = " class=matrix" if matrix else " class=stacked" if much else ""
    head = "".join(
        f"<th scope=col{' class=number' * numeric}>{escape(column)}</th>"
        for column, numeric in zip(table.header, numbers, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(_cell(row[j], kinds[i][j], table.header[j], numbers[j]) for j in columns) + "</tr>\n"
        for i, row in enumerate(table.rows)
    )
    name = f"<h3>{escape(table.name)}</h3>" if table.name else ""
    table_ = f"<table{form}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'{name}<div class="scroll">{table_}</div>'


def _cell(text: str, kind: str, column: str, numeric: bool) -> str:
    classes = " ".join(filter(None, (kind, "number" if numeric else "")))
    inside = f"<code>{escape(text)}</code>" if kind == "command" else escape(text)
    classed = f' class="{classes}"' if classes else ""
    named = f' data-name="{escape(column)}"' if column else ""
    return f"<td{classed}{named}>{inside}</td>"


def _kind(table: Table, row: int, column: int, text: str) -> str:
    """Return the class of a cell by what stands in it: a verdict, a command, much text."""
    if text in _VERDICTS:
        return _VERDICTS[text]
    if marked := table.mark(row, column):
        return marked
    if text.startswith(("chainback replay ", "chainback verify ")):
        return "command"
    return "worse" if text.startswith("WORSE ") else "long" if len(text) > 60 else ""


def _is_number(text: str) -> bool:
    """Whether a cell holds a number, a share, an old number and a new one, or nothing."""
    parts = [part.replace(",", "").removesuffix("%") for part in text.split(" → ")]
    return all(part in ("", "–") or is_number(part) for part in parts)


_VERDICTS = {str(verdict): str(verdict).replace(" ", "-") for verdict in Verdict}


@cache
def _bundle() -> str:
    """Return plotly's own script, compressed, in base64; all pages of a run have the same."""
    script = importlib.import_module("plotly.offline").get_plotlyjs().encode()
    return base64.b64encode(gzip.compress(script, 6, mtime=0)).decode()


def _scripts(figures: Sequence[str]) -> str:
    """Return the charts: plotly's bundle, compressed, the figures, and what unpacks and draws them."""
    return (
        f'<script type="text/plain" id="plotly">{_bundle()}</script>\n'
        f'<script type="application/json" id="figures">[{",".join(figures)}]</script>\n'
        f'<script type="module">\n{_file("report.js")}</script>'
    )


_MISSING = (
    '<p class="missing">There are no charts here, because plotly was not installed where this page was written: '
    "<code>pip install 'chainback[pictures]'</code> gets them for the next one. All numbers stand in the tables.</p>"
)
