"""Sections, of which every printed form of a report is made: terminal, Markdown, JUnit and page show the same list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from chainback.reporting.text import markdown_table

__all__ = ["MOST_ROWS", "Charts", "JunitCase", "Section", "Table", "markdown"]

#: How many rows of a table are listed, where there may be any number.
MOST_ROWS = 200


@dataclass(frozen=True)
class Table:
    """A table: `mark` returns the class of a cell by row and column."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    name: str = ""
    mark: Callable[[int, int], str] = lambda row, column: ""


class Charts(NamedTuple):
    """The charts of a section.

    Attributes:
        figures: Of plotly, by name.
        legend: (name, colour, dash or marker) of what they show.
    """

    figures: Mapping[str, Any]
    legend: Sequence[tuple[str, str, str]] = ()


class JunitCase(NamedTuple):
    """A test case of a JUnit file.

    Attributes:
        group: The class that it is listed under.
        name: Its name.
        verdict: "accepted", "rejected" or "error"; whatever else is skipped.
        message: Why it failed or was skipped.
        seconds: How long it took.
    """

    group: str
    name: str
    verdict: str
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Section:
    """One part of what is reported.

    Attributes:
        title: Its heading on a page and in a log.
        lead: What is seen there.
        tables: Tables that are open on the page.
        folded: Tables that are closed on the page until they are opened, and open in print.
        draw: Returns its charts, given the module `pages.charts`; None of a section without charts.
        sentences: Its lines on a terminal and in Markdown.
        alarms: Its lines even where only the verdict is asked for: rejections, an incomplete run.
        tests: Its rows as test cases.
    """

    title: str
    lead: str = ""
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()
    draw: Callable[[Any], Charts] | None = None
    sentences: Sequence[str] = ()
    alarms: Sequence[str] = ()
    tests: Sequence[JunitCase] = ()

    @property
    def on_page(self) -> bool:
        """Whether there is anything to show on a page."""
        return bool(self.tables or self.folded or self.draw)


def markdown(sections: Iterable[Section]) -> str:
    """Return the tables of sections as Markdown, for a log; what charts show stands in tables, too."""
    lines: list[str] = []
    for section in sections:
        if section.on_page:
            lines += [f"#### {section.title}", "", section.lead, ""]
        for table in (*section.tables, *section.folded):
            cells = [[cell.replace("|", "\\|") for cell in row] for row in table.rows]
            lines += [table.name, ""] if table.name else []
            lines += [markdown_table(table.header, cells), ""]
    return "\n".join(lines)
