"""The report of a run: its tables, its verdict, and its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import pandas as pd
from rich.console import Console, RenderableType

from chainback.errors import UsageError
from chainback.judging.judgement import Verdict, exit_code, overall
from chainback.judging.tally import SHARP_FLOOR, Rejection, RowKey
from chainback.problems.case_id import CaseId
from chainback.reporting.ci import write_junit
from chainback.reporting.files import read_csv, read_environment, writable_folder, write_csv, write_json, write_text
from chainback.reporting.rows import engine_verdict, grouped, identity_of, records
from chainback.reporting.schema import (
    COUNTS_FILE,
    ENVIRONMENT_FILE,
    REPORT_TABLES,
    TABLES,
    frame_of,
)
from chainback.reporting.sections.report_sections import ENGINE_COLUMNS, report_sections
from chainback.reporting.sections.section import Section
from chainback.reporting.terminal import printed_report, printed_verdict
from chainback.reporting.text import markdown_table, run_title

__all__ = ["Report"]

#: The tables that are written only where they have rows.
_ON_REQUEST = ("curves", "functions")


@dataclass(frozen=True)
class Report:
    """Everything that one run found.

    Attributes:
        tolerance: Engine against truth, a row for each engine, execution, ensemble and shape.
        agreement: Engine against engine.
        activations: Each activation's value and slope against truth, alone.
        environment: What produced it; `complete` is False when the run was interrupted.
        rejections: The first rejected case of each result that was rejected, in the order of the run.
        steps: The triangular engines' linearisation against truth, and their substitution against the exact solution of the
            system that they computed, on the first batch of every ensemble and shape; where a device works out the truth,
            also that against NumPy's.
        functions: Each elementary function's value and derivatives against truth, alone; empty unless it was asked for.
        counts: Of a shard, or a run that can be gone on with, all that it counted, ready for JSON; else None.
        curves: Each sweep of an activation once more, as the largest error in u by z: a column for each bin of z, named by
            its middle.
    """

    tolerance: pd.DataFrame
    agreement: pd.DataFrame
    activations: pd.DataFrame
    environment: dict[str, Any]
    rejections: tuple[Rejection, ...] = ()
    steps: pd.DataFrame = field(default_factory=pd.DataFrame)
    functions: pd.DataFrame = field(default_factory=pd.DataFrame)
    counts: dict[str, Any] | None = None
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def complete(self) -> bool:
        """Whether the run ended of itself."""
        return bool(self.environment.get("complete", False))

    @property
    def verdict(self) -> Verdict:
        """Rejected if any row is; accepted if the run is complete and every engine that ran was accepted somewhere.

        And judged sharply in at least the share of its components that `environment` states as `sharp_floor`. A run whose
        worker died, nobody knows of what, is not accepted.
        """
        others = [
            row for frame in (self.steps, self.agreement, self.activations, self.functions) for row in records(frame)
        ]
        if any(row["verdict"] == str(Verdict.REJECTED) for row in others):
            return Verdict.REJECTED
        by_engine = grouped(records(self.tolerance), "engine")
        engines = overall(engine_verdict(rows, self.sharp_floor) for rows in by_engine.values())
        if not by_engine and any(row["verdict"] == str(Verdict.ACCEPTED) for row in records(self.functions)):
            engines = Verdict.ACCEPTED  # the functions alone were asked for, and none was rejected
        whole = self.complete and "unexplained" not in self.environment
        return engines if whole or engines is Verdict.REJECTED else Verdict.UNDECIDED

    @property
    def sharp_floor(self) -> float:
        """The share of its components that must have been judged sharply before an engine is accepted."""
        return float(self.environment.get("sharp_floor", SHARP_FLOOR))

    @property
    def accepted(self) -> bool:
        """Whether the verdict is accepted."""
        return self.verdict is Verdict.ACCEPTED

    @property
    def exit_code(self) -> int:
        """0 accepted, 1 rejected, 3 undecided."""
        return exit_code(self.verdict)

    def to_frame(self) -> pd.DataFrame:
        """Return the rows of `tolerance.csv`."""
        return self.tolerance.copy()

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `tolerance.csv` to a file, whole or not at all."""
        write_csv(self.tolerance, path)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write the report folder: each file whole or not at all.

        Raises:
            UsageError: The folder cannot be written.
        """
        target = writable_folder(folder)
        for name in REPORT_TABLES:
            frame = self.rejection_rows() if name == "rejections" else getattr(self, name)
            if len(frame) or name not in _ON_REQUEST:
                write_csv(frame, target / TABLES[name].file)
        if self.counts is not None:
            write_text(target / COUNTS_FILE, json.dumps(self.counts, separators=(",", ":")) + "\n")
        else:
            (target / COUNTS_FILE).unlink(missing_ok=True)  # of an earlier run, or of this one while it was cut off
        write_json(self.environment, target / ENVIRONMENT_FILE)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a report as it was written.

        Raises:
            UsageError: The folder holds no report, or a damaged one.
        """
        environment = read_environment(folder)
        files = {name: Path(folder) / TABLES[name].file for name in REPORT_TABLES if name != "rejections"}
        if not files["tolerance"].exists():
            raise UsageError(f"{folder} holds no tolerance.csv: name a folder that verify wrote")
        tables: dict[str, Any] = {
            name: read_csv(path) if path.exists() else pd.DataFrame() for name, path in files.items()
        }
        report = cls(environment=environment, **tables)
        found = (
            _rejections_of_schema_1(report) if environment["schema"] == 1 else _read_rejections(report, Path(folder))
        )
        return replace(report, rejections=tuple(found))

    def rejection_rows(self) -> pd.DataFrame:
        """Return the rows of `rejections.csv`."""
        rows = map(asdict, self.rejections)
        return frame_of("rejections", (identity_of(self.environment, row) | row for row in rows))

    @property
    def title(self) -> str:
        """Which JAX ran, where, and with which seed."""
        return run_title(self.environment)

    @property
    def outcome(self) -> str:
        """The verdict in capitals, and how long the run took."""
        seconds = self.environment.get("elapsed_s")
        return str(self.verdict).upper() + (f" in {seconds:.1f} s" if seconds is not None else "")

    @property
    def sections(self) -> list[Section]:
        """The report part by part: terminal, Markdown, JUnit and page are made of it."""
        return report_sections(self)

    @property
    def remarks(self) -> list[str]:
        """The lines beside the table of engines: sentences, then what was rejected, then the verdict."""
        sections = self.sections
        sentences = [line for section in sections for line in section.sentences]
        return [*sentences, *(line for section in sections for line in section.alarms), self.outcome]

    def write_junit(self, path: str | os.PathLike[str]) -> None:
        """Write a JUnit file: a test case for each row of each table, and an error if the run is incomplete."""
        write_junit(self.sections, path)

    def __rich__(self) -> RenderableType:
        return printed_report(self)

    def print(self, console: Console | None = None, *, brief: bool = False) -> None:
        """Print the table of engines and the remarks; if brief, only what was rejected and the verdict."""
        (console or Console()).print(printed_verdict(self) if brief else self)

    def markdown(self) -> str:
        """Return the same as Markdown, for a step summary."""
        rows = [row for table in self.sections[0].tables for row in table.rows]
        remarks = [f"* {remark.replace('|', chr(92) + '|')}" for remark in self.remarks]
        return "\n".join([f"### {self.title}", "", markdown_table(ENGINE_COLUMNS, rows), "", *remarks]) + "\n"


def _read_rejections(report: Report, folder: Path) -> Iterator[Rejection]:
    """Yield the rejections of a report's folder.

    Raises:
        UsageError: The file is missing or damaged, or a row was rejected of which it holds no rejection.
    """
    path = folder / TABLES["rejections"].file
    names = [field.name for field in fields(Rejection)]
    rows = records(read_csv(path, whole=True))
    if len(rows) != report.environment.get("rejections", len(rows)):
        raise UsageError(
            f"cannot read {path}: it holds {len(rows):,} of {report.environment['rejections']:,} rejections: "
            "write the report again"
        )
    named = {(row["step"], *(row[name] for name in RowKey._fields)) for row in rows}
    rejected = {
        (row.get("judged", ""), *(row[name] for name in RowKey._fields))
        for row in (*records(report.tolerance), *records(report.steps))
        if row["verdict"] == str(Verdict.REJECTED)
    }
    for key in sorted(rejected ^ named, key=str):
        fault = "lacks the rejection" if key in rejected else "holds a rejection"
        raise UsageError(f"cannot read {path}: it {fault} of {' '.join(map(str, key)).strip()}: write the report again")
    for row in rows:
        figures: dict[str, Any] = {} if row["component"] else dict.fromkeys(("got", "expected", "bound"))
        yield Rejection(**{name: row[name] for name in names} | figures)


def _rejections_of_schema_1(report: Report) -> Iterator[Rejection]:
    """Yield the first rejection of each row of a report of schema 1, which has them in its notes only, as sentences."""
    for row in (*records(report.tolerance), *records(report.steps)):
        if row["verdict"] == str(Verdict.REJECTED):
            case_id, _, reason = row["note"].partition(": ")
            step = row.get("judged", "")
            key = RowKey(*(row[name] for name in RowKey._fields))
            sentence = f"its {step} is wrong: {reason}" if step else reason
            yield Rejection(*key, CaseId.parse(case_id).batch, case_id, step, reason=sentence)
