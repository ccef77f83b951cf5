"""The history of JAX's gradients: the same cases under release after release, and what each of them changed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from chainback.errors import UsageError
from chainback.judging.judgement import Verdict
from chainback.reporting.comparison import is_notable
from chainback.reporting.files import writable_folder, write_csv, write_text
from chainback.reporting.pages.html import document
from chainback.reporting.rows import engine_verdict, records
from chainback.reporting.schema import KEYS, SCHEMA
from chainback.reporting.sections.comparison_sections import history_sections
from chainback.reporting.sections.section import Section
from chainback.reporting.sections.section import Table as Listing
from chainback.reporting.text import is_number, markdown_table
from chainback.running.request import Request
from chainback.versions.environments import DEFAULT_REQUEST, Environments, Run
from chainback.versions.packages import minors
from chainback.versions.study import VersionStudy

__all__ = ["History", "history"]

_SWEEPS = ("activations", "functions")
_OUTCOMES = ("identical", "within bound", "drifted", "mended", "rejected", "undecided", "missing", "new")
_COUNTED = "Identical (same bits), within bound, drifted, mended and rejected: rows, against the version before."


class History(VersionStudy):
    """What each version of JAX changed from the one before, the oldest first."""

    against = "previous"
    header = (
        "jax",
        "python",
        "verdict",
        "identical",
        "within bound",
        "drifted",
        "mended",
        "rejected",
        "ns a layer",
        "s",
    )

    def versions(self) -> pd.DataFrame:
        """Return a row for each version: its Python and packages, verdict, and what changed from the version before."""
        rows = []
        for run in self.runs:
            row: dict[str, Any] = {"schema": SCHEMA, "jax": run.jax, "python": run.python, "verdict": run.verdict}
            packages = run.reading.environment["packages"] if run.reading else {}
            row |= {name: packages.get(name, "") for name in ("jaxlib", "numpy", "scipy")}
            row |= {"elapsed_s": run.seconds, "failure": run.failure}
            against = self.comparisons.get(run.jax)
            counted = Counter(item["outcome"] for item in records(against.frame)) if against else Counter()
            row |= {outcome.replace(" ", "_"): counted[outcome] for outcome in _OUTCOMES}
            rows.append(row | {"worse": len(against.worse) if against else 0})
        return pd.DataFrame(rows)

    def engines(self) -> pd.DataFrame:
        """Return a row for each version and engine: verdict, errors in u (medians over rows), digest and speed."""
        return pd.DataFrame([row for run in self.ran for row in _engine_rows(run)])

    def sweeps(self) -> pd.DataFrame:
        """Return a row for each activation and function, quantity and way, and a column for each version.

        A cell is the root mean square error in u, or the verdict where that is not accepted.
        """
        rows: dict[tuple[str, str, str], dict[str, str]] = {}
        for run in self.ran:
            tables = {} if run.reading is None else run.reading.tables
            for table in _SWEEPS:
                for row in records(tables.get(table, pd.DataFrame())):
                    subject, *way = (str(row[key]) for key in KEYS[table])
                    cells = rows.setdefault((table, subject, " ".join(filter(None, way))), {})
                    accepted = row["verdict"] == str(Verdict.ACCEPTED)
                    cells[run.jax] = f"{row['error_u_rms']:.4g}" if accepted else row["verdict"]
        names = [run.jax for run in self.ran]
        return pd.DataFrame(
            [
                {"schema": SCHEMA, "table": table, "subject": subject, "row": way}
                | {name: cells.get(name, "") for name in names}
                for (table, subject, way), cells in rows.items()
            ]
        )

    def changes(self) -> pd.DataFrame:
        """Return the rows of all comparisons that matter: worse, drifted, mended."""
        frames = [comparison.frame.assign(jax=name) for name, comparison in self.comparisons.items()]
        rows = [row for frame in frames for row in records(frame) if is_notable(row)]
        columns = ["schema", "jax_old", "jax_new", "table", "subject", "row", "outcome", "worse", "moved", "note"]
        return pd.DataFrame(rows, columns=columns)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write the tables, and the pages that show them: README.md, and history.html, which has charts.

        Raises:
            UsageError: The folder cannot be written.
        """
        target = writable_folder(folder)
        for name in ("versions", "engines", "sweeps", "changes"):
            write_csv(getattr(self, name)(), target / f"{name}.csv")
        write_text(target / "README.md", self.markdown())
        write_text(target / "history.html", self.page())

    def markdown(self) -> str:
        """Return the page of the history."""
        lines = ["# The same gradients under release after release of JAX", "", self._what_ran(), ""]
        lines += [markdown_table(self.header, self.rows()), "", _COUNTED, ""]
        lines += ["## What changed", "", *(f"* {line}" for line in self._changes()), ""]
        lines += [f"* {run.jax} did not run: {run.failure}" for run in self.failed]
        for table in _SWEEPS:
            cells = list(self._moved_rows(table))
            if cells:
                lines += [f"## Errors of {table} that moved, root mean square in u", ""]
                lines += [markdown_table(["", *(run.jax for run in self.ran)], cells), ""]
        return "\n".join(lines).rstrip() + "\n"

    def page(self) -> str:
        """Return the page of the history, as HTML."""
        title = f"jax {self.runs[0].jax} … {self.runs[-1].jax}"
        failures = [f"{run.jax} did not run: {run.failure}" for run in self.failed]
        return document(None, title, self._what_ran(), "", failures, self.sections())

    def sections(self) -> list[Section]:
        """Return what the page says, for a page or a log."""
        changes = [[version, what] for version, _, what in (line.partition(": ") for line in self._changes())]
        names = [run.jax for run in self.ran]
        moving = [Listing(("", *names), cells, table) for table in _SWEEPS if (cells := list(self._moved_rows(table)))]
        return history_sections(Listing(self.header, self.rows()), changes, self.engines(), moving)

    def _table(self) -> Table:
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, 1))
        printed = [place for place, name in enumerate(self.header) if name != "python"]  # nine columns fit in eighty
        for place in printed:
            name = self.header[place].replace(" ", "\n", 1)
            table.add_column(name, justify="left" if place < 3 else "right", no_wrap=True)
        for cells in self.rows():
            table.add_row(*(cells[place] for place in printed))
        return table

    def _details(self) -> Iterable[RenderableType]:
        return map(Text, self._changes())

    def _what_ran(self) -> str:
        first = self.ran[0].reading if self.ran else None
        facts = first.environment if first else {}
        return f"{facts.get('cases', 0):,} chains, seed {facts.get('seed')}, on {_machine(facts)}."

    def rows(self) -> list[list[str]]:
        """Return the cells of the table of versions, a row for each run."""
        speed = self.engines().groupby("jax")["run_ns_per_layer"].median() if self.ran else {}
        rows = []
        for row in records(self.versions()):
            counts = [f"{row[name]:,}" for name in ("identical", "within_bound", "drifted", "mended", "rejected")]
            if row["jax"] not in self.comparisons:
                counts = ["–"] * len(counts)
            layer = f"{speed[row['jax']]:,.0f}" if row["jax"] in speed else "–"
            rows.append([row["jax"], row["python"], row["verdict"], *counts, layer, f"{row['elapsed_s']:.0f}"])
        return rows

    def _changes(self) -> Iterator[str]:
        """Yield a sentence for each version, table and thing that changed."""
        for name, comparison in self.comparisons.items():
            groups: dict[tuple[str, str, str, bool], list[dict[str, Any]]] = {}
            for row in filter(is_notable, records(comparison.frame)):
                groups.setdefault((row["table"], row["outcome"], row["subject"], row["worse"]), []).append(row)
            for (table, outcome, subject, is_worse), rows in groups.items():
                worse = "worse: " if is_worse else ""
                example = next(filter(None, (row["moved"] or row["note"] for row in rows)), "")
                count = f"{len(rows)} row{'s' * (len(rows) > 1)}"
                yield f"{name}: {worse}{table} {subject} {outcome} ({count}{'; ' + example if example else ''})"

    def _moved_rows(self, table: str) -> Iterator[list[str]]:
        """Yield the lines of a sweep whose cells show a change: a word, or an error that moved by half; like with like."""
        ways: dict[tuple[str, ...], list[str]] = {}
        for row in records(self.sweeps()):
            cells = [row[run.jax] for run in self.ran]
            if row["table"] == table and _has_moved(cells):
                ways.setdefault((row["subject"], *cells), []).append(row["row"])
        for (subject, *cells), which in ways.items():
            yield [f"{subject}: {', '.join(which)}", *cells]


def history(
    versions: Sequence[str] = (),
    *,
    request: Request = DEFAULT_REQUEST,
    environments: Environments | None = None,
    output: str | os.PathLike[str] | None = None,
) -> History:
    """Run the same cases under many versions of JAX, each in an environment of its own, and find what each changed.

    Args:
        versions: Which; default: the last release of each minor version from 0.4.30 to the newest that the index offers.
        request: What to run.
        environments: Where; default: those in the user's cache folder.
        output: Folder to write the tables to.

    Raises:
        UsageError: The output cannot be written.
        BuildError: uv is not there, or the index cannot be asked.
    """
    if output is not None:
        writable_folder(output)
    chosen = list(dict.fromkeys(versions or minors()))
    if len(chosen) < 2:
        raise UsageError(f"a history needs two versions or more, got {', '.join(chosen) or 'none'}")
    made = History.of(chosen, request, environments or Environments())
    if output is not None:
        made.write(output)
    return made


def _engine_rows(run: Run) -> Iterator[dict[str, Any]]:
    assert run.reading is not None
    frame = run.reading.tables["tolerance"]
    for engine in dict.fromkeys(frame["engine"]):
        rows = [row for row in records(frame) if row["engine"] == engine]
        batched = [row for row in rows if row["execution"] == "batched" and row["verdict"] != str(Verdict.NOT_RUN)]
        layers = sum(row["cases"] * row["depth"] for row in batched)
        digest = sum(int(row["digest"], 16) for row in rows) % 2**64
        yield {
            "schema": SCHEMA,
            "jax": run.jax,
            "engine": engine,
            "verdict": str(engine_verdict(rows)),
            "cases": sum(row["cases"] for row in rows),
            "rejected": sum(row["rejected"] for row in rows),
            "margin_max": _over(max, rows, "margin_max"),
            "error_u_p99": _over(np.median, rows, "error_u_p99"),
            "error_u_rms": _over(np.median, rows, "error_u_rms"),
            "error_u_mean": _over(np.median, rows, "error_u_mean"),
            "digest": f"{digest:016x}",
            "compile_s": round(sum(row["compile_s"] for row in rows), 3),
            "run_ns_per_layer": round(1e9 * sum(row["run_s"] for row in batched) / layers, 2)
            if layers
            else float("nan"),
        }


def _over(how: Any, rows: Iterable[dict[str, Any]], column: str) -> float:
    values = [row[column] for row in rows if column in row and np.isfinite(row[column])]
    return float(how(values)) if values else float("nan")


def _has_moved(cells: Sequence[str]) -> bool:
    numbers = [float(cell) for cell in cells if is_number(cell)]
    words = {cell for cell in cells if not is_number(cell)}
    if words:
        return bool(numbers) or len(words) > 1
    return max(numbers) - min(numbers) > 0.5 and max(numbers) > 1.5 * min(numbers)


def _machine(facts: dict[str, Any]) -> str:
    processor = facts.get("processor", {}).get("model", "?")
    return f"{facts.get('platform', '?')} ({processor}, {facts.get('cores', '?')} cores)"
