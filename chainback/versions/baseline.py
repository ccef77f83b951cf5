"""Baselines: a report that is kept, so that later runs can be compared with it.

A baseline is not replaced because it differs, but because somebody looked: what got worse is taken only with a reason, and
the reason is kept with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chainback.errors import UsageError
from chainback.judging.judgement import Verdict
from chainback.processes.watch import Progress
from chainback.reporting.comparison import Comparison, compare
from chainback.reporting.files import read_environment, writable_folder
from chainback.reporting.report import Report
from chainback.running.verify import verify

__all__ = ["BaselineUpdate", "baseline"]

#: What a new baseline runs, and where an old one keeps what it ran.
_FIRST = {"cases": 20_000, "seed": 0, "functions": True}


@dataclass(frozen=True)
class BaselineUpdate:
    """Whether a run replaced a baseline.

    Attributes:
        report: Of the run.
        comparison: With the baseline that was there; None where there was none to compare with.
        taken: Whether the run is the baseline now.
        sentence: What was done, and why.
    """

    report: Report
    comparison: Comparison | None
    taken: bool
    sentence: str

    @property
    def exit_code(self) -> int:
        """0 taken; else 1 where something is worse, or as the run itself."""
        return 0 if self.taken else self.report.exit_code or 1


def baseline(
    folder: str | os.PathLike[str],
    *,
    reason: str = "",
    progress: Progress | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    **arguments: Any,
) -> BaselineUpdate:
    """Run the gate and keep its report as a baseline, unless something is worse than in the one that is there.

    Args:
        folder: Of the baseline.
        reason: Why it is to be taken all the same; kept in its `environment.json`, with all earlier ones.
        progress: As for `verify`.
        clock: Returns the time that is kept with the reason.
        **arguments: Of `verify`; cases, seed and functions default to those of the baseline that is there.

    Returns:
        What was done. A run that is neither accepted nor given a reason is not taken.

    Raises:
        UsageError: The folder cannot be written, or the two cannot be compared and there is no reason to start anew.
    """
    there = (Path(folder) / "environment.json").is_file()
    before = read_environment(folder) if there else {}
    writable_folder(folder)
    ran = {**before, **before.get("asked", {})}
    asked = {name: ran.get(name, first) for name, first in _FIRST.items()}
    asked |= {name: value for name, value in arguments.items() if value is not None}
    report = verify(progress=progress, supervised=True, **asked)
    found: Comparison | None = None
    if there:
        try:
            found = compare(folder, report)
        except UsageError as error:
            if not reason:
                raise UsageError(f"{error}: say why it is to start anew with --reason") from None
    worse = len(found.worse) if found else 0
    if not report.complete or (not reason and (worse or report.verdict is not Verdict.ACCEPTED)):
        why = (
            f"{worse} rows are worse"
            if worse
            else f"the run is {'' if report.complete else 'in'}complete and {report.verdict}"
        )
        hint = ": look, and say why it is to be taken with --reason" if report.complete else ""
        return BaselineUpdate(report, found, False, f"Not taken: {why}{hint}.")
    entry = {"time": clock().isoformat(timespec="seconds"), "jax": report.environment["jax"], "worse": worse}
    kept = [*before.get("baseline", []), entry | {"reason": reason or "nothing is worse" if there else "the first"}]
    report = replace(report, environment=report.environment | {"baseline": kept})
    report.write(folder)
    return BaselineUpdate(report, found, True, f"Taken: {kept[-1]['reason']}.")
