"""Case ids: the text that names a random case, and alone rebuilds it.

An id reads `lecture@1:0:8x1:3:17/128`: ensemble and version, seed, depth × width, number of the batch, row in it, and
(optionally) how many rows it was judged among.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

from chainback.errors import UsageError

__all__ = ["BatchIds", "CaseId"]


class CaseId(NamedTuple):
    """The parts of a case id.

    Attributes:
        ensemble: Name of the ensemble.
        version: Its version.
        seed: Of the run.
        depth: Layers of the chain, padding included.
        width: Of every state.
        batch: Number of the batch, from 0.
        row: Row in the batch, from 0.
        rows: How many rows the batch had when it was judged, or None.
    """

    ensemble: str
    version: int
    seed: int
    depth: int
    width: int
    batch: int
    row: int
    rows: int | None

    _PATTERN = re.compile(r"(\w+)@(\d+):(\d+):(\d+)x(\d+):(\d+):(\d+)(?:/(\d+))?")

    @classmethod
    def parse(cls, text: str) -> CaseId:
        """Read an id.

        Raises:
            UsageError: The text is no case id.
        """
        match = cls._PATTERN.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"case id {text!r} is none: one reads like lecture@1:0:8x1:3:17")
        name, *numbers = match.groups()
        version, seed, depth, width, batch, row = (int(number) for number in numbers[:6])
        rows = None if numbers[6] is None else int(numbers[6])
        if depth < 1 or width < 1 or (rows is not None and row >= rows):
            raise UsageError(f"case id {text!r} is none: its depth, width and row must be ones that a batch can have")
        return cls(name, version, seed, depth, width, batch, row, rows)

    def __str__(self) -> str:
        rows = "" if self.rows is None else f"/{self.rows}"
        return f"{self.ensemble}@{self.version}:{self.seed}:{self.depth}x{self.width}:{self.batch}:{self.row}{rows}"


@dataclass(frozen=True)
class BatchIds(Sequence[str]):
    """The ids of a whole batch, as a sequence that makes each text when it is indexed.

    Attributes:
        first: The id of row 0; its `rows` is the size of the batch.
    """

    first: CaseId

    def __len__(self) -> int:
        return self.first.rows or 1

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[str, ...]: ...
    def __getitem__(self, row: int | slice) -> str | tuple[str, ...]:
        rows = range(len(self))[row]
        return str(self.first._replace(row=rows)) if isinstance(rows, int) else tuple(self[i] for i in rows)
