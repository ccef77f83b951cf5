"""The history over made-up versions: what each changed, and what the tables hold."""

import io
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import chainback.versions.history as history_module
from chainback import history, verify
from chainback.errors import UsageError
from chainback.reporting.files import read_csv
from chainback.reporting.reading import read
from chainback.reporting.report import Report
from chainback.running.request import Request
from chainback.versions.environments import Environments, Run

VERSIONS = ["0.5", "0.6", "0.7", "0.8"]


@cache
def report() -> Report:
    return verify(engines=["reverse-scan", "triangular-substitution"], ensembles=["lecture"], cases=60, samples=False)


def made(jax: str) -> Report:
    """0.6 gives other bits, 0.7 a wrong engine and a slope that lost its digits, 0.8 is as 0.5 was."""
    tolerance, activations = report().tolerance.copy(), report().activations.copy()
    if jax == "0.6":
        tolerance["digest"] = "0123456789abcdef"
    if jax == "0.7":
        wrong = tolerance["engine"] == "reverse-scan"
        tolerance.loc[wrong, ["verdict", "rejected"]] = ["rejected", 2]
        tolerance.loc[wrong, "note"] = "lecture@1:0:3x1:0:1: it is wrong"
        softplus = (activations["activation"] == "softplus") & (activations["quantity"] == "slope")
        activations.loc[softplus, "error_u_rms"] = 9e6
        activations.loc[softplus, "digest"] = "0"
    for frame in (tolerance, activations):
        frame["jax"] = jax
    code = int(jax == "0.7")
    environment = report().environment | {"exit_code": code, "jax": jax}
    return replace(report(), tolerance=tolerance, activations=activations, environment=environment)


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: Environments, jax: str, request: Request) -> Run:
        if jax not in VERSIONS:
            return Run(jax, failure=f"there is no version of jax=={jax}")
        made(jax).write(tmp_path / jax)
        return Run(jax, "3.12.1", read(tmp_path / jax), seconds=10.0)

    monkeypatch.setattr(Environments, "run", run)


@pytest.mark.usefixtures("made_up")
def test_a_history_names_what_each_version_changed(tmp_path: Path) -> None:
    found = history(VERSIONS, output=tmp_path / "history")
    assert found.exit_code == 0
    changes = list(found._changes())
    assert not any(line.startswith("0.6") for line in changes), "other bits within the bound are counted, not named"
    assert any(line.startswith("0.7: worse: tolerance reverse-scan rejected") for line in changes)
    assert any("0.7: worse: activations softplus drifted" in line and "9e+06" in line for line in changes)
    assert any(line.startswith("0.8: tolerance reverse-scan mended") for line in changes)
    versions = found.versions().set_index("jax")
    assert versions["verdict"].tolist() == ["accepted", "accepted", "rejected", "accepted"]
    assert versions.loc["0.6", "within_bound"] == len(report().tolerance)
    assert versions.loc["0.7", "rejected"] > 0
    page = (tmp_path / "history" / "README.md").read_text()
    assert "| 0.7 | 3.12.1 | rejected |" in page
    assert "| softplus: slope forward jitted, slope forward eager, " in page
    assert "sin value" not in page, "what did not move is not on the page"


@pytest.mark.usefixtures("made_up")
def test_the_tables_read_back(tmp_path: Path) -> None:
    found = history(VERSIONS, output=tmp_path / "history")
    engines = read_csv(tmp_path / "history" / "engines.csv", whole=True)
    assert len(engines) == 2 * len(VERSIONS)
    scan = engines[engines["engine"] == "reverse-scan"].set_index("jax")
    assert scan["verdict"].tolist() == ["accepted", "accepted", "rejected", "accepted"]
    assert scan.loc["0.5", "digest"] == scan.loc["0.8", "digest"] != scan.loc["0.6", "digest"]
    assert np.isfinite(engines["run_ns_per_layer"]).all()
    sweeps = found.sweeps().set_index(["subject", "row"])
    assert sweeps.loc[("softplus", "slope forward jitted"), "0.7"] == "9e+06"
    assert len(sweeps) == len(report().activations)
    changes = read_csv(tmp_path / "history" / "changes.csv", whole=True)
    assert set(changes["outcome"]) == {"rejected", "drifted", "mended"}


@pytest.mark.usefixtures("made_up")
def test_a_version_that_cannot_be_built_is_named_and_passed_over(tmp_path: Path) -> None:
    found = history(["0.5", "0.55", "0.6"], output=tmp_path / "history")
    assert (found.exit_code, list(found.comparisons)) == (5, ["0.6"])
    assert "* 0.55 did not run: there is no version of jax==0.55" in found.markdown()


def test_a_history_needs_two_versions() -> None:
    with pytest.raises(UsageError, match=r"two versions or more, got 0\.5"):
        history_module.history(["0.5"])


@pytest.mark.usefixtures("made_up")
def test_eighty_columns_hold_the_whole_table() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    history(VERSIONS).print(console)
    text = console.export_text()
    assert "…" not in text
    for words in ("identical", "within", "drifted", "rejected", "a layer", "accepted", "0.5"):
        assert words in text
