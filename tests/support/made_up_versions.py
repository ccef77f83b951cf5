"""Versions of JAX that are made up: an index that offers them, and a report for each that is made of its number."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from chainback import verify
from chainback.judging.tally import Rejection, RowKey
from chainback.reporting.reading import read
from chainback.reporting.report import Report
from chainback.running.request import Request
from chainback.versions import bisection, packages
from chainback.versions.environments import Environments, Run

OFFERED = ["1.5.0", "1.4.1", "1.4.0", "1.3.0", "1.2.0", "1.1.0", "1.0.0"]


@cache
def report() -> Report:
    return verify(
        engines=["reverse-scan"], ensembles=["lecture"], depths=[3], cases=40, activations=False, samples=False
    )


def changed(of: Report, **values: Any) -> Report:
    return replace(of, tolerance=of.tolerance.assign(**values))


def rejected_from(first: str) -> Callable[[str], Report]:
    wrong = changed(report(), verdict="rejected", rejected=1)
    key = (wrong.tolerance[name][0] for name in RowKey._fields)
    rejection = Rejection(*key, 0, wrong.tolerance["worst_case"][0], reason="wrong")
    wrong = replace(wrong, rejections=(rejection,), environment=wrong.environment | {"rejections": 1})
    return lambda jax: wrong if OFFERED.index(jax) <= OFFERED.index(first) else report()


class MadeUp:
    """Stands for the index and for every environment: `of` makes the report of a version, `broken` cannot be built."""

    def __init__(self, folder: Path, of: Callable[[str], Report], broken: tuple[str, ...] = ()) -> None:
        self.folder, self.of, self.broken = folder, of, broken
        self.versions: list[str] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (bisection, packages):
            monkeypatch.setattr(module, "offered", lambda pre: OFFERED)
        monkeypatch.setattr(Environments, "run", lambda _, jax, request: self.run(jax, request))

    def run(self, jax: str, request: Request) -> Run:
        self.versions.append(jax)
        if jax in self.broken:
            return Run(jax, failure=f"there is no version of jax=={jax}")
        made = self.of(jax)
        code = {"accepted": 0, "rejected": 1}[made.tolerance["verdict"][0]]
        made = replace(made, environment=made.environment | {"exit_code": code})
        made.write(self.folder / jax)
        return Run(jax, "3.11", read(self.folder / jax))
