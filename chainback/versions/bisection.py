"""The release of JAX in which something first changed, found by halving the releases that the index offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from packaging.version import Version
from rich.console import Console, Group, RenderableType
from rich.text import Text

from chainback.errors import BuildError, UsageError
from chainback.reporting.comparison import Comparison, compare
from chainback.reporting.rows import records
from chainback.running.request import Request
from chainback.versions.environments import DEFAULT_REQUEST, Environments, Run
from chainback.versions.packages import offered, resolve

__all__ = ["METRICS", "Bisection", "bisect"]

#: What may change, the gravest first.
METRICS = ("verdict", "drift", "digest")


@dataclass(frozen=True)
class Bisection:
    """Between which two versions something first changed.

    Attributes:
        metric: What: "verdict", "drift" or "digest".
        unchanged: The last version that is as the good one was.
        changed: The first that is not; "" where nothing changed.
        between: Versions in between that could not be run.
        runs: All, in order.
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
        """Print what was run and what was found."""
        (console or Console()).print(self)

    def __rich__(self) -> RenderableType:
        lines = [f"{run.jax}: {run.failure or run.verdict}{' (cached)' if run.cached else ''}" for run in self.runs]
        if not self.changed:
            return Group(
                *map(Text, lines), Text(f"No {self.metric} changed: there is nothing to find.", style="yellow")
            )
        found = f"The first {self.metric} changed from jax {self.unchanged} to {self.changed}"
        skipped = f"; in between, {', '.join(self.between)} could not be run" if self.between else ""
        return Group(*map(Text, lines), self.comparison or "", Text(f"{found}{skipped}.", style="bold"))


def bisect(
    good: str,
    bad: str,
    *,
    metric: str | None = None,
    rows: str = "",
    request: Request = DEFAULT_REQUEST,
    environments: Environments | None = None,
) -> Bisection:
    """Find the release of JAX in which something first changed, by halving the versions that the index offers.

    Args:
        good: A version that is as it should be.
        bad: One that is not; older or newer.
        metric: "verdict", "drift" or "digest"; default: the first of these that differs between the two.
        rows: Look only at rows in whose name this text occurs, such as "reverse-scan batched lecture" or "gelu".
        request: What to run.
        environments: Where; default: those in the user's cache folder.

    Raises:
        UsageError: A version is none, or the metric is unknown.
        BuildError: uv is not there, the index cannot be asked, or `good` or `bad` cannot be run.
    """
    if metric is not None and metric not in METRICS:
        raise UsageError(f"`metric` must be one of {', '.join(METRICS)}, got {metric!r:.40}")
    environments = environments or Environments()
    first, last = (resolve(name, environments.pre) for name in (good, bad))
    runs = {name: environments.run(name, request) for name in (first, last)}
    for run in runs.values():
        if run.reading is None:
            raise BuildError(f"jax {run.jax} cannot be run: {run.failure}")
    chosen = metric or next((m for m in METRICS if _differs(runs[first], runs[last], m, rows)), METRICS[-1])
    if not _differs(runs[first], runs[last], chosen, rows):
        return Bisection(chosen, last, "", runs=tuple(runs.values()))

    def changed(name: str) -> bool | None:
        runs[name] = run = environments.run(name, request)
        return None if run.reading is None else _differs(runs[first], run, chosen, rows)

    inner = [name for name in offered(environments.pre) if _between(name, first, last)]
    inner.sort(key=Version, reverse=Version(first) > Version(last))
    unchanged, found, failed = _halve(first, last, inner, changed)
    between = tuple(name for name in failed if _between(name, unchanged, found))
    return Bisection(chosen, unchanged, found, between, tuple(runs.values()), _compare(runs[unchanged], runs[found]))


def _halve(
    first: str, last: str, inner: list[str], changed: Callable[[str], bool | None]
) -> tuple[str, str, list[str]]:
    """Return the last version that is as the first one, the next one that is not, and those of which it is unknown.

    Args:
        first: Unchanged.
        last: Changed.
        inner: The versions between them, in order.
        changed: Whether a version is changed; None where it cannot be run.
    """
    unchanged, found, candidates, failed = first, last, inner, []
    while candidates:
        middle = candidates[len(candidates) // 2]
        place, verdict = candidates.index(middle), changed(middle)
        if verdict is None:  # as good as not there
            candidates = [name for name in candidates if name != middle]
            failed.append(middle)
        elif verdict:
            found, candidates = middle, candidates[:place]
        else:
            unchanged, candidates = middle, candidates[place + 1 :]
    return unchanged, found, failed


def _between(name: str, one: str, other: str) -> bool:
    low, high = sorted((Version(one), Version(other)))
    return low < Version(name) < high


def _compare(old: Run, new: Run) -> Comparison:
    assert old.reading is not None
    assert new.reading is not None
    return compare(old.reading.name, new.reading.name)


def _differs(good: Run, other: Run, metric: str, rows: str) -> bool:
    for row in records(_compare(good, other).frame):
        if rows not in f"{row['table']} {row['row']}" or row["outcome"] in ("missing", "new"):
            continue
        if {
            "verdict": row["verdict_old"] != row["verdict_new"],
            "drift": row["outcome"] == "drifted",
            "digest": row["outcome"] != "identical",
        }[metric]:
            return True
    return False
