"""Parts of a run: the totals of a run or a shard as a report, shards merged, an interrupted run resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from chainback.errors import UsageError
from chainback.judging.pointwise import CURVE
from chainback.judging.run_totals import RunTotals
from chainback.judging.tally import RowKey
from chainback.reporting.files import read_environment
from chainback.reporting.report import Report
from chainback.reporting.rows import identity_of
from chainback.reporting.schema import COUNTS_FILE, ENVIRONMENT_FILE, IDENTITY, KEYS, SCHEMA, frame_of

__all__ = ["Resumed", "join", "merge", "part_of", "report_of", "resumed"]

_Read = TypeVar("_Read")
_EXECUTIONS = ("batched", "single", "eager")
#: Facts that must be the same in all shards of a run.
_SAME = ("seed", "cases", "asked", "engines", "ensembles", "sharp_floor", "platforms", "truth", *IDENTITY)


def report_of(totals: RunTotals, environment: dict[str, Any], at: tuple[int, int] = (0, 0)) -> Report:
    """Return the report of what a run counted.

    Args:
        totals: What it counted.
        environment: What produced it; every row repeats the columns of `IDENTITY`, of several `platforms` those of its
            own, and rows follow its `engines`.
        at: How many batches and tasks are done. All counts go into the report of a run that can be gone on with, or
            that is a shard.
    """
    keep = "shard" in environment or "duration_s" in environment or not environment["complete"]
    order = {name: place for place, name in enumerate(environment["engines"])}

    def place(key: RowKey) -> tuple[Any, ...]:
        return (
            order.get(key.engine, len(order)),
            _EXECUTIONS.index(key.execution),
            key.ensemble,
            key.width,
            key.depth,
        )

    def frame(table: str, rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
        return frame_of(table, (identity_of(environment, row) | row for row in rows))

    tallies = sorted(totals.tallies.values(), key=lambda tally: place(tally.key))
    steps = sorted(totals.steps.values(), key=lambda tally: (tally.judged, *place(tally.key)))
    pairs = sorted(totals.pairs.values(), key=lambda pair: (order[pair.engine_a], order[pair.engine_b], pair.key[2:]))
    activations = [row for _, row in sorted(totals.activations.items())]
    functions = [row for _, rows in sorted(totals.functions.items()) for row in rows]
    first = totals.first_rejections()
    return Report(
        tolerance=frame("tolerance", [tally.row(first.get(("", tally.key))) for tally in tallies]),
        steps=frame("steps", [tally.row(first.get((tally.judged, tally.key))) for tally in steps]),
        agreement=frame("agreement", [pair.row() for pair in pairs]),
        activations=frame("activations", [_without_curve(row) for row in activations]),
        curves=frame("curves", [_with_curve(row) for row in activations if CURVE in row]),
        functions=frame("functions", functions),
        rejections=tuple(totals.in_order()),
        environment=environment | {"rejections": len(totals.rejections)},
        counts=totals.to_json() | _cut_off(environment, at) if keep else None,
    )


def _without_curve(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != CURVE}


def _with_curve(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in KEYS["activations"]} | row[CURVE]


@dataclass(frozen=True)
class Resumed:
    """How far an unfinished run had come.

    Attributes:
        state: Batches done, tasks done, and what was counted.
        elapsed_s: Seconds it had taken.
    """

    state: tuple[int, int, RunTotals] = field(default_factory=lambda: (0, 0, RunTotals()))
    elapsed_s: float = 0.0


def _cut_off(facts: dict[str, Any], at: tuple[int, int]) -> dict[str, Any]:
    """Return what another process needs to know before it goes on with a run, ready for JSON."""
    return {"run": _run_of(facts), "at": list(at), "elapsed_s": facts["elapsed_s"]}


def _run_of(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: facts.get(name) for name in (*_SAME, "shard")}


def resumed(folder: str | os.PathLike[str], facts: dict[str, Any]) -> Resumed:
    """Return how far the run in a folder had come; the beginning where there is none.

    Args:
        folder: What `verify` was writing to.
        facts: Of the run that is to go on with it.

    Raises:
        UsageError: The folder holds another run, or a finished one, or what it counted is damaged.
    """
    path = Path(folder) / COUNTS_FILE
    if not path.exists():
        if (Path(folder) / ENVIRONMENT_FILE).exists():
            raise UsageError(f"{folder} holds a run that is finished: nothing is left to resume")
        return Resumed()
    wanted = json.loads(json.dumps(_run_of(facts)))

    def read(state: dict[str, Any]) -> Resumed:
        run = {"truth": "numpy"} | state["run"]
        if different := [name for name in run | wanted if run.get(name) != wanted.get(name)]:
            raise UsageError(f"{folder} holds another run: it has another {', '.join(different)}")
        done, tasks_done = state["at"]
        return Resumed((int(done), int(tasks_done), RunTotals.from_json(state)), float(state["elapsed_s"]))

    return _read_counts(path, read, "begin the run anew in another folder")


def part_of(name: str | None) -> tuple[int, int]:
    """Return (K, M) of a shard named K/M; (1, 1), the whole, of None.

    Raises:
        UsageError: It is no such name.
    """
    first, slash, last = ("1/1" if name is None else name).partition("/")
    if not (slash and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise UsageError(f"`shard` must be K/M, the K-th of M parts, such as 1/4, got {name!r:.40}")
    return int(first), int(last)


def merge(folders: Sequence[str | os.PathLike[str]], *, output: str | os.PathLike[str] | None = None) -> Report:
    """Join the reports of a run's shards into what one run would have written.

    Args:
        folders: One for each shard: each written by `verify` with `shard`, all of them with the same arguments.
        output: Folder to write the report to.

    Returns:
        The report; incomplete where a shard is missing.

    Raises:
        UsageError: A folder holds no shard, or one of another run, or the same twice.
    """
    if not folders:
        raise UsageError("nothing to merge: name the folders of the shards")
    report = join(map(_shard, folders))
    if output is not None:
        report.write(output)
    return report


def join(shards: Iterable[tuple[str, dict[str, Any], Callable[[], RunTotals]]]) -> Report:
    """Join a run's shards into what one run would have found.

    Args:
        shards: Of each what it is called, its facts, and what returns its counts.

    Returns:
        The report; incomplete where a shard is missing.

    Raises:
        UsageError: One is no shard, or one of another run, or the same twice.
    """
    counts, facts, seen = RunTotals(), {}, {}
    for name, its_facts, its_counts in shards:
        part = its_facts.get("shard")
        if part is None:
            raise UsageError(f"{name} holds no shard of a run: write it with --shard K/M")
        k, m = part_of(part)
        if facts and (m, _identity(its_facts)) != (seen["of"], _identity(facts)):
            different = [n for n in _SAME if its_facts.get(n) != facts.get(n)] or ["number of shards"]
            raise UsageError(f"{name} is a shard of another run: it has another {', '.join(different)}")
        if k in seen:
            raise UsageError(f"{name} is shard {part}, and so is {seen[k]}: name each once")
        seen |= {k: name, "of": m}
        counts.merge(its_counts())
        facts = _joined(facts, its_facts)
    missing = [k for k in range(1, seen["of"] + 1) if k not in seen]
    facts = {name: fact for name, fact in facts.items() if name != "shard"} | {"shards": seen["of"] - len(missing)}
    if missing:
        without = ", ".join(f"{k}/{seen['of']}" for k in missing)
        facts |= {"complete": False, "stopped": "; ".join(filter(None, (facts.get("stopped"), f"without {without}")))}
    return report_of(counts, facts)


def _identity(facts: dict[str, Any]) -> list[Any]:
    return [facts.get(name) for name in _SAME]


def _read_counts(path: Path, read: Callable[[dict[str, Any]], _Read], remedy: str) -> _Read:
    """Read what a run counted.

    Raises:
        UsageError: It is missing or damaged.
    """
    try:
        return read(json.loads(path.read_text(encoding="utf-8")))
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise UsageError(f"cannot read {path}: it is damaged: {remedy}") from None


def _shard(folder: str | os.PathLike[str]) -> tuple[str, dict[str, Any], Callable[[], RunTotals]]:
    """Return a shard's name, its facts, and what reads its totals.

    Raises:
        UsageError: The folder holds no report, or one of an older schema.
    """
    facts, path = read_environment(folder), Path(folder) / COUNTS_FILE
    if facts["schema"] != SCHEMA:
        raise UsageError(f"{folder} is of schema {facts['schema']}, whose totals differ: run the shard again")
    return str(folder), facts, partial(_read_counts, path, RunTotals.from_json, "run the shard again")


def _joined(facts: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Join the facts of two shards on how they went; of other facts the first is kept."""
    if not facts:
        return more
    joined = facts | {
        "complete": facts["complete"] and more["complete"],
        "elapsed_s": round(facts["elapsed_s"] + more["elapsed_s"], 3),
    }
    for name in ("worker_deaths", "unexplained"):
        if name in facts or name in more:
            joined[name] = [*facts.get(name, []), *more.get(name, [])]
    if stops := [part["stopped"] for part in (facts, more) if "stopped" in part]:
        joined["stopped"] = "; ".join(stops)
    return joined
