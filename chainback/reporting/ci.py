"""GitHub Actions: the step summary, and an annotation for each thing that is wrong.

Source: GitHub's documentation, "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["announce"]

#: GitHub shows ten errors of a step.
_MOST = 10


def announce(summary: str, wrong: Iterable[tuple[str, str]], say: Callable[[str], None]) -> None:
    """Write a step summary and say what is wrong, where a workflow of GitHub Actions runs this; nothing elsewhere.

    Args:
        summary: In Markdown.
        wrong: (title, what is wrong), for each thing that is.
        say: Prints a line to standard output.
    """
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    if place := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(summary.rstrip() + "\n\n")
    for title, message in list(wrong)[:_MOST]:
        say(f"::error title={_escaped(title, ':,')}::{_escaped(message)}")


def _escaped(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
