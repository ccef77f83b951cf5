"""Text of reports: numbers, Markdown tables, a row in words, the command that runs a case again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

__all__ = [
    "fact_text",
    "is_number",
    "markdown_table",
    "number",
    "replay_command",
    "row_in_words",
    "run_details",
    "run_title",
]

#: The columns that name a row, and those that say how far off it is, in this order.
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


def run_title(environment: dict[str, Any]) -> str:
    """Return which JAX ran, where, and with which seed, in a line."""
    packages = environment.get("packages", {})
    where = " and ".join(environment.get("platforms", [environment.get("platform", "?")]))
    return (
        f"jax {packages.get('jax', '?')}, {environment.get('device_kind', '?')} ({where}), "
        f"matmul precision {environment.get('matmul_precision', '?')}, seed {environment.get('seed', '?')}"
    )


def run_details(environment: dict[str, Any]) -> str:
    """Return when the run was, and what else produced it, in a line."""
    model = environment.get("processor", {}).get("model", "")
    packages = environment.get("packages", {})
    asked = "" if environment.get("complete") else " asked for"
    parts = (
        environment.get("time", ""),
        f"Python {environment['python']}" if "python" in environment else "",
        f"jaxlib {packages['jaxlib']}" if "jaxlib" in packages else "",
        ", ".join(filter(None, (environment.get("system", ""), environment.get("machine", ""), model))),
        f"{environment['cases']:,} cases{asked}" if "cases" in environment else "",
        " ".join(f"{name}={value}" for name, value in environment.get("variables", {}).items()),
    )
    return " · ".join(filter(None, parts))


def fact_text(fact: Any) -> str:
    """Return a fact of an environment in words."""
    if isinstance(fact, dict):
        return ", ".join(f"{name} {fact_text(value)}" for name, value in fact.items()) or "none"
    if isinstance(fact, list | tuple):
        return ", ".join(map(fact_text, fact)) or "none"
    return "default" if fact is None else str(fact)


def is_number(text: str) -> bool:
    """Whether a column's name, or a cell, is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
