"""Figures beside their targets: what a benchmark found, as rows of `bench.csv` and as the table that people read."""

from __future__ import annotations

import json
import math
import operator
import os
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from chainback.reporting.files import writable_folder, write_csv, write_text
from chainback.reporting.schema import SCHEMA
from chainback.studies.timing import Spread

__all__ = ["BENCH_FILES", "Benchmark", "Figure", "seconds"]

#: What a benchmark writes.
BENCH_FILES = ("bench.csv", "bench.json")
#: Columns of text from which on a table has room for the quartiles and both times.
_WIDE = 120
_HOLDS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge}


def seconds(number: float) -> str:
    """Return a time with three digits and a unit that fits."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number * 1e9:.3g} ns"


@dataclass(frozen=True)
class Figure:
    """One thing measured, and what it should be.

    Attributes:
        what: What was measured.
        value: The measured number: the median over rounds, and the quartiles; NaN where there is none.
        unit: "s", "GB", or "×" for a ratio.
        sense: How it should stand to the target: "<=", "<" or ">="; "" where nothing is asked of it.
        target: In the same unit.
        ours: The absolute figure behind it, in words.
        theirs: That of what it was compared with.
        note: What else there is to say, as why there is no number.
        skipped: Why it was not measured.
        row: The row of the benchmark that it belongs to.
    """

    what: str
    value: Spread
    unit: str = "×"
    sense: str = "<="
    target: float = math.nan
    ours: str = ""
    theirs: str = ""
    note: str = ""
    skipped: str = ""
    row: str = ""

    @property
    def verdict(self) -> str:
        """What it comes to: met, missed, skipped, or shown where nothing is asked; only a number that holds is met."""
        if self.skipped:
            return "skipped"
        if not self.sense:
            return "shown"
        return "met" if _HOLDS[self.sense](self.value.median, self.target) else "missed"

    @property
    def factor(self) -> float:
        """By which factor the target is missed, if above 1, or beaten."""
        over = self.value.median / self.target
        return 1.0 / over if self.sense == ">=" and over else over


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark found.

    Attributes:
        figures: In the order in which they were measured.
        facts: What produced them: machine, versions, device, load; whether it was a quick one.
    """

    figures: tuple[Figure, ...]
    facts: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """0 where every figure of which something is asked meets it, 1 where one misses, 3 where there is none."""
        verdicts = {figure.verdict for figure in self.figures}
        return 1 if "missed" in verdicts else 0 if "met" in verdicts else 3

    def to_frame(self) -> pd.DataFrame:
        """Return the figures as a table, as `bench.csv` has them."""
        rows = []
        for figure in self.figures:
            row = asdict(figure)
            row |= {"value": figure.value.median, "low": figure.value.low, "high": figure.value.high}
            rows.append({"schema": SCHEMA} | row | {"verdict": figure.verdict, "factor": figure.factor})
        return pd.DataFrame(rows)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write the figures as CSV, and the facts as JSON.

        Raises:
            UsageError: The folder cannot be written.
        """
        table, facts = (writable_folder(folder, BENCH_FILES) / name for name in BENCH_FILES)
        write_csv(self.to_frame(), table)
        write_text(facts, json.dumps(self.facts, indent=2, ensure_ascii=False) + "\n")

    def print(self, console: Console | None = None) -> None:
        """Print the machine, every figure beside its target, and the verdict."""
        console = console or Console()
        console.print(self.machine(), self._table(wide=console.width >= _WIDE))
        for figure in self.figures:
            if figure.note or figure.skipped:
                console.print(f"{figure.what}: {f'skipped: {figure.skipped}' if figure.skipped else figure.note}.")
        console.print(self.sentence())

    def machine(self) -> str:
        """Return what produced the figures, in a line."""
        facts = self.facts
        parts = [f"jax {facts['packages'].get('jax', '')}", f"{facts['platform']} ({facts['device_kind']})"]
        parts += [f"{facts['cores']} cores", facts["processor"]["model"], f"load {facts['load']:.1f}"]
        return ", ".join(part for part in parts if part)

    def sentence(self) -> str:
        """Return the verdict."""
        judged = [figure for figure in self.figures if figure.verdict in ("met", "missed")]
        missed = [figure for figure in judged if figure.verdict == "missed"]
        small = " Quick: smaller than what the targets speak of." if self.facts["quick"] else ""
        took = f"in {self.facts['elapsed_s']:.0f} s.{small}"
        if not judged:
            return f"NOTHING MEASURED of which anything is asked, {took}"
        if missed:
            return f"MISSED {len(missed)} of {len(judged)} targets, {took}"
        return f"ALL {len(judged)} targets met, {took}"

    def _table(self, wide: bool) -> Table:
        """Return the table; a narrow one leaves out what `bench.csv` says beside it."""
        table = Table(box=SIMPLE_HEAD, show_edge=False)
        table.add_column("what", overflow="fold")
        for column in ("target", "measured", *(("quartiles",) if wide else ())):
            table.add_column(column, justify="right", no_wrap=True)
        for column in (*(("the two",) if wide else ()), "verdict"):
            table.add_column(column, no_wrap=True)
        for figure in self.figures:
            spread = figure.value
            quartiles = f"{_short(spread.low)} – {_short(spread.high)}" if spread.low < spread.high else ""
            both = ", ".join(part for part in (figure.ours, figure.theirs) if part)
            table.add_row(
                figure.what,
                f"{figure.sense} {figure.target:,g} {figure.unit}" if figure.verdict in ("met", "missed") else "",
                "" if figure.skipped else f"{_short(spread.median)} {figure.unit}",
                *((quartiles, both) if wide else ()),
                figure.verdict if figure.verdict != "missed" else f"MISSED {_short(figure.factor)} ×",
            )
        return table


def _short(number: float) -> str:
    return "none" if math.isnan(number) else f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"
