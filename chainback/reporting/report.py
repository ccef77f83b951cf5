"""The report of a run: its tables, its verdict, its files and printed form."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from chainback.errors import UsageError
from chainback.judging.judgement import Verdict, exit_code, overall
from chainback.judging.tally import SHARP_FLOOR, Rejection, RowKey
from chainback.operations.arithmetic import FLOAT32
from chainback.problems.ensembles import CaseId
from chainback.reporting.files import read_csv, read_environment, writable_folder, write_csv, write_json, write_text
from chainback.reporting.schema import (
    COUNTS_FILE,
    ENVIRONMENT_FILE,
    IDENTITY,
    REPORT_FILES,
    REPORT_TABLES,
    SCHEMA,
    TABLES,
    frame_of,
    records,
)
from chainback.reporting.text import markdown_table, number, replay_command, row_in_words

__all__ = [
    "COLUMNS",
    "COUNTS_FILE",
    "IDENTITY",
    "REPORT_FILES",
    "SCHEMA",
    "Report",
    "engine_verdict",
    "identity_of",
    "markdown_table",
    "number",
    "read_csv",
    "read_environment",
    "records",
    "replay_command",
    "together",
    "writable_folder",
    "write_csv",
    "write_text",
]

_WORDS = {Verdict.ACCEPTED: "green", Verdict.REJECTED: "bold red", Verdict.UNDECIDED: "yellow", Verdict.NOT_RUN: "dim"}
#: The verdicts on a function that are no alarm, and none on an engine.
_NO_ALARM = (Verdict.KNOWN, Verdict.NOT_THERE)

#: The columns that name what a row is about, with its platform.
_NAMED = ("engine", "engine_a", "engine_b", "activation", "function")
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
        for frame, _ in self._others():
            if any(row["verdict"] == str(Verdict.REJECTED) for row in records(frame)):
                return Verdict.REJECTED
        by_engine = _by(records(self.tolerance), "engine")
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

    def write_junit(self, path: str | os.PathLike[str]) -> None:
        """Write a JUnit file: a test case for each row of each table, and an error if the run is incomplete."""
        suite = ElementTree.Element("testsuite", name="chainback verify")
        counts: dict[str, int] = dict.fromkeys(("tests", "failures", "skipped", "errors"), 0)

        def add(classname: str, name: str, seconds: float, word: str = "", message: str = "") -> None:
            element = ElementTree.SubElement(suite, "testcase", classname=classname, name=name, time=str(seconds))
            counts["tests"] += 1
            if word:
                ElementTree.SubElement(element, word, message=message)
                counts[{"failure": "failures", "error": "errors"}.get(word, word)] += 1

        words = {str(Verdict.ACCEPTED): "", str(Verdict.REJECTED): "failure"}
        for row in records(self.tolerance):
            name = f"{row['ensemble']} {row['depth']}x{row['width']} {row['execution']}"
            word = words.get(row["verdict"], "skipped")
            add(f"chainback.{row['engine']}", name, row["run_s"], word, row["note"] or row["verdict"])
        for frame, what in self._others():
            for row in records(frame):
                add(
                    f"chainback.{what}",
                    row_in_words(row),
                    0,
                    words.get(row["verdict"], "skipped"),
                    row["verdict"],
                )
        if not self.complete:
            add("chainback", "the run is complete", 0, "error", str(self.environment.get("stopped", "interrupted")))
        for name, count in counts.items():
            suite.set(name, str(count))
        write_text(Path(path), ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n")

    def __rich__(self) -> RenderableType:
        alone = len(self.functions) > 0 and len(self.tolerance) == 0
        return Group(Text(self._title()) if alone else self._engine_table(), *self._remarks())

    def print(self, console: Console | None = None, *, brief: bool = False) -> None:
        """Print the table and what else there is to say; briefly, what was rejected and the verdict alone."""
        (console or Console()).print(Group(*self._verdict()) if brief else self)

    def markdown(self) -> str:
        """Return the same as Markdown, for a step summary."""
        title, rows, said = self.told()
        remarks = [f"* {remark.replace('|', chr(92) + '|')}" for remark in said]
        return "\n".join([f"### {title}", "", markdown_table(COLUMNS, rows), "", *remarks]) + "\n"

    def told(self) -> tuple[str, list[list[str]], list[str]]:
        """Return as text what is printed: the title, the rows of the table of engines under `COLUMNS`, the remarks."""
        rows = [list(map(str, cells)) for cells in self._engine_rows()]
        return self._title(), rows, list(map(str, self._remarks()))

    def _title(self) -> str:
        environment = self.environment
        packages = environment.get("packages", {})
        where = " and ".join(environment.get("platforms", [environment.get("platform", "?")]))
        return (
            f"jax {packages.get('jax', '?')}, {environment.get('device_kind', '?')} ({where}), "
            f"matmul precision {environment.get('matmul_precision', '?')}, seed {environment.get('seed', '?')}"
        )

    def _engine_rows(self) -> Iterable[tuple[RenderableType, ...]]:
        for engine, rows in _by(records(self.tolerance), "engine").items():
            yield _engine_cells(engine, rows, self.sharp_floor)

    @property
    def caption(self) -> str:
        """What the columns of the table of engines are."""
        platforms = self.environment.get("platforms", {"": self.environment})
        sharp = {name: round(1 / facts.get("sharp_bound", FLOAT32.sharp_bound)) for name, facts in platforms.items()}
        alike = len(set(sharp.values())) == 1
        shares = [f"1/{share}{'' if alike else f' on {name}'}" for name, share in sharp.items()]
        return (
            "margin: largest error / bound. u: error in units of 2^-24 of the truth, the largest and the 99th percentile "
            f"(median over rows). sharp: share of the components whose bound is at most "
            f"{shares[0] if alike else ', '.join(shares)} of the truth."
        )

    def _engine_table(self) -> Table:
        table = Table(
            title=self._title(),
            title_justify="left",
            title_style="",
            caption=self.caption,
            caption_justify="left",
            box=SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for column in COLUMNS:
            table.add_column(column, justify="left" if column in ("engine", "verdict") else "right", no_wrap=True)
        for cells in self._engine_rows():
            table.add_row(*cells)
        return table

    def _remarks(self) -> Iterable[Text]:
        rows = records(self.tolerance)
        declined = [row for row in rows if row["verdict"] == str(Verdict.NOT_RUN)]
        if undecided := sum(row["undecided"] for row in rows):
            why = "some order of evaluation overflows there, or underflow outweighs the gradient"
            yield Text(f"{undecided:,} answers were left undecided: {why}.")
        for engine, its_rows in _by(rows, "engine").items():
            share = _sharp(its_rows)
            if share < self.sharp_floor:
                yield Text(
                    f"{engine}: {share:.1%} of its components were judged sharply, less than {self.sharp_floor:.0%}."
                )
        for engine, its_rows in _by(declined, "engine").items():
            for note, where in _by(its_rows, "note").items():
                shapes = ", ".join(dict.fromkeys(f"{row['depth']}x{row['width']}" for row in where))
                yield Text(f"{engine} was not run at {shapes}: {note}.")
        for frame, what in self._others():
            judged = _by(records(frame), "verdict")
            if judged:
                right, wrong = (len(judged.get(str(v), [])) for v in (Verdict.ACCEPTED, Verdict.REJECTED))
                sharp = f"; {share:.1%} sharp" if (share := _sharp(records(frame))) == share else ""
                other = "".join(f", {len(judged[v])} {v}" for v in map(str, _NO_ALARM) if v in judged)
                yield Text(f"{what}: {right} of {len(frame)} rows accepted, {wrong} rejected{other}{sharp}.")
        yield from map(Text, self._across())
        if "left_out" in self.environment:
            yield Text(f"Not covered: {self.environment['left_out']}.")
        if mended := ", ".join(_mended(records(self.functions))):
            yield Text(f"Known to be wrong in some versions of JAX, and right in this one: {mended}.")
        yield from self._verdict()

    def _across(self) -> Iterable[str]:
        """Say of each two platforms how well the engines on one agree with themselves on the other."""
        for one, other in combinations(self.environment.get("platforms", {}), 2):
            pairs = [row for row in records(self.agreement) if row["components"] and _same_engine(row, one, other)]
            if components := sum(row["components"] for row in pairs):
                same = sum(row["identical"] * row["components"] for row in pairs) / components
                apart = max(row["margin_max"] for row in pairs)
                yield (
                    f"{one} and {other}: the same engine gives the same bits on both in {same:.1%} of the components; "
                    f"elsewhere they differ by at most {number(apart)} of the sum of their bounds."
                )

    def _others(self) -> tuple[tuple[pd.DataFrame, str], ...]:
        steps = _by(records(self.steps), "judged")
        return (
            (pd.DataFrame(steps.get("linearisation", [])), "linearisations"),
            (pd.DataFrame(steps.get("substitution", [])), "substitutions on the computed system"),
            (pd.DataFrame(steps.get("truth", [])), "truths of another oracle, against NumPy's"),
            (self.agreement, "pairs of engines"),
            (self.activations, "activation sweeps"),
            (self.functions, "functions"),
        )

    def _verdict(self) -> Iterable[Text]:
        for rejection in self.rejections[:_SHOWN]:
            yield Text.assemble(("REJECTED ", "bold red"), str(rejection))
        if len(self.rejections) > _SHOWN:
            yield Text(f"and in {len(self.rejections) - _SHOWN} batches more: see rejections.csv.")
        for frame, what in self._others():
            wrong = [row for row in records(frame) if row["verdict"] == str(Verdict.REJECTED)]
            for row in wrong[:_SHOWN]:
                yield Text.assemble(("REJECTED ", "bold red"), f"{what}: {row_in_words(row)}")
            if len(wrong) > _SHOWN:
                yield Text(f"and {len(wrong) - _SHOWN} {what} more.")
        for death in self.environment.get("worker_deaths", ()):
            yield Text(f"The run went on in a new process: {death}.")
        for death in self.environment.get("unexplained", ()):
            yield Text(f"UNEXPLAINED: {death}.", style="yellow")
        if not self.complete:
            yield Text(f"INCOMPLETE: {self.environment.get('stopped', 'the run was interrupted')}.", style="yellow")
        seconds = self.environment.get("elapsed_s")
        took = f" in {seconds:.1f} s" if seconds is not None else ""
        yield Text.assemble((str(self.verdict).upper(), _WORDS[self.verdict]), took)


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
    for key in (rejected - named) | (named - rejected):
        fault = "lacks the rejection" if key in rejected else "holds a rejection"
        raise UsageError(f"cannot read {path}: it {fault} of {' '.join(map(str, key)).strip()}: write the report again")
    for row in rows:
        figures = {} if row["component"] else dict.fromkeys(("got", "expected", "bound"))
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


def identity_of(environment: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of `IDENTITY` of a row: of several platforms those of its own, by which its names end: `@gpu`."""
    platforms = environment.get("platforms", {})
    names = [str(row[column]).rpartition("@")[2] for column in _NAMED if column in row]
    own = together([platforms[name] for name in names]) if all(name in platforms for name in names) else {}
    return {name: environment.get(name, "") for name in IDENTITY} | own


def together(identities: Sequence[dict[str, str]]) -> dict[str, str]:
    """Return what several platforms are called together, as "cpu and gpu", in columns of `IDENTITY`."""
    columns = [column for column in IDENTITY if column in identities[0]]
    return {name: " and ".join(dict.fromkeys(identity[name] for identity in identities)) for name in columns}


def _same_engine(row: dict[str, Any], one: str, other: str) -> bool:
    """Whether a row of `agreement.csv` compares an engine on one platform with itself on another."""
    (a, _, at_a), (b, _, at_b) = (str(row[name]).rpartition("@") for name in ("engine_a", "engine_b"))
    return a == b and (at_a, at_b) == (one, other)


def _mended(rows: list[dict[str, Any]]) -> Iterable[str]:
    """Name the functions of which no known fault shows any more."""
    for function, its_rows in _by(rows, "function").items():
        notes = [str(row["note"]).startswith("mended") for row in its_rows]
        if any(notes) and {row["verdict"] for row in its_rows} == {str(Verdict.ACCEPTED)}:
            yield function


#: Of the table of engines.
COLUMNS = ("engine", "cases", "margin", "max u", "p99 u", "sharp", "verdict")
#: How many rejections are printed.
_SHOWN = 4


def engine_verdict(rows: Sequence[dict[str, Any]], sharp_floor: float = SHARP_FLOOR) -> Verdict:
    """Return the verdict on an engine from its rows: undecided rows are no harm where others were accepted.

    Args:
        rows: Its rows of `tolerance.csv`.
        sharp_floor: The share of its components that must have been judged sharply before it is accepted.
    """
    seen = {Verdict(row["verdict"]) for row in rows}
    if Verdict.REJECTED not in seen and Verdict.ACCEPTED in seen and _sharp(rows) < sharp_floor:
        return Verdict.UNDECIDED
    for verdict in (Verdict.REJECTED, Verdict.ACCEPTED, Verdict.UNDECIDED):
        if verdict in seen:
            return verdict
    return Verdict.NOT_RUN


def _sharp(rows: Sequence[dict[str, Any]]) -> float:
    """Return the share of the components that were judged sharply; NaN where rows do not tell."""
    judged = [row for row in rows if not np.isnan(row.get("sharp", np.nan))]
    sizes = [row.get("components", row.get("points", 0)) for row in judged]
    return sum(row["sharp"] * n for row, n in zip(judged, sizes, strict=True)) / sum(sizes) if sum(sizes) else np.nan


def _by(rows: Iterable[dict[str, Any]], key: str) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(str(row[key]), []).append(row)
    return groups


def _engine_cells(engine: str, rows: list[dict[str, Any]], sharp_floor: float) -> tuple[RenderableType, ...]:
    verdict = engine_verdict(rows, sharp_floor)
    judged = [row for row in rows if row["verdict"] != str(Verdict.NOT_RUN) and not np.isnan(row["margin_max"])]
    share = _sharp(rows)
    return (
        engine,
        f"{sum(row['cases'] for row in rows):,}",
        number(max((row["margin_max"] for row in judged), default=float("nan"))),
        number(np.nanmax([row["error_u_max"] for row in judged]) if judged else float("nan")),
        number(np.nanmedian([row["error_u_p99"] for row in judged]) if judged else float("nan")),
        "–" if np.isnan(share) else f"{share:.1%}",
        Text(str(verdict), style=_WORDS[verdict]),
    )
