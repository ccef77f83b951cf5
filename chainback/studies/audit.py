"""The audit: every planted fault through the same gate as any engine, and what the gate catches.

An audit runs each faulty engine through `verify`; the honest engines must stay accepted beside them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from chainback.judging.judgement import Verdict
from chainback.judging.statistics import FALSE_ALARM
from chainback.processes.watch import Progress
from chainback.reporting.files import writable_folder, write_csv
from chainback.reporting.report import Report
from chainback.reporting.schema import SCHEMA
from chainback.running.verify import verify
from chainback.studies.planted_faults import FAULTS, Fault
from chainback.studies.sensitivity import detection_limits, visible_biases

__all__ = ["AUDIT_FILES", "Audit", "audit"]

#: What an audit writes.
AUDIT_FILES = ("audit.csv", "detection.csv", "bias.csv")


@dataclass(frozen=True)
class Audit:
    """What the gate caught.

    Attributes:
        faults: A row for each fault: name, what it is, caught or escaped, share of cases rejected, first rejection.
        limits: The detection limit: for each family and depth the smallest relative fault in one slope that was caught.
        biases: The smallest mean error that stands out from chance, far below the bound of any one component.
        honest: Verdict of the honest engines on the same cases.
    """

    faults: pd.DataFrame
    limits: pd.DataFrame
    biases: pd.DataFrame
    honest: Report

    @property
    def escaped(self) -> tuple[str, ...]:
        """The faults that were not caught."""
        return tuple(row["fault"] for row in self.faults.to_dict("records") if row["verdict"] != "caught")

    @property
    def exit_code(self) -> int:
        """0 if every fault was caught and every honest engine accepted; 4 if a fault escaped, 1 if an honest one fell."""
        return 4 if self.escaped else self.honest.exit_code

    def __rich__(self) -> RenderableType:
        caught = len(self.faults) - len(self.escaped)
        honest = Text(f"honest engines: {self.honest.verdict}; {caught} of {len(self.faults)} caught")
        return Group(self._fault_table(), self._limit_table(), self._bias_table(), honest)

    def _fault_table(self) -> Table:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for column in ("fault", "planted in", "size", "cases rejected", ""):
            table.add_column(column, justify="right" if column in ("size", "cases rejected") else "left")
        for row in self.faults.to_dict("records"):
            word = Text("caught", style="green") if row["verdict"] == "caught" else Text("ESCAPED", style="bold red")
            size = "–" if np.isinf(row["size"]) else f"{row['size']:.2g}"
            table.add_row(row["fault"], row["what"], size, f"{row['share_rejected']:.1%}", word)
        return table

    def _limit_table(self) -> Table:
        title = "Smallest relative fault in one slope that was caught"
        table = _table(title, "ensemble", "depth", "limit", "in u", "cases")
        for row in self.limits.to_dict("records"):
            limit, share = f"2^{row['log2']}", f"{row['share']:.1%}"
            table.add_row(row["ensemble"], str(row["depth"]), limit, f"{row['limit_u']:,.0f}", share)
        return table

    def _bias_table(self) -> Table:
        title = f"Smallest bias that shows in the mean (false alarm {FALSE_ALARM:.0e})"
        table = _table(title, "ensemble", "depth", "cases", "bias, u", "one ulp in", "median bound, u")
        for row in self.biases.to_dict("records"):
            figures = f"{row['bias_u']:.3f}", f"{row['one_in']:,}", f"{row['bound_u_p50']:,.0f}"
            table.add_row(row["ensemble"], str(row["depth"]), f"{row['cases']:,}", *figures)
        return table

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write `audit.csv`, `detection.csv` and `bias.csv` to a folder.

        Raises:
            UsageError: The folder cannot be written.
        """
        target = writable_folder(folder, AUDIT_FILES)
        write_csv(self.faults, target / "audit.csv")
        write_csv(self.limits, target / "detection.csv")
        write_csv(self.biases, target / "bias.csv")

    def print(self, console: Console | None = None) -> None:
        """Print the tables and the verdict."""
        (console or Console()).print(self)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "ensemble" else "right")
    return table


def audit(
    *,
    cases: int = 1000,
    seed: int = 0,
    platform: str | None = None,
    output: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Plant every fault, run the gate on each, and see what it catches; then find how small a fault it still sees.

    Args:
        cases: How many chains each faulty engine runs on.
        seed: Decides which.
        platform: As for `verify`.
        output: Folder for `audit.csv`, `detection.csv` and `bias.csv`; found to be writable before the audit starts.
        progress: Called as the audit goes on.

    Returns:
        What was caught, the detection limits, the smallest visible biases, and the report on the honest engines.

    Raises:
        UsageError: As `verify` does.
    """
    log = progress or (lambda done, total, what: None)
    if output is not None:
        writable_folder(output, AUDIT_FILES)
    gate: dict[str, Any] = {"seed": seed, "platform": platform, "activations": False, "samples": False}
    rows = []
    for done, fault in enumerate(FAULTS.values()):
        log(done, len(FAULTS), fault.name)
        where = {"ensembles": fault.ensembles, "depths": fault.depths, "widths": fault.widths}
        rows.append(_row(fault, verify(engines=[fault.engine], cases=cases * fault.cases, **where, **gate)))
    log(len(FAULTS), len(FAULTS), "honest engines")
    honest = verify(cases=cases, depths=(8,), **gate)
    log(len(FAULTS), len(FAULTS), "biases")
    biases = visible_biases(seed=seed, cases=100 * cases)
    found = Audit(pd.DataFrame(rows), detection_limits(seed=seed, rows=cases), biases, honest)
    if output is not None:
        found.write(output)
    return found


def _row(fault: Fault, report: Report) -> dict[str, Any]:
    """Return the row of `audit.csv` for a fault and the gate's report on it."""
    table = report.tolerance
    return {
        "schema": SCHEMA,
        "fault": fault.name,
        "what": fault.what,
        "size": fault.size,
        "verdict": "caught" if report.verdict is Verdict.REJECTED else "escaped",
        "share_rejected": float(sum(table["rejected"]) / sum(table["cases"])),
        "first": str(report.rejections[0]) if report.rejections else "",
    }
