"""What a page is made of, sections: each a table or two, and perhaps charts; for a page, and for a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chainback.reporting.text import markdown_table

__all__ = ["MOST", "Section", "Table", "embedded", "is_number", "markdown", "said"]

#: How many rows of a table are shown, where there may be any number.
MOST = 200


@dataclass(frozen=True)
class Table:
    """A table: `marks` gives a cell a class of its own, by row and column."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    name: str = ""
    mark: Callable[[int, int], str] = lambda row, column: ""


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        lead: What is to be seen there.
        tables: Shown as they are.
        folded: Shown when they are opened, and in print.
        charts: Named figures in plotly's JSON.
        legend: (name, colour, dash) of what the charts show.
    """

    title: str
    lead: str
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()
    charts: Sequence[tuple[str, str]] = ()
    legend: Sequence[tuple[str, str, str]] = ()


def markdown(sections: Iterable[Section]) -> str:
    """Return sections as Markdown, for a log; the charts' facts stand in their tables."""
    lines: list[str] = []
    for section in sections:
        lines += [f"#### {section.title}", "", section.lead, ""]
        for table in (*section.tables, *section.folded):
            cells = [[cell.replace("|", "\\|") for cell in row] for row in table.rows]
            lines += [table.name, ""] if table.name else []
            lines += [markdown_table(table.header, cells), ""]
    return "\n".join(lines)


def said(fact: Any) -> str:
    """Return a fact of an environment in words."""
    if isinstance(fact, dict):
        return ", ".join(f"{name} {said(value)}" for name, value in fact.items()) or "none"
    if isinstance(fact, list | tuple):
        return ", ".join(map(said, fact)) or "none"
    return "default" if fact is None else str(fact)


def embedded(charts: Any, figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Return figures by name as a section has them; `charts` is the module that drew them."""
    return list(zip(figures, charts.embedded(figures.values()), strict=True)) if figures else []


def is_number(text: str) -> bool:
    """Whether a column's name, or a cell, is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
