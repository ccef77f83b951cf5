"""What a check of a function found: its rows, its rejections, and how they are printed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from chainback.judging.blocks import Block
from chainback.judging.judgement import Verdict, exit_code

__all__ = ["Check", "Row"]

_COLUMNS = ("question", "transform", "execution", "components", "margin", "sharp", "verdict")
_NUMBERS = ("components", "margin", "sharp")
#: How many rejections are printed.
_SHOWN = 4
_STYLES = {Verdict.ACCEPTED: "green", Verdict.REJECTED: "bold red", Verdict.UNDECIDED: "yellow"}


@dataclass(frozen=True)
class Row:
    """One block under one question.

    Attributes:
        question: value, rule, execution or program.
        transform: reverse, forward, or "".
        execution: jitted, un-jitted, vmapped, or how it was read.
        name: The block, as a path: `params['w2']`.
        block: What came of it.
        culprit: Which rule, or equation, is to blame, where that is known.
    """

    question: str
    transform: str
    execution: str
    name: str
    block: Block
    culprit: str = ""

    def blamed(self, culprit: str) -> Row:
        """Return the row with its culprit."""
        return replace(self, culprit=culprit)

    def __str__(self) -> str:
        how = ", ".join(filter(None, (self.transform, self.execution)))
        worst = self.block.worst
        if worst is None:
            said = self.block.why
        else:
            said = (
                f"{self.name}{worst.component}: got {worst.got:.9g}, expected {worst.expected:.9g} ± {worst.bound:.2g} "
                f"({worst.by}); "
                f"{worst.wrong:,} of {self.block.components:,} components are wrong"
            )
        return f"{self.question} ({how}): {said}" + (f"; {self.culprit}" if self.culprit else "")


def _together(blocks: Sequence[Block]) -> Verdict:
    found = {block.verdict for block in blocks}
    return next((verdict for verdict in (Verdict.REJECTED, Verdict.UNDECIDED) if verdict in found), Verdict.ACCEPTED)


@dataclass(frozen=True)
class Check:
    """The check of one function at one input.

    Attributes:
        name: Of the function.
        rows: One a question, transform, execution and block.
        undecided: Why nothing could be decided, or "".
        false_alarm: The probability that sampled bounds reject anything right.
    """

    name: str
    rows: tuple[Row, ...]
    undecided: str = ""
    false_alarm: float = 0.0

    @property
    def rejections(self) -> tuple[Row, ...]:
        """The rows that were rejected."""
        return tuple(row for row in self.rows if row.block.verdict is Verdict.REJECTED)

    @property
    def verdict(self) -> Verdict:
        """Rejected if one row is; accepted if there are rows and all are."""
        if self.rejections:
            return Verdict.REJECTED
        if self.rows and all(row.block.verdict is Verdict.ACCEPTED for row in self.rows):
            return Verdict.ACCEPTED
        return Verdict.UNDECIDED

    @property
    def accepted(self) -> bool:
        """Whether the verdict is accepted."""
        return self.verdict is Verdict.ACCEPTED

    @property
    def exit_code(self) -> int:
        """0 accepted, 1 rejected, 3 undecided."""
        return exit_code(self.verdict)

    def assert_accepted(self) -> None:
        """Raise AssertionError, with what is wrong, unless the check was accepted."""
        if not self.accepted:
            raise AssertionError(str(self))

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a table."""
        rows = []
        for row in self.rows:
            facts = asdict(row.block)
            worst = facts.pop("worst") or {}
            rows.append(
                {
                    "function": self.name,
                    "question": row.question,
                    "transform": row.transform,
                    "execution": row.execution,
                    "block": row.name,
                    **facts,
                    **worst,
                    "culprit": row.culprit,
                }
            )
        frame = pd.DataFrame(rows)
        return frame.assign(verdict=frame["verdict"].map(str)) if len(frame) else frame

    def print(self, console: Console | None = None) -> None:
        """Print it as a table."""
        (console or Console()).print(self)

    def _lines(self) -> Iterator[tuple[str, str, str, list[Block]]]:
        groups: dict[tuple[str, str, str], list[Block]] = {}
        for row in self.rows:
            groups.setdefault((row.question, row.transform, row.execution), []).append(row.block)
        for key, blocks in groups.items():
            yield *key, blocks

    def __rich__(self) -> RenderableType:
        table = Table(
            title=f"check of {self.name}",
            title_justify="left",
            title_style="",
            caption=self._judged_by(),
            caption_justify="left",
            box=SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for column in _COLUMNS:
            table.add_column(column, justify="right" if column in _NUMBERS else "left", no_wrap=True)
        for question, transform, execution, blocks in self._lines():
            verdict = _together(blocks)
            n = sum(block.components for block in blocks)
            margin = max((block.margin for block in blocks), default=float("nan"))
            sharp = f"{sum(block.sharp for block in blocks) / n:.0%}" if n else "–"
            cells = [question, transform, execution, f"{n:,}", f"{margin:.2g}", sharp]
            table.add_row(*cells, Text(str(verdict), style=_STYLES[verdict]))
        wrong = [Text.assemble(("REJECTED ", "bold red"), str(row)) for row in self.rejections[:_SHOWN]]
        if len(self.rejections) > _SHOWN:
            wrong.append(Text(f"and {len(self.rejections) - _SHOWN} more: see `to_frame()`."))
        open_ = [Text(f"UNDECIDED: {self.undecided}.", style="yellow")] if self.undecided else []
        return Group(table, *wrong, *open_, Text(str(self.verdict).upper(), style=_STYLES[self.verdict]))

    def _judged_by(self) -> str:
        """Say by which bounds the components were judged."""
        blocks = [row.block for row in self.rows]
        n = sum(block.derived + block.sampled for block in blocks)
        if not n:
            return ""
        derived, sampled, kinks = (
            sum(getattr(b, name) for b in blocks) / n for name in ("derived", "sampled", "at_kinks")
        )
        said = f"Judged by derived bounds: {derived:.1%}; by sampled ones: {sampled:.1%}"
        if sampled:
            said += f" (probability of a false alarm in all: {self.false_alarm:.0e})"
        return said + (f"; at kinks: {kinks:.1%}." if kinks else ".")

    def __str__(self) -> str:
        console = Console(width=120, file=io.StringIO())
        with console.capture() as captured:
            console.print(self)
        return captured.get()
