"""Two reports of the same cases, row by row: what an upgrade changed, and whether anything got worse."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
from rich.console import Console, RenderableType

from chainback.errors import UsageError
from chainback.judging.judgement import Verdict
from chainback.judging.statistics import FALSE_ALARM
from chainback.reporting.files import write_csv
from chainback.reporting.reading import Reading, keyed, read, require_comparable
from chainback.reporting.report import Report
from chainback.reporting.row_outcomes import DRIFT_FACTOR, LEAST_DRIFT_U, OUTCOMES, drift_threshold, outcome_of
from chainback.reporting.rows import Row, records
from chainback.reporting.schema import KEYS, SCHEMA, frame_of
from chainback.reporting.sections.section import Table
from chainback.reporting.terminal import printed_comparison
from chainback.reporting.text import markdown_table

__all__ = ["Change", "Comparison", "compare", "is_notable"]

#: How many changed rows are printed, in all and of one engine or function.
_MOST, _MOST_OF_ONE = 12, 2


class Change(NamedTuple):
    """A row that changed, as it is printed.

    Attributes:
        outcome: What became of it.
        worse: Whether that is worse.
        text: Which row, what moved, and its note.
    """

    outcome: str
    worse: bool
    text: str


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

    @property
    def title(self) -> str:
        """Which JAX was old, and which is new."""
        return f"{self.old.title} → {self.new.title}"

    @property
    def outcome(self) -> str:
        """What it comes to, in words."""
        if count := len(self.worse):
            return f"WORSE in {count:,} row{'s' * (count != 1)}"
        return "NOTHING WORSE" if self._finished else "UNDECIDED: the new run was not finished"

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `comparison.csv`, whole or not at all."""
        write_csv(self.frame, path)

    def print(self, console: Console | None = None) -> None:
        """Print the table of outcomes, the changes and the remarks."""
        (console or Console()).print(self)

    def __rich__(self) -> RenderableType:
        return printed_comparison(self)

    def markdown(self) -> str:
        """Return the same as Markdown, for a pull request."""
        counts = self.counts()
        lines = [f"### {self.title}", "", f"**{self.outcome}**", ""]
        lines += [markdown_table(counts.header, counts.rows), ""]
        lines += [
            f"* {'**worse** ' if change.worse else ''}{change.outcome} {change.text}" for change in self.changes()
        ]
        return "\n".join([*lines, "", *self.remarks()]).rstrip() + "\n"

    def counts(self) -> Table:
        """Return how many rows of each table came to what."""
        counts = Counter((row["table"], row["outcome"]) for row in records(self.frame))
        outcomes = [outcome for outcome in OUTCOMES if any(outcome == found for _, found in counts)]
        tables = dict.fromkeys(table for table, _ in counts)
        rows = [[table, *(f"{counts[table, outcome]:,}" for outcome in outcomes)] for table in tables]
        return Table(["table", *outcomes], rows)

    def notable(self) -> list[Row]:
        """Return the rows that are neither as they were nor within their bounds, the worst first."""
        found = filter(is_notable, records(self.frame))
        return sorted(found, key=lambda row: (not row["worse"], OUTCOMES.index(row["outcome"])))

    def changes(self) -> list[Change]:
        """Return the first of them as they are printed, few of one engine or function."""
        chosen: list[Change] = []
        of_one: Counter[tuple[str, ...]] = Counter()
        for row in self.notable():
            whose = (row["table"], row["outcome"], row["subject"])
            of_one[whose] += 1
            if of_one[whose] <= _MOST_OF_ONE:
                text = "; ".join(filter(None, (f"{row['table']}: {row['row']}", row["moved"], row["note"])))
                chosen.append(Change(row["outcome"], bool(row["worse"]), text))
        return chosen[:_MOST]

    def remarks(self) -> list[str]:
        """Return what else matters, a sentence each."""
        return [*self._more(), *self._remarks()]

    def _more(self) -> list[str]:
        more = len(self.notable()) - len(self.changes())
        return [f"and {more:,} rows more."] if more else []

    def _remarks(self) -> Iterator[str]:
        changed = sum(row["outcome"] == "within bound" and bool(row["digest_new"]) for row in records(self.frame))
        if changed and self.old.environment and self.old.machine() == self.new.machine():
            yield f"The bits of {changed:,} rows changed though machine, jaxlib and flags are the same."
        if self.old.environment and self.old.machine()[1:] != self.new.machine()[1:]:
            yield "The two ran on other machines, or with other flags: that alone changes bits."
        yield (
            f"drifted: mean or root mean square moved more than chance does in one of {1 / self.false_alarm:,.0f} such "
            f"comparisons; in a sweep, more than {DRIFT_FACTOR} times and {LEAST_DRIFT_U} u."
        )


def is_notable(row: Row) -> bool:
    """Whether a row of `comparison.csv` is neither as it was nor within its bound."""
    return bool(row["worse"]) or row["outcome"] in ("drifted", "mended")


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
    if before.truth() != after.truth():  # rows on a device's truth have no counterpart
        before = before.without_truth_rows()
    require_comparable(before, after)
    sampled = sum(len(before.tables[name]) for name in ("tolerance", "steps") if name in before.tables)
    drift = drift_threshold(false_alarm, sampled)
    rows = [row for table in KEYS for row in _compared(table, before.tables, after.tables, drift)]
    identity = {"schema": SCHEMA, "jax_old": before.identity("jax"), "jax_new": after.identity("jax")}
    comparison = Comparison(frame_of("comparison", (identity | row for row in rows)), before, after, false_alarm)
    if output is not None:
        comparison.to_csv(output)
    return comparison


def _compared(
    table: str, old: Mapping[str, pd.DataFrame], new: Mapping[str, pd.DataFrame], drift: float
) -> Iterator[Row]:
    if table not in old or table not in new:  # nobody asked for it there
        return
    before, after = keyed(table, old), keyed(table, new)
    gone = {key[0] for key, row in after.items() if row["verdict"] == Verdict.NOT_THERE}
    for key in dict.fromkeys((*before, *after)):
        a, b = before.get(key), after.get(key)
        outcome, worse, moved = outcome_of(a, b, drift)
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
