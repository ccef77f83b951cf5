"""Two reports of the same cases, row by row: what an upgrade changed, and whether anything got worse.

A row of chains is a sample, so that its mean and its root mean square error move by chance; a drift is a move that chance
makes with a stated probability only. A sweep's points are fixed: there every move is real, and its size decides.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import hypot, isfinite
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from chainback.errors import UsageError
from chainback.judging.judgement import Verdict
from chainback.judging.statistics import FALSE_ALARM
from chainback.problems.case_id import CaseId
from chainback.reporting.files import read_csv, read_environment, write_csv
from chainback.reporting.report import Report
from chainback.reporting.schema import KEYS, SCHEMA, TABLES, frame_of, records
from chainback.reporting.text import markdown_table

__all__ = ["KEYS", "Comparison", "Reading", "compare", "read", "telling"]

#: Of a sampled row: what may drift. Each has its standard error beside it, in the column of its name + "_se".
_SAMPLED = ("error_u_mean", "error_u_rms", "margin_mean", "margin_rms")
#: A row of fewer cases says nothing about a mean.
_FEWEST_CASES = 30
#: Of a sweep: it drifted when its root mean square error moved by more than this factor and by more than this many u.
_FACTOR, _LEAST_U = 1.5, 0.5
#: Or when every digit is lost on more points than before, by more than one and more than this share of them.
_LOST = 1e-3
#: How bad a verdict is.
_RANKS = {Verdict.ACCEPTED: 0, Verdict.KNOWN: 1, Verdict.UNDECIDED: 2, Verdict.NOT_RUN: 3, Verdict.NOT_THERE: 3}
_RANKS |= {Verdict.REJECTED: 4}
#: How many rows are told, in all and of one engine or function.
_SHOWN, _SHOWN_OF_ONE = 12, 2
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
        return f"jax {self.said('jax')} (jaxlib {self.said('jaxlib')}) on {self.said('platform')}"

    def said(self, column: str) -> str:
        """Return what the rows say of what produced them; of several platforms all."""
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
        """Return what worked out the truth: NumPy, or a device."""
        return self.environment.get("truth", "numpy")

    def without_its_oracle(self) -> Reading:
        """Return it without the rows that judge a device's truth."""
        kept = {name: frame[frame["judged"] != "truth"] for name, frame in self.tables.items() if name == "steps"}
        return replace(self, tables=self.tables | kept)

    def machine(self) -> list[Any]:
        """Return what decides the bits of a result."""
        return [self.said("jaxlib"), self.said("device_kind"), *(self.environment.get(fact) for fact in _FACTS)]


@dataclass(frozen=True)
class Comparison:
    """What changed from an old report to a new one.

    Attributes:
        frame: The rows of `comparison.csv`: table, subject, row, outcome, worse, what moved, and the figures of both sides.
        old: The old report.
        new: The new one.
        false_alarm: The probability that any row is called drifted by chance alone.
    """

    frame: pd.DataFrame
    old: Reading
    new: Reading
    false_alarm: float

    @property
    def worse(self) -> list[dict[str, Any]]:
        """The rows that got worse."""
        return [row for row in records(self.frame) if row["worse"]]

    @property
    def exit_code(self) -> int:
        """0 when nothing is worse, 1 when something is, 3 when the new run was not finished."""
        return 1 if len(self.worse) else 0 if self._finished else 3

    @property
    def _finished(self) -> bool:
        return bool(self.new.environment.get("complete", True)) and "unexplained" not in self.new.environment

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `comparison.csv`, whole or not at all."""
        write_csv(self.frame, path)

    def print(self, console: Console | None = None) -> None:
        """Print the table and what else there is to say."""
        (console or Console()).print(self)

    def __rich__(self) -> RenderableType:
        table = Table(title=self._title(), title_justify="left", title_style="", box=SIMPLE_HEAD, pad_edge=False)
        outcomes, counted = self._counted()
        table.add_column("table")
        for outcome in outcomes:
            table.add_column(outcome, justify="right")
        for name, counts in counted:
            table.add_row(name, *counts)
        rows = (Text.assemble(_styled(row), f" {_sentence(row)}") for row in self._shown())
        style = {0: "green", 1: "bold red"}.get(self.exit_code, "yellow")
        return Group(table, *rows, *map(Text, [*self._more(), *self._remarks()]), Text(self.outcome, style=style))

    def markdown(self) -> str:
        """Return the same as Markdown, for a pull request."""
        outcomes, counted = self._counted()
        lines = [f"### {self._title()}", "", f"**{self.outcome}**", ""]
        lines += [markdown_table(["table", *outcomes], [[name, *counts] for name, counts in counted]), ""]
        lines += [f"* {'**worse** ' if row['worse'] else ''}{row['outcome']} {_sentence(row)}" for row in self._shown()]
        return "\n".join([*lines, "", *self._more(), *self._remarks()]).rstrip() + "\n"

    def told(self) -> tuple[str, list[str], list[list[str]], list[str]]:
        """Return as text: the title, columns and rows of the table of outcomes, and what else there is to say."""
        outcomes, counted = self._counted()
        return self._title(), ["table", *outcomes], [[name, *counts] for name, counts in counted], list(self._remarks())

    def telling(self) -> list[dict[str, Any]]:
        """Return the rows that are neither as they were nor within their bounds, the worst first."""
        told = [row for row in records(self.frame) if telling(row)]
        return sorted(told, key=lambda row: (not row["worse"], _OUTCOMES.index(row["outcome"])))

    def _title(self) -> str:
        return f"{self.old.title} → {self.new.title}"

    def _counted(self) -> tuple[list[str], list[tuple[str, list[str]]]]:
        counts = Counter((row["table"], row["outcome"]) for row in records(self.frame))
        outcomes = [outcome for outcome in _OUTCOMES if any(outcome == seen for _, seen in counts)]
        tables = dict.fromkeys(table for table, _ in counts)
        return outcomes, [(table, [f"{counts[table, outcome]:,}" for outcome in outcomes]) for table in tables]

    def _shown(self) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = []
        of_one: Counter[tuple[str, ...]] = Counter()
        for row in self.telling():
            whose = (row["table"], row["outcome"], row["subject"])
            of_one[whose] += 1
            if of_one[whose] <= _SHOWN_OF_ONE:
                shown.append(row)
        return shown[:_SHOWN]

    def _more(self) -> list[str]:
        more = len(self.telling()) - len(self._shown())
        return [f"and {more:,} rows more."] if more else []

    def _remarks(self) -> Iterator[str]:
        changed = sum(row["outcome"] == "within bound" and bool(row["digest_new"]) for row in records(self.frame))
        if changed and self.old.environment and self.old.machine() == self.new.machine():
            yield f"The bits of {changed:,} rows changed though machine, jaxlib and flags are the same."
        if self.old.environment and self.old.machine()[1:] != self.new.machine()[1:]:
            yield "The two ran on other machines, or with other flags: that alone changes bits."
        yield (
            f"drifted: mean or root mean square moved more than chance does in one of {1 / self.false_alarm:,.0f} such "
            f"comparisons; in a sweep, more than {_FACTOR} times and {_LEAST_U} u."
        )

    @property
    def outcome(self) -> str:
        """What it comes to, in words."""
        if count := len(self.worse):
            return f"WORSE in {count:,} row{'s' * (count != 1)}"
        return "NOTHING WORSE" if self._finished else "UNDECIDED: the new run was not finished"


_OUTCOMES = ("rejected", "known", "undecided", "not run", "not there", "missing", "drifted", "mended", "new")
_OUTCOMES += ("within bound", "identical")


def compare(
    old: Report | str | os.PathLike[str],
    new: Report | str | os.PathLike[str],
    *,
    false_alarm: float = FALSE_ALARM,
    output: str | os.PathLike[str] | None = None,
) -> Comparison:
    """Say of every row of two reports what changed from the old one to the new one.

    Args:
        old: A report, its folder, or its `tolerance.csv`.
        new: Likewise, of the same cases.
        false_alarm: The probability that any row is called drifted where nothing but chance moved it. It is shared out
            among the rows (Bonferroni), and takes the rounding errors of different cases for independent.
        output: File to write `comparison.csv` to.

    Returns:
        A row is identical (same bits), within bound, drifted, rejected, wrong where that is known, undecided, not run,
        mended (wrong before), missing, not there (a function that JAX dropped), or new. It is worse where its verdict is,
        where its error drifted away from zero, or where it went missing.

    Raises:
        UsageError: One cannot be read, or they cannot be compared: of another schema, dtype, ensemble version, or of other
            cases.
    """
    if not 0.0 < false_alarm < 1.0:
        raise UsageError(f"`false_alarm` must be a probability between 0 and 1, got {false_alarm}")
    before, after = read(old), read(new)
    if before.truth() != after.truth():  # what worked out the truth there has no part in what is new
        before = before.without_its_oracle()
    _require_comparable(before, after)
    sampled = sum(len(before.tables[name]) for name in ("tolerance", "steps") if name in before.tables)
    drift = NormalDist().inv_cdf(1.0 - false_alarm / (2.0 * len(_SAMPLED) * max(1, sampled)))
    rows = [row for table in KEYS for row in _compared(table, before.tables, after.tables, drift)]
    identity = {"schema": SCHEMA, "jax_old": before.said("jax"), "jax_new": after.said("jax")}
    comparison = Comparison(frame_of("comparison", (identity | row for row in rows)), before, after, false_alarm)
    if output is not None:
        comparison.to_csv(output)
    return comparison


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


def _require_comparable(old: Reading, new: Reading) -> None:
    before, after = old.cases(), new.cases()
    different = [name for name in before if name in after and before[name] != after[name]]
    if different:
        name = different[0]
        raise UsageError(
            f"{old.name} and {new.name} cannot be compared: {name} {before[name]} in the one, {after[name]} in the other"
        )
    a, b = (_keyed("tolerance", reading.tables) for reading in (old, new))
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


def _keyed(table: str, tables: Mapping[str, pd.DataFrame]) -> dict[tuple[Any, ...], dict[str, Any]]:
    frame = tables.get(table)
    return {} if frame is None else {tuple(row[name] for name in KEYS[table]): row for row in records(frame)}


def _compared(
    table: str, old: Mapping[str, pd.DataFrame], new: Mapping[str, pd.DataFrame], drift: float
) -> Iterator[dict[str, Any]]:
    if table not in old or table not in new:  # nobody asked for it there
        return
    before, after = _keyed(table, old), _keyed(table, new)
    gone = {key[0] for key, row in after.items() if row["verdict"] == Verdict.NOT_THERE}
    for key in dict.fromkeys((*before, *after)):
        a, b = before.get(key), after.get(key)
        outcome, worse, moved = _outcome(a, b, drift)
        if outcome == "missing" and key[0] in gone:  # a function that JAX dropped is no wrong gradient
            outcome, worse = "not there", False
        row = {"table": table, "subject": key[0], "row": " ".join(str(part) for part in key if part != "")}
        row["outcome"] = outcome
        row |= {"worse": worse, "moved": moved}
        for name in ("verdict", "digest", "margin_max", "error_u_max", "error_u_mean", "error_u_rms"):
            for side, figures in (("old", a), ("new", b)):
                missing: Any = "" if name in ("verdict", "digest") else float("nan")
                row[f"{name}_{side}"] = missing if figures is None else figures.get(name, missing)
        note = str((b or {}).get("note", "") or "")
        yield row | {"note": note if outcome in ("rejected", "known") else ""}


def _outcome(old: dict[str, Any] | None, new: dict[str, Any] | None, drift: float) -> tuple[str, bool, str]:
    """Return what happened to a row, whether it is worse, and what moved."""
    rejected = str(Verdict.REJECTED)
    if old is None:
        assert new is not None
        return ("rejected", True, "") if new["verdict"] == rejected else ("new", False, "")
    if new is None:
        return "missing", _RANKS[old["verdict"]] < _RANKS[Verdict.NOT_RUN], ""
    rank_old, rank_new = _RANKS[old["verdict"]], _RANKS[new["verdict"]]
    if new["verdict"] == rejected:
        return "rejected", rank_old < rank_new or new.get("rejected", 0) > old.get("rejected", 0), ""
    if old["verdict"] == rejected or (old["verdict"], new["verdict"]) == (Verdict.KNOWN, Verdict.ACCEPTED):
        return "mended", False, ""
    if rank_new > rank_old and new["verdict"] in _OUTCOMES:
        return new["verdict"], True, ""
    if _same_bits(old, new):
        return "identical", False, ""
    moves = list(_sampled_moves(old, new, drift) if "cases" in new else _swept_moves(old, new))
    if moves:
        return "drifted", any(grew for grew, _ in moves), "; ".join(what for _, what in moves)
    return "within bound", False, ""


def _same_bits(old: dict[str, Any], new: dict[str, Any]) -> bool:
    if "digest" in new:
        return old["digest"] == new["digest"] and old["verdict"] == new["verdict"]
    return all(old[name] == new[name] for name in ("identical", "margin_max"))


def _sampled_moves(old: dict[str, Any], new: dict[str, Any], drift: float) -> Iterator[tuple[bool, str]]:
    """Yield (whether it grew, what moved by how much) of a sample's means that moved more than chance allows."""
    if min(old["cases"], new["cases"]) < _FEWEST_CASES:
        return
    same_bounds = old["matmul_precision"] == new["matmul_precision"]
    for name in _SAMPLED:
        if f"{name}_se" not in old or f"{name}_se" not in new or (name.startswith("margin") and not same_bounds):
            continue
        a, b = float(old[name]), float(new[name])
        chance = hypot(float(old[f"{name}_se"]), float(new[f"{name}_se"]))
        if not isfinite(a) or not isfinite(b):
            if isfinite(a) != isfinite(b):
                yield not isfinite(b), f"{name} {a:.4g} → {b:.4g}"
        elif abs(b - a) > drift * chance:
            yield abs(b) > abs(a), f"{name} {a:.4g} → {b:.4g} ({abs(b - a) / chance if chance else float('inf'):.1f} σ)"


def _swept_moves(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    """Yield (whether it grew, what moved) of a sweep."""
    if "error_u_rms" not in new:
        return
    a, b = float(old["error_u_rms"]), float(new["error_u_rms"])
    if not (isfinite(a) and isfinite(b)):
        return
    if abs(b - a) > _LEAST_U and max(a, b) > _FACTOR * min(a, b):
        yield b > a, f"error_u_rms {a:.4g} → {b:.4g}"
    before, after = int(old.get("lost_everything", 0)), int(new.get("lost_everything", 0))
    if abs(after - before) > max(1.0, _LOST * float(new["points"])):
        yield after > before, f"points where every digit is lost {before} → {after}"


def telling(row: dict[str, Any]) -> bool:
    """Whether a row of `comparison.csv` is neither as it was nor within its bound."""
    return bool(row["worse"]) or row["outcome"] in ("drifted", "mended")


def _styled(row: dict[str, Any]) -> tuple[str, str]:
    style = "bold red" if row["worse"] else {"drifted": "yellow", "mended": "green"}.get(row["outcome"], "")
    return (f"{'WORSE ' if row['worse'] else ''}{row['outcome']}", style)


def _sentence(row: dict[str, Any]) -> str:
    said: Iterable[str] = (f"{row['table']}: {row['row']}", row["moved"], row["note"])
    return "; ".join(filter(None, said))
