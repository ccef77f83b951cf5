"""Rows of a report's tables: grouped, named by what produced them; the verdict on an engine from its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from chainback.judging.judgement import Verdict
from chainback.judging.tally import SHARP_FLOOR
from chainback.reporting.schema import IDENTITY

__all__ = ["Row", "engine_verdict", "figure", "grouped", "identity_of", "joined_identity", "records", "sharp_share"]

#: A row of a table, by column.
Row = dict[str, Any]
#: The columns that name what a row is about, with its platform.
_NAMED = ("engine", "engine_a", "engine_b", "activation", "function")


def records(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a table."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def grouped(rows: Iterable[Row], column: str) -> dict[str, list[Row]]:
    """Return the rows by what stands in a column, in the order of appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row[column]), []).append(row)
    return groups


def figure(row: Row, column: str) -> float:
    """Return a figure of a row to sort by: 0 where there is none."""
    value = row.get(column)
    return 0.0 if value is None or np.isnan(value) else float(value)


def identity_of(environment: dict[str, Any], row: Row) -> Row:
    """Return the columns of `IDENTITY` of a row: of several platforms those of its own, by which its names end: `@gpu`."""
    platforms = environment.get("platforms", {})
    names = [str(row[column]).rpartition("@")[2] for column in _NAMED if column in row]
    own = joined_identity([platforms[name] for name in names]) if all(name in platforms for name in names) else {}
    return {name: environment.get(name, "") for name in IDENTITY} | own


def joined_identity(identities: Sequence[dict[str, str]]) -> dict[str, str]:
    """Return the columns of `IDENTITY` of several platforms, joined: "cpu and gpu"."""
    columns = [column for column in IDENTITY if column in identities[0]]
    return {name: " and ".join(dict.fromkeys(identity[name] for identity in identities)) for name in columns}


def sharp_share(rows: Sequence[Row]) -> float:
    """Return the share of the components that were judged sharply; NaN where no row has it."""
    judged = [row for row in rows if not np.isnan(row.get("sharp", np.nan))]
    sizes = [row.get("components", row.get("points", 0)) for row in judged]
    return sum(row["sharp"] * n for row, n in zip(judged, sizes, strict=True)) / sum(sizes) if sum(sizes) else np.nan


def engine_verdict(rows: Sequence[Row], sharp_floor: float = SHARP_FLOOR) -> Verdict:
    """Return the verdict on an engine from its rows: undecided rows do no harm where others were accepted.

    Args:
        rows: Its rows of `tolerance.csv`.
        sharp_floor: The share of its components that must have been judged sharply before it is accepted.
    """
    seen = {Verdict(row["verdict"]) for row in rows}
    if Verdict.REJECTED not in seen and Verdict.ACCEPTED in seen and sharp_share(rows) < sharp_floor:
        return Verdict.UNDECIDED
    for verdict in (Verdict.REJECTED, Verdict.ACCEPTED, Verdict.UNDECIDED):
        if verdict in seen:
            return verdict
    return Verdict.NOT_RUN
