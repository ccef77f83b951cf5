"""What a workflow of GitHub Actions is told."""

from pathlib import Path

import pytest

from chainback.reporting.ci import announce

WRONG = [("jax, it: is", "100 % wrong\nhere"), *[(f"more {i}", "") for i in range(20)]]


def test_a_workflow_gets_a_summary_and_annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    said: list[str] = []
    announce("### first", WRONG, said.append)
    announce("### second\n", [], said.append)
    assert said[0] == "::error title=jax%2C it%3A is::100 %25 wrong%0Ahere"
    assert len(said) == 10
    assert (tmp_path / "summary").read_text() == "### first\n\n### second\n\n"


def test_elsewhere_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    said: list[str] = []
    announce("### first", WRONG, said.append)
    assert said == []
    assert not (tmp_path / "summary").exists()
