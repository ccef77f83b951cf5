"""Baselines: taken where nothing is worse, else only with a reason, which stays."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import chainback.versions.baseline as baseline_module
from chainback import baseline, verify
from chainback.errors import UsageError
from chainback.reporting.files import read_csv
from chainback.reporting.report import Report

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@cache
def report(seed: int = 0) -> Report:
    return verify(
        engines=["reverse-scan"],
        ensembles=["lecture"],
        depths=[3],
        cases=40,
        seed=seed,
        activations=False,
        samples=False,
    )


def changed(**values: Any) -> Report:
    return replace(report(), tolerance=report().tolerance.assign(**values))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the next run give a report; return what it was asked for."""
    asked: list[dict[str, Any]] = []

    def gives(made: Report) -> list[dict[str, Any]]:
        monkeypatch.setattr(baseline_module, "verify", lambda **arguments: asked.append(arguments) or made)
        return asked

    return gives


def refresh(folder: Path, reason: str = "", **arguments: Any) -> Any:
    return baseline(folder, reason=reason, clock=lambda: NOON, **arguments)


def reasons(folder: Path) -> list[str]:
    return [entry["reason"] for entry in json.loads((folder / "environment.json").read_text())["baseline"]]


def test_what_is_worse_is_taken_only_with_a_reason_and_the_reason_stays(run: Any, tmp_path: Path) -> None:
    run(report())
    assert refresh(tmp_path).taken
    assert refresh(tmp_path).taken
    run(changed(verdict="undecided", digest="0123456789abcdef"))
    refused = refresh(tmp_path)
    assert (refused.taken, refused.exit_code) == (False, 3)
    assert refused.sentence.startswith("Not taken: 1 rows are worse: look")
    assert read_csv(tmp_path / "tolerance.csv")["digest"].tolist() == report().tolerance["digest"].tolist()
    taken = refresh(tmp_path, "the family grew")
    assert (taken.taken, taken.exit_code, taken.sentence) == (True, 0, "Taken: the family grew.")
    assert read_csv(tmp_path / "tolerance.csv")["digest"].tolist() == ["0123456789abcdef"]
    run(report())
    assert refresh(tmp_path).taken
    assert reasons(tmp_path) == ["the first", "nothing is worse", "the family grew", "nothing is worse"]
    entry = json.loads((tmp_path / "environment.json").read_text())["baseline"][2]
    assert (entry["time"], entry["worse"]) == ("2026-01-02T12:00:00+00:00", 1)


def test_a_drift_is_worse(run: Any, tmp_path: Path) -> None:
    run(report())
    refresh(tmp_path)
    moved = float(report().tolerance["error_u_mean"][0]) + 1e9
    run(changed(error_u_mean=moved, digest="0"))
    refused = refresh(tmp_path)
    assert (refused.taken, refused.exit_code) == (False, 1)


def test_the_first_one_must_be_accepted(run: Any, tmp_path: Path) -> None:
    run(changed(verdict="rejected", rejected=1))
    refused = refresh(tmp_path)
    assert (refused.taken, refused.exit_code, refused.comparison) == (False, 1, None)
    assert not (tmp_path / "tolerance.csv").exists()


def test_an_unfinished_run_is_never_taken(run: Any, tmp_path: Path) -> None:
    run(replace(report(), environment=report().environment | {"complete": False}))
    assert refresh(tmp_path, "whatever").exit_code == 3
    assert not (tmp_path / "tolerance.csv").exists()


def test_it_runs_what_it_ran_before(run: Any, tmp_path: Path) -> None:
    asked = run(report())
    refresh(tmp_path)
    refresh(tmp_path)
    assert [(a["cases"], a["seed"], a["functions"]) for a in asked] == [(20_000, 0, True), (40, 0, False)]


def test_to_start_anew_needs_a_reason(run: Any, tmp_path: Path) -> None:
    run(report())
    refresh(tmp_path)
    run(report(seed=1))
    with pytest.raises(UsageError, match=r"cannot be compared: seed 0 .* say why it is to start anew with --reason"):
        refresh(tmp_path)
    assert refresh(tmp_path, "other cases").taken
