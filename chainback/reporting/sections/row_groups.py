"""Rows of one kind, each with a verdict: the sentence that counts them, what is rejected, and each as a test case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainback.judging.judgement import Verdict
from chainback.reporting.rows import Row, grouped, sharp_share
from chainback.reporting.sections.section import JunitCase, Section
from chainback.reporting.text import row_in_words

__all__ = ["MOST_ALARMS", "RowGroup", "section_of"]

#: How many rejections of one kind are printed.
MOST_ALARMS = 4
#: The verdicts on a function that are no alarm, and none on an engine.
_NO_ALARM = (Verdict.KNOWN, Verdict.NOT_THERE)


@dataclass(frozen=True)
class RowGroup:
    """Rows of one kind.

    Attributes:
        name: What they are called, in the plural: "pairs of engines".
        rows: The rows.
    """

    name: str
    rows: Sequence[Row]

    def sentence(self) -> str:
        """Return how many rows have which verdict; empty without rows."""
        if not self.rows:
            return ""
        judged = grouped(self.rows, "verdict")
        right, wrong = (len(judged.get(str(verdict), [])) for verdict in (Verdict.ACCEPTED, Verdict.REJECTED))
        other = "".join(f", {len(judged[v])} {v}" for v in map(str, _NO_ALARM) if v in judged)
        sharp = f"; {share:.1%} sharp" if (share := sharp_share(self.rows)) == share else ""
        return f"{self.name}: {right} of {len(self.rows)} rows accepted, {wrong} rejected{other}{sharp}."

    def alarms(self) -> list[str]:
        """Return the first rejected rows in words, and how many more there are."""
        wrong = [row for row in self.rows if row["verdict"] == str(Verdict.REJECTED)]
        lines = [f"REJECTED {self.name}: {row_in_words(row)}" for row in wrong[:MOST_ALARMS]]
        return lines + ([f"and {len(wrong) - MOST_ALARMS} {self.name} more."] if len(wrong) > MOST_ALARMS else [])

    def tests(self) -> list[JunitCase]:
        """Return each row as a test case."""
        return [JunitCase(self.name, row_in_words(row), row["verdict"], row["verdict"]) for row in self.rows]


def section_of(title: str, *groups: RowGroup, sentences: Sequence[str] = ()) -> Section:
    """Return a section on groups of rows: how many are accepted, and which are not; without tables."""
    return Section(
        title,
        sentences=[*filter(None, (group.sentence() for group in groups)), *sentences],
        alarms=[line for group in groups for line in group.alarms()],
        tests=[test for group in groups for test in group.tests()],
    )
