"""What an upgrade of JAX changes: the same cases under an old and under new versions, each compared with the old one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from chainback.reporting.pages.html import write_page
from chainback.reporting.pages.show import show
from chainback.reporting.text import markdown_table
from chainback.running.request import Request
from chainback.versions.environments import DEFAULT_REQUEST, Environments
from chainback.versions.packages import resolve
from chainback.versions.study import VersionStudy

__all__ = ["Upgrade", "upgrade"]


class Upgrade(VersionStudy):
    """What changes in the gradients from one version of JAX, the first run, to others."""

    against = "first"
    header = ("jax", "python", "verdict", "seconds", "cached", "against the old one")

    @property
    def exit_code(self) -> int:
        """5 where an environment could not be built, else the worst of the comparisons': 1 worse, 3 not finished, 0."""
        codes = [super().exit_code, *(comparison.exit_code for comparison in self.comparisons.values())]
        return next((code for code in (5, 1, 3) if code in codes), 0)

    @property
    def worse(self) -> list[dict[str, Any]]:
        """The rows that got worse, of all comparisons."""
        return [row | {"row": f"{name}: {row['row']}"} for name, c in self.comparisons.items() for row in c.worse]

    def rows(self) -> list[list[str]]:
        """Return the cells of the table of versions, a row for each run."""
        rows = []
        for run in self.runs:
            comparison = self.comparisons.get(run.jax)
            outcome = comparison.outcome if comparison else ""
            outcome = "compared with" if run is self.runs[0] else outcome
            cached = "yes" if run.cached else "no"
            rows.append([run.jax, run.python, run.verdict, f"{run.seconds:.0f}", cached, outcome])
        return rows

    def markdown(self) -> str:
        """Return what is printed as Markdown, for a pull request."""
        failures = [f"* {run.jax}: {run.failure}" for run in self.failed]
        comparisons = (comparison.markdown() for comparison in self.comparisons.values())
        return "\n\n".join([markdown_table(self.header, self.rows()), *failures, *comparisons])

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write each version's report, and each comparison, with their pages."""
        for run in self.ran:
            if run.reading is not None:
                shutil.copytree(run.reading.name, Path(folder) / run.jax, dirs_exist_ok=True)
                show(Path(folder) / run.jax)
        for (name, comparison), page in zip(self.comparisons.items(), self.pages(folder), strict=True):
            comparison.to_csv(Path(folder) / name / "comparison.csv")
            write_page(comparison, page)

    def pages(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Return where the pages of the comparisons stand, in a folder that was written."""
        return [Path(folder) / name / "comparison.html" for name in self.comparisons]

    def _table(self) -> Table:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in self.header:
            table.add_column(name, justify="right" if name == "seconds" else "left")
        for cells in self.rows():
            table.add_row(*cells)
        return table

    def _details(self) -> Iterator[RenderableType]:
        for comparison in self.comparisons.values():
            yield from (comparison, Text(""))


def upgrade(
    old: str = "installed",
    new: Sequence[str] = ("newest",),
    *,
    request: Request = DEFAULT_REQUEST,
    environments: Environments | None = None,
    output: str | os.PathLike[str] | None = None,
) -> Upgrade:
    """Run the same cases under an old and under new versions of JAX, and compare.

    Args:
        old: A version, or "installed", or "newest".
        new: Likewise.
        request: What to run.
        environments: Where; default: those in the user's cache folder.
        output: Folder to write the reports and comparisons to.

    Returns:
        All runs and comparisons. A version that cannot be installed does not keep the others from being run.

    Raises:
        UsageError: A version is none, or the installed one is asked for and there is none.
        BuildError: uv is not there, or the index cannot be asked.
    """
    environments = environments or Environments()
    first, *others = (resolve(name, environments.pre) for name in (old, *new))
    made = Upgrade.of([first, *dict.fromkeys(others)], request, environments)
    if output is not None:
        made.write(output)
    return made
