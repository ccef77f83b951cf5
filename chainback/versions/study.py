"""The same cases under several versions of JAX, each compared with the first or with the one before."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, Self

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from chainback.reporting.comparison import Comparison, compare
from chainback.running.request import Request
from chainback.versions.environments import Environments, Run

__all__ = ["VersionStudy"]


@dataclass(frozen=True)
class VersionStudy(ABC):
    """Runs of the same cases under several versions of JAX.

    Attributes:
        runs: The first is what `against` calls so.
        against: Whether each is compared with the first of them or with the previous one that ran.
        header: Names of the columns of the table of versions.
    """

    runs: tuple[Run, ...]

    against: ClassVar[Literal["first", "previous"]]
    header: ClassVar[tuple[str, ...]]

    @classmethod
    def of(cls, versions: Sequence[str], request: Request, environments: Environments) -> Self:
        """Run a request under each version, under the same one once."""
        runs = {name: environments.run(name, request) for name in dict.fromkeys(versions)}
        return cls(tuple(runs[name] for name in versions))

    @property
    def ran(self) -> list[Run]:
        """The runs that brought a report."""
        return [run for run in self.runs if run.reading is not None]

    @property
    def failed(self) -> list[Run]:
        """The runs that did not, each with its reason."""
        return [run for run in self.runs if run.reading is None]

    @cached_property
    def comparisons(self) -> dict[str, Comparison]:
        """By version: the comparison with the first version, or with the one before."""
        first = [(self.runs[0], run) for run in self.runs[1:]]
        pairs = first if self.against == "first" else zip(self.ran, self.ran[1:], strict=False)
        return {
            new.jax: compare(old.reading.name, new.reading.name)
            for old, new in pairs
            if old.reading is not None and new.reading is not None
        }

    @property
    def exit_code(self) -> int:
        """0, or 5 where an environment could not be built."""
        return 5 if self.failed else 0

    @abstractmethod
    def rows(self) -> list[list[str]]:
        """Return the cells of the table of versions, a row for each run."""

    @abstractmethod
    def markdown(self) -> str:
        """Return what is printed as Markdown."""

    @abstractmethod
    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write tables and pages.

        Raises:
            UsageError: The folder cannot be written.
        """

    def print(self, console: Console | None = None) -> None:
        """Print the table of versions, why any did not run, and what changed."""
        (console or Console()).print(self)

    def __rich__(self) -> RenderableType:
        failures = (Text(f"{run.jax}: {run.failure}", style="yellow") for run in self.failed)
        return Group(self._table(), *failures, *self._details())

    @abstractmethod
    def _table(self) -> Table:
        """Return the table of versions as a terminal shows it."""

    @abstractmethod
    def _details(self) -> Iterable[RenderableType]:
        """Return what is printed below the table of versions."""
