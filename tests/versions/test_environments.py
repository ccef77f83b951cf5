"""A request in another environment: how it gets there, and what its result is kept by."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chainback.errors import UsageError
from chainback.running.request import Request
from chainback.versions.environments import DEFAULT_REQUEST, Environments
from chainback.versions.source import NOT_DECIDING, PACKAGE, deciding_digest


def started(monkeypatch: pytest.MonkeyPatch, folder: Path, request: Request, **how: Any) -> tuple[str, dict[str, str]]:
    """Return the command and the environment variables with which a request is run."""
    seen: list[tuple[str, dict[str, str]]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        seen.append((" ".join(command), options["env"]))
        return subprocess.CompletedProcess(command, 2, "", "chainback: no")

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", run)
        failure = Environments(folder, **how)._run(Path("python"), request, folder / "result")
    assert failure == "it ended with exit code 2: chainback: no"
    return seen[0]


def test_the_request_and_the_flags_reach_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(cases=7, seed=2, engines=("all", "mine:gradients"), platform="cpu")
    command, variables = started(monkeypatch, tmp_path, request, xla_flags="--xla_x=1")
    for option in ("--engine mine:gradients", "--platform cpu", "--cases 7", "--seed 2", "--quiet", "--output "):
        assert option in command
    assert variables["XLA_FLAGS"] == "--xla_x=1"
    assert [path.name for path in Path(variables["PYTHONPATH"]).iterdir()] == ["chainback"], "no other package is there"
    monkeypatch.setenv("XLA_FLAGS", "--xla_y=2")
    command, variables = started(monkeypatch, tmp_path, Request(case="lecture@1:0:3x1:0:1/9"))
    assert "--case lecture@1:0:3x1:0:1/9" in command
    assert variables["XLA_FLAGS"] == "--xla_y=2"


def test_other_cases_flags_or_packages_are_another_result(tmp_path: Path) -> None:
    python = tmp_path / "environment" / "bin" / "python"
    packages = python.parents[1] / "lib" / "python3.11" / "site-packages"
    (packages / "jax-1.dist-info").mkdir(parents=True)

    def place(request: Request = DEFAULT_REQUEST, flags: str = "") -> Path:
        return Environments(tmp_path, xla_flags=flags)._result_folder("1", "3.11", python, request)

    first = place()
    assert place() == first
    assert place(replace(DEFAULT_REQUEST, output=tmp_path)) == first
    assert place(replace(DEFAULT_REQUEST, seed=1)) != first
    assert place(flags="--xla_x=1") != first
    (packages / "numpy-9.dist-info").mkdir()
    assert place() != first


def test_an_engine_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"name it as package\.module:name"):
        Environments(tmp_path)._result_folder("1", "3.11", tmp_path / "bin" / "python", Request(engines=[len]))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("source") / "chainback"
    shutil.copytree(PACKAGE, made, ignore=shutil.ignore_patterns("__pycache__"))
    return made


def digest_after(package: Path, file: str) -> str:
    """Return the digest of the package with a line more in a file."""
    path = package / file
    before = path.read_bytes()
    path.write_bytes(before + b"\n# a planted change\n")
    try:
        return deciding_digest(package)
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(
    "file",
    [
        *("reporting/pages/report.css", "reporting/pages/charts.py", "reporting/ci.py", "reporting/text.py"),
        *(
            "cli/main.py",
            "cli/verify.py",
            "versions/upgrade.py",
            "diagnosis/replay.py",
            "studies/audit.py",
            "__main__.py",
        ),
    ],
)
def test_a_change_of_what_only_shows_keeps_results(copy: Path, file: str) -> None:
    assert digest_after(copy, file) == deciding_digest(copy) == deciding_digest()


@pytest.mark.parametrize(
    "file",
    [
        *("errors.py", "environment.py", "operations/arithmetic.py", "operations/function_truth.npz"),
        *("problems/chain.py", "truth/chain_bound.py", "engines/triangular.py", "judging/judgement.py"),
        *("processes/worker.py", "running/campaign.py", "reporting/report.py"),
        *("reporting/schema.py", "reporting/rows.py", "reporting/files.py", "reporting/shards.py"),
    ],
)
def test_a_change_of_what_decides_a_result_does_not(copy: Path, file: str) -> None:
    assert digest_after(copy, file) != deciding_digest(copy)


def test_a_new_room_decides_results_until_it_is_named(copy: Path) -> None:
    before = deciding_digest(copy)
    (copy / "new_room").mkdir()
    (copy / "new_room" / "new.py").touch()
    assert deciding_digest(copy) != before
    shutil.rmtree(copy / "new_room")


def test_what_is_named_is_there() -> None:
    assert [name for name in NOT_DECIDING if not (PACKAGE / name).exists()] == []
