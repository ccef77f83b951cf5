"""A report as a comparison reads it: its tables and what produced them; what makes two of them comparable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from chainback.errors import UsageError
from chainback.judging.judgement import Verdict
from chainback.problems.case_id import CaseId
from chainback.reporting.files import read_csv, read_environment
from chainback.reporting.report import Report
from chainback.reporting.rows import Row, records
from chainback.reporting.schema import KEYS, TABLES

__all__ = ["Reading", "keyed", "read", "require_comparable"]

_FACTS = ("machine", "processor", "variables")


@dataclass(frozen=True)
class Reading:
    """A report, as a comparison reads it.

    Attributes:
        name: Of the folder or file.
        tables: By name, those of `KEYS` that are there.
        environment: What produced it; empty where only a table is at hand.
    """

    name: str
    tables: dict[str, pd.DataFrame]
    environment: dict[str, Any]

    @property
    def title(self) -> str:
        """Which JAX it is of, and on what."""
        return f"jax {self.identity('jax')} (jaxlib {self.identity('jaxlib')}) on {self.identity('platform')}"

    def identity(self, column: str) -> str:
        """Return what stands in a column of `IDENTITY`; of several platforms all."""
        found = next((frame[column] for frame in self.tables.values() if len(frame)), ["?"])
        return " and ".join(dict.fromkeys(map(str, found)))

    def cases(self) -> dict[str, Any]:
        """Return what decides which cases were run: dtype, seed, and the version of each ensemble."""
        frame = self.tables["tolerance"]
        ids = [CaseId.parse(row["worst_case"]) for row in records(frame) if row.get("worst_case")]
        versions = {f"version of ensemble {parsed.ensemble}": parsed.version for parsed in ids}
        return {
            "dtype": ", ".join(sorted(map(str, set(frame["dtype"])))),
            "seed": ", ".join(sorted({str(parsed.seed) for parsed in ids})),
            **versions,
        }

    def truth(self) -> str:
        """Return what computed the truth: NumPy, or a device."""
        return self.environment.get("truth", "numpy")

    def without_truth_rows(self) -> Reading:
        """Return it without the rows that judge a device's truth."""
        kept = {name: frame[frame["judged"] != "truth"] for name, frame in self.tables.items() if name == "steps"}
        return replace(self, tables=self.tables | kept)

    def machine(self) -> list[Any]:
        """Return what decides the bits of a result."""
        return [self.identity("jaxlib"), self.identity("device_kind"), *(self.environment.get(fact) for fact in _FACTS)]


def read(source: Report | str | os.PathLike[str]) -> Reading:
    """Read a report for a comparison.

    Args:
        source: A report, its folder, or its `tolerance.csv`.

    Raises:
        UsageError: It is not there, damaged, or of another schema.
    """
    if isinstance(source, Report):
        tables = {name: getattr(source, name, pd.DataFrame()) for name in KEYS}
        return Reading("report", {name: frame for name, frame in tables.items() if len(frame)}, source.environment)
    path = Path(source)
    if path.is_dir():
        found = {name: path / TABLES[name].file for name in KEYS}
        tables = {name: read_csv(file) for name, file in found.items() if name == "tolerance" or file.exists()}
        tables = {name: frame for name, frame in tables.items() if name == "tolerance" or len(frame)}
        reading = Reading(str(path), tables, read_environment(path))
    else:
        reading = Reading(str(path), {"tolerance": read_csv(path, "tolerance")}, {})
    for name, frame in reading.tables.items():
        lacking = [column for column in (*KEYS[name], "verdict") if column not in frame]
        if len(frame) and lacking:
            raise UsageError(f"{path} cannot be compared: its {name} table has no column {', '.join(lacking)}")
    if reading.tables["tolerance"].empty and len(reading.tables) == 1:
        raise UsageError(f"{path} cannot be compared: it has no rows")
    return reading


def keyed(table: str, tables: Mapping[str, pd.DataFrame]) -> dict[tuple[Any, ...], Row]:
    """Return the rows of a table by their keys; none of a table that is not there."""
    frame = tables.get(table)
    return {} if frame is None else {tuple(row[name] for name in KEYS[table]): row for row in records(frame)}


def require_comparable(old: Reading, new: Reading) -> None:
    """Require that two reports are of the same cases.

    Raises:
        UsageError: They are of another dtype, seed, ensemble version or number of cases, or have no row in common.
    """
    before, after = old.cases(), new.cases()
    different = [name for name in before if name in after and before[name] != after[name]]
    if different:
        name = different[0]
        raise UsageError(
            f"{old.name} and {new.name} cannot be compared: {name} {before[name]} in the one, {after[name]} in the other"
        )
    a, b = (keyed("tolerance", reading.tables) for reading in (old, new))
    common = [key for key in a if key in b]
    if (a or b) and not common:
        raise UsageError(f"{old.name} and {new.name} cannot be compared: they have no row in common")
    ran = (str(Verdict.ACCEPTED), str(Verdict.UNDECIDED))
    for key in common:
        if a[key]["cases"] != b[key]["cases"] and a[key]["verdict"] in ran and b[key]["verdict"] in ran:
            raise UsageError(
                f"{old.name} and {new.name} cannot be compared: they ran other cases, "
                f"{a[key]['cases']:,} and {b[key]['cases']:,} of {' '.join(map(str, key))}"
            )
