"""Continuous integration: annotations and step summary of GitHub Actions, and a JUnit file of sections.

Source: GitHub's documentation, "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable
from pathlib import Path

from chainback.reporting.files import write_text
from chainback.reporting.sections.section import Section

__all__ = ["announce", "write_junit"]

#: GitHub shows ten errors of a step.
_MOST = 10


def announce(summary: str, wrong: Iterable[tuple[str, str]], write_line: Callable[[str], None]) -> None:
    """Write a step summary, and an annotation for each fault, in a workflow of GitHub Actions; nothing elsewhere.

    Args:
        summary: In Markdown.
        wrong: (title, sentence) of each fault.
        write_line: Writes a line to standard output.
    """
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    if place := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(summary.rstrip() + "\n\n")
    for title, message in list(wrong)[:_MOST]:
        write_line(f"::error title={_escaped(title, ':,')}::{_escaped(message)}")


def _escaped(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


#: The element of a test case by its verdict, and where it is counted; a verdict that is not here is skipped.
_ELEMENTS = {"accepted": ("", ""), "rejected": ("failure", "failures"), "error": ("error", "errors")}


def write_junit(sections: Iterable[Section], path: str | os.PathLike[str]) -> None:
    """Write a JUnit file: the test cases of all sections.

    Raises:
        UsageError: The file cannot be written.
    """
    suite = ElementTree.Element("testsuite", name="chainback verify")
    counts: dict[str, int] = dict.fromkeys(("tests", "failures", "skipped", "errors"), 0)
    for test in (test for section in sections for test in section.tests):
        group = ".".join(filter(None, ("chainback", test.group)))
        case = ElementTree.SubElement(suite, "testcase", classname=group, name=test.name, time=str(test.seconds))
        counts["tests"] += 1
        element, counted = _ELEMENTS.get(test.verdict, ("skipped", "skipped"))
        if element:
            ElementTree.SubElement(case, element, message=test.message)
            counts[counted] += 1
    for name, count in counts.items():
        suite.set(name, str(count))
    write_text(Path(path), ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n")
