"""Columns and tables as values: what a column holds and means, what identifies a row."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

__all__ = ["Column", "Kind", "Table", "error_columns"]


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    DIGEST = "hash in hexadecimal digits"
    WHOLE = "whole number"
    NUMBER = "number, or nan where there is none"
    FLAG = "True or False"

    @property
    def is_text(self) -> bool:
        """Whether it is kept as it is written, even where it looks like a number."""
        return self in (Kind.TEXT, Kind.DIGEST)


class Column(NamedTuple):
    """A column of a table."""

    name: str
    kind: Kind
    meaning: str


@dataclass(frozen=True)
class Table:
    """A table that is written as CSV.

    Attributes:
        name: Of the file, without `.csv`.
        meaning: What one row is about.
        columns: In their order.
        key: The columns that identify a row; empty where no command looks a row up.
        further: What the columns behind these are, where their number is not fixed.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    further: Column | None = None

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.name}.csv"

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    def kind(self, name: str) -> Kind | None:
        """Return what a column holds; None of an unknown one."""
        found = next((column.kind for column in self.columns if column.name == name), None)
        return found if found is not None or self.further is None else self.further.kind


#: Statistics of errors, as column names have them.
_STATISTICS = {
    "max": "Largest",
    "p99": "99th percentile of the",
    "p50": "Median",
    "mean": "Mean over cases of the signed",
    "mean_se": "Standard error of the mean",
    "rms": "Root mean square",
    "rms_se": "Standard error of the root mean square",
}


def error_columns(*names: str) -> tuple[Column, ...]:
    """Return columns of errors in u, `error_u_max`, or of margins, `margin_max`, by their names."""
    of = {"error_u_": "error in units of u |reference|, u = 2^-24", "margin_": "error / bound"}
    return tuple(
        Column(name, Kind.NUMBER, f"{_STATISTICS[name.removeprefix(prefix)]} {what}")
        for name in names
        for prefix, what in of.items()
        if name.startswith(prefix)
    )
