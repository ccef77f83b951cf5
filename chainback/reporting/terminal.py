"""Terminal output: a report's table of engines or a comparison's table of outcomes, its sentences and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from chainback.judging.judgement import Verdict
from chainback.reporting.sections.report_sections import ENGINE_COLUMNS
from chainback.reporting.sections.section import Section

if TYPE_CHECKING:
    from chainback.reporting.comparison import Change, Comparison
    from chainback.reporting.report import Report

__all__ = ["printed_comparison", "printed_report", "printed_verdict"]

_STYLES = {Verdict.ACCEPTED: "green", Verdict.REJECTED: "bold red", Verdict.UNDECIDED: "yellow", Verdict.NOT_RUN: "dim"}
#: First words by which a line stands out: the word alone, or the whole line.
_WORD_STYLES = {"REJECTED": "bold red"}
_LINE_STYLES = {"UNEXPLAINED": "yellow", "INCOMPLETE": "yellow"}


def printed_report(report: Report) -> RenderableType:
    """Return the table of engines, and a sentence for all else that was found; without a chain the sentences alone."""
    sections = report.sections
    alone = len(report.functions) > 0 and len(report.tolerance) == 0
    head = Text(report.title) if alone else _engines(report.title, sections[0])
    return Group(head, *(Text(line) for each in sections for line in each.sentences), _verdict(report, sections))


def printed_verdict(report: Report) -> RenderableType:
    """Return what was rejected, whether the run is whole, and the verdict."""
    return _verdict(report, report.sections)


def _verdict(report: Report, sections: Sequence[Section]) -> RenderableType:
    word, _, took = report.outcome.partition(" ")
    verdict = Text.assemble((word, _STYLES[report.verdict]), f" {took}" if took else "")
    return Group(*(_alarm(line) for section in sections for line in section.alarms), verdict)


def _alarm(line: str) -> Text:
    word, _, rest = line.partition(" ")
    if word in _WORD_STYLES:
        return Text.assemble((f"{word} ", _WORD_STYLES[word]), rest)
    return Text(line, style=_LINE_STYLES.get(word.rstrip(":"), ""))


def _engines(title: str, engines: Section) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="",
        caption=engines.lead,
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for column in ENGINE_COLUMNS:
        table.add_column(column, justify="left" if column in ("engine", "verdict") else "right", no_wrap=True)
    for *cells, verdict in (row for each in engines.tables for row in each.rows):
        table.add_row(*cells, Text(verdict, style=_STYLES[Verdict(verdict)]))
    return table


def printed_comparison(comparison: Comparison) -> RenderableType:
    """Return how many rows came to what, the first of those that changed, and the outcome."""
    counts = comparison.counts()
    table = Table(title=comparison.title, title_justify="left", title_style="", box=SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(counts.header):
        table.add_column(column, justify="right" if place else "left")
    for cells in counts.rows:
        table.add_row(*cells)
    changes = [Text.assemble(_change_word(change), f" {change.text}") for change in comparison.changes()]
    style = {0: "green", 1: "bold red"}.get(comparison.exit_code, "yellow")
    remarks = map(Text, comparison.remarks())
    return Group(table, *changes, *remarks, Text(comparison.outcome, style=style))


def _change_word(change: Change) -> tuple[str, str]:
    style = "bold red" if change.worse else {"drifted": "yellow", "mended": "green"}.get(change.outcome, "")
    return f"{'WORSE ' if change.worse else ''}{change.outcome}", style
