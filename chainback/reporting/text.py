"""Text of reports: numbers, Markdown tables, a row in words, the command that runs a case again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

__all__ = ["markdown_table", "number", "replay_command", "row_in_words"]

#: What a row says it is about and how far off it is, in this order.
_IN_WORDS = (
    *("engine", "engine_a", "engine_b", "ensemble", "depth", "width"),
    *("activation", "function", "quantity", "argument", "method", "execution", "second", "margin_max", "worst_z"),
    *("worst_x", "worst_y", "got", "expected"),
)
#: Numbers that are written with all their digits.
_EXACT = ("worst_x", "worst_y", "got", "expected")


def number(value: Any, exact: bool = False) -> str:
    """Write a number for people: three digits, or with `exact` as many as tell a float32 apart; – where there is none."""
    if exact:
        return f"{value:.9g}"
    return "–" if pd.isna(value) else f"{value:.3g}" if not 100 <= abs(value) < 1e5 else f"{value:,.0f}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; the first column holds words, the others figures."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def row_in_words(row: dict[str, Any]) -> str:
    """Return what a row of another table than `tolerance.csv` is about, and how far off it is."""
    parts = []
    for key in _IN_WORDS:
        value = row.get(key)
        if value is not None and value != "" and value == value:
            written = number(value, key in _EXACT) if isinstance(value, float) else value
            parts.append(f"{key.replace('_', ' ')} {written}")
    return ", ".join(parts)


def replay_command(environment: dict[str, Any], case_id: str, engine: str) -> str:
    """Return the command that runs one case of a report again, by one of the engines that its rows name.

    `replay` where it can: it judges by the device's own arithmetic, and by NumPy's truth.
    """
    truth = environment.get("truth", "")
    apart = ["--case", case_id, "--output", "chainback-case"]  # the report stays where it is
    judged_as = environment.get("judged_as")
    as_what = ["--judged-as", judged_as] if judged_as else []
    if engine.split(" for ")[0] == f"oracle@{truth}":
        return shlex.join(["chainback", "verify", "--truth", truth, *as_what, *apart])
    platform = engine.rpartition("@")[2]
    options = ["--platform", platform] if platform in environment.get("platforms", {}) else []
    name = engine.removesuffix(f"@{platform}") if options else engine
    own = ["--engines", "none", "--engine", name] if ":" in name else ["--engines", name]
    if as_what:
        return shlex.join(["chainback", "verify", *as_what, *apart, *own, *options])
    return shlex.join(["chainback", "replay", case_id, *own, *options])
