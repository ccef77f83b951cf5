"""The same cases under other versions of JAX: what an upgrade changes, and which release changed it first."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from chainback.environment import version
from chainback.errors import BuildError, UsageError
from chainback.reporting.comparison import Comparison, compare
from chainback.reporting.pages.html import write_page
from chainback.reporting.pages.show import show
from chainback.reporting.report import markdown_table, records
from chainback.versions.environments import DEFAULT_JOB, Job, Laboratory, Run, Tell, cache_folder, uv

__all__ = ["Bisection", "Upgrade", "bisect", "minors", "upgrade"]


@dataclass(frozen=True)
class Upgrade:
    """What changes in the gradients from one version of JAX to others.

    Attributes:
        old: The run to compare with.
        new: The others.
        comparisons: By version, where both ran.
    """

    old: Run
    new: tuple[Run, ...]
    comparisons: dict[str, Comparison]

    @property
    def exit_code(self) -> int:
        """5 where an environment could not be built, else the worst of the comparisons': 1 worse, 3 not finished, 0."""
        if any(run.reading is None for run in (self.old, *self.new)):
            return 5
        codes = [comparison.exit_code for comparison in self.comparisons.values()]
        return next((code for code in (1, 3) if code in codes), 0)

    def print(self, console: Console | None = None) -> None:
        """Print the table, the comparisons and the verdict."""
        (console or Console()).print(self)

    def __rich__(self) -> RenderableType:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in _HEADER:
            table.add_column(name, justify="right" if name == "seconds" else "left")
        for cells in self._rows():
            table.add_row(*cells)
        failures = [Text(f"{run.jax}: {run.failure}", style="yellow") for run in self._failed()]
        parts: list[RenderableType] = [table, *failures]
        for comparison in self.comparisons.values():
            parts += [comparison, Text("")]
        return Group(*parts)

    def markdown(self) -> str:
        """Return the same as Markdown, for a pull request."""
        failures = [f"* {run.jax}: {run.failure}" for run in self._failed()]
        parts = [markdown_table(_HEADER, self._rows()), *failures, *(c.markdown() for c in self.comparisons.values())]
        return "\n\n".join(parts)

    @property
    def worse(self) -> list[dict[str, Any]]:
        """The rows that got worse, of all comparisons."""
        return [row | {"row": f"{name}: {row['row']}"} for name, c in self.comparisons.items() for row in c.worse]

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write each version's report, and each comparison, with their pages."""
        for run in (self.old, *self.new):
            if run.reading is not None:
                shutil.copytree(run.reading.name, Path(folder) / run.jax, dirs_exist_ok=True)
                show(Path(folder) / run.jax)
        for (name, comparison), page in zip(self.comparisons.items(), self.pages(folder), strict=True):
            comparison.to_csv(Path(folder) / name / "comparison.csv")
            write_page(comparison, page)

    def pages(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Return where the pages of the comparisons stand, in a folder that was written."""
        return [Path(folder) / name / "comparison.html" for name in self.comparisons]

    def _failed(self) -> list[Run]:
        return [run for run in (self.old, *self.new) if run.failure]

    def _rows(self) -> list[list[str]]:
        rows = []
        for run in (self.old, *self.new):
            against = self.comparisons.get(run.jax)
            said = "compared with" if run is self.old else against.outcome if against else ""
            rows.append([run.jax, run.python, run.verdict, f"{run.seconds:.0f}", "yes" if run.cached else "no", said])
        return rows


_HEADER = ("jax", "python", "verdict", "seconds", "cached", "against the old one")


@dataclass(frozen=True)
class Bisection:
    """Where something first changed.

    Attributes:
        metric: What: "verdict", "drift" or "digest".
        unchanged: The last version that is as the good one was.
        changed: The first that is not; "" where nothing changed.
        between: Versions in between that could not be run.
        runs: All that were tried, in order.
        comparison: Of `unchanged` with `changed`; None where nothing changed.
    """

    metric: str
    unchanged: str
    changed: str
    between: tuple[str, ...] = ()
    runs: tuple[Run, ...] = ()
    comparison: Comparison | None = None

    @property
    def exit_code(self) -> int:
        """0 where it was found, 3 where there is nothing to find."""
        return 0 if self.changed else 3

    def print(self, console: Console | None = None) -> None:
        """Print what was tried and what was found."""
        (console or Console()).print(self)

    def __rich__(self) -> RenderableType:
        tried = [f"{run.jax}: {run.failure or run.verdict}{' (cached)' if run.cached else ''}" for run in self.runs]
        if not self.changed:
            return Group(
                *map(Text, tried), Text(f"No {self.metric} changed: there is nothing to find.", style="yellow")
            )
        found = f"The first {self.metric} changed from jax {self.unchanged} to {self.changed}"
        skipped = f"; in between, {', '.join(self.between)} could not be run" if self.between else ""
        return Group(*map(Text, tried), self.comparison or "", Text(f"{found}{skipped}.", style="bold"))


def upgrade(
    old: str = "installed",
    new: Sequence[str] = ("newest",),
    *,
    job: Job = DEFAULT_JOB,
    pre: bool = False,
    cache: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    tell: Tell | None = None,
) -> Upgrade:
    """Run the same cases under an old and under new versions of JAX, and compare.

    Args:
        old: A version, or "installed", or "newest".
        new: Likewise.
        job: What to run.
        pre: Whether release candidates and nightly builds count, where the index that uv and pip are set to has them.
        cache: Folder for environments and results; default: chainback's own in the user's cache folder.
        output: Folder to write the reports and comparisons to.
        tell: Told what is being done.

    Returns:
        All runs and comparisons. A version that cannot be installed does not keep the others from being run.

    Raises:
        UsageError: A version is none, or the installed one is asked for and there is none.
        BuildError: uv is not there, or the index cannot be asked.
    """
    laboratory = Laboratory(cache_folder(cache), pre, tell or (lambda what: None))
    wanted = [_resolve(name, pre) for name in (old, *new)]
    runs = {name: laboratory.run(name, job) for name in dict.fromkeys(wanted)}
    first, others = runs[wanted[0]], tuple(runs[name] for name in dict.fromkeys(wanted[1:]))
    comparisons = {
        run.jax: compare(first.reading.name, run.reading.name) for run in others if first.reading and run.reading
    }
    made = Upgrade(first, others, comparisons)
    if output is not None:
        made.write(output)
    return made


def bisect(
    good: str,
    bad: str,
    *,
    metric: str | None = None,
    rows: str = "",
    job: Job = DEFAULT_JOB,
    pre: bool = False,
    cache: str | os.PathLike[str] | None = None,
    tell: Tell | None = None,
) -> Bisection:
    """Find the release of JAX in which something first changed, by halving the versions that the index offers.

    Args:
        good: A version that is as it should be.
        bad: One that is not; older or newer.
        metric: "verdict", "drift" or "digest"; default: the first of these that differs between the two.
        rows: Look only at rows in whose name this text occurs, such as "reverse-scan batched lecture" or "gelu".
        job: What to run.
        pre: Whether release candidates and nightly builds count.
        cache: As for `upgrade`.
        tell: Told what is being done.

    Raises:
        UsageError: A version is none, or the metric is unknown.
        BuildError: uv is not there, the index cannot be asked, or `good` or `bad` cannot be run.
    """
    if metric is not None and metric not in _METRICS:
        raise UsageError(f"`metric` must be one of {', '.join(_METRICS)}, got {metric!r:.40}")
    laboratory = Laboratory(cache_folder(cache), pre, tell or (lambda what: None))
    first, last = _resolve(good, pre), _resolve(bad, pre)
    tried = {name: laboratory.run(name, job) for name in (first, last)}
    for run in tried.values():
        if run.reading is None:
            raise BuildError(f"jax {run.jax} cannot be run: {run.failure}")
    chosen = metric or next((m for m in _METRICS if _differs(tried[first], tried[last], m, rows)), _METRICS[-1])
    if not _differs(tried[first], tried[last], chosen, rows):
        return Bisection(chosen, last, "", runs=tuple(tried.values()))
    inner = [name for name in _offered(pre) if Version(name) in _Between(first, last)]
    inner.sort(key=Version, reverse=Version(first) > Version(last))
    unchanged, changed, candidates, failed = first, last, inner, []
    while candidates:
        middle = candidates[len(candidates) // 2]
        tried[middle] = run = laboratory.run(middle, job)
        if run.reading is None:  # as good as not there
            candidates = [name for name in candidates if name != middle]
            failed.append(middle)
        elif _differs(tried[first], run, chosen, rows):
            changed, candidates = middle, candidates[: candidates.index(middle)]
        else:
            unchanged, candidates = middle, candidates[candidates.index(middle) + 1 :]
    between = tuple(name for name in failed if Version(name) in _Between(unchanged, changed))
    before, after = tried[unchanged].reading, tried[changed].reading
    assert before is not None
    assert after is not None
    comparison = compare(before.name, after.name)
    return Bisection(chosen, unchanged, changed, between, tuple(tried.values()), comparison)


#: What may change, the gravest first.
_METRICS = ("verdict", "drift", "digest")


class _Between:
    def __init__(self, a: str, b: str) -> None:
        self._low, self._high = sorted((Version(a), Version(b)))

    def __contains__(self, name: Version) -> bool:
        return self._low < name < self._high


def _differs(good: Run, other: Run, metric: str, rows: str) -> bool:
    assert good.reading is not None
    assert other.reading is not None
    compared = records(compare(good.reading.name, other.reading.name).frame)
    for row in compared:
        if rows not in f"{row['table']} {row['row']}" or row["outcome"] in ("missing", "new"):
            continue
        if {
            "verdict": row["verdict_old"] != row["verdict_new"],
            "drift": row["outcome"] == "drifted",
            "digest": row["outcome"] != "identical",
        }[metric]:
            return True
    return False


def _resolve(name: str, pre: bool) -> str:
    """Return the version that a name means.

    Raises:
        UsageError: It means none.
    """
    if name == "installed":
        found = version("jax")
        if not found:
            raise UsageError("no JAX is installed here: say which version to start from")
        return found
    if name == "newest":
        return _offered(pre)[0]
    try:
        return str(Version(name))
    except InvalidVersion:
        raise UsageError(f"{name!r:.40} is no version of JAX: write one such as 0.10.2, installed or newest") from None


@cache
def _offered(pre: bool) -> list[str]:
    """Return the versions of JAX that the index offers, the newest first.

    Raises:
        BuildError: The index cannot be asked.
    """
    asked = ["tool", "run", "--quiet", "pip", "index", "versions", "jax", "--ignore-requires-python"]
    listed = re.search(r"Available versions: (.*)", uv(*asked, *(["--pre"] if pre else [])))
    if listed is None:
        raise BuildError("the package index does not say which versions of JAX it has")
    return sorted((part.strip() for part in listed[1].split(",")), key=Version, reverse=True)


def minors(first: str = "0.4.30") -> list[str]:
    """Return the last release of each minor version of JAX that the index offers, from one on, oldest first.

    Before 0.5 every release is a minor one.
    """
    of_minor: dict[tuple[int, ...], Version] = {}
    for name in map(Version, _offered(False)):
        if name >= Version(first):
            place = name.release[: 3 if name < Version("0.5") else 2]
            of_minor[place] = max(name, of_minor.get(place, name))
    return [str(name) for name in sorted(of_minor.values())]
