"""One run on several hosts: two processes on this machine, end with the report of one run, or say why not."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import broken_engines
import pandas as pd
import pytest

import chainback
from chainback import Verdict, verify
from chainback.errors import ChainbackError, UsageError
from chainback.reporting.report import Report

SUPPORT = Path(__file__).parents[1] / "support"
PATH = os.pathsep.join((str(SUPPORT), str(Path(chainback.__file__).parents[1])))
RUN: dict[str, Any] = {"ensembles": ["lecture", "kinks"], "cases": 400, "depths": [4]}
COMMAND = ("verify", "--ensembles", "lecture,kinks", "--cases", "400", "--depths", "4", "--output", "out")
ENGINES = ("--engines", "reverse-scan,triangular-substitution")
TABLES = ("tolerance", "steps", "agreement", "activations", "curves")


def start(process: int, port: int, *arguments: str, cwd: Path, **how: Any) -> subprocess.Popen[str]:
    """Start one of two processes."""
    where = ("--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process", str(process))
    return subprocess.Popen(
        [sys.executable, "-m", "chainback", *COMMAND, *where, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": PATH, "COLUMNS": "200"},
        **how,
    )


def ends(started: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a process; return its exit code and what it said."""
    try:
        out, err = started.communicate(timeout=150)
    except subprocess.TimeoutExpired:
        started.kill()
        raise
    return started.returncode, out, err


def both(port: int, *arguments: str, cwd: Path, second: tuple[str, ...] | None = None) -> list[tuple[int, str, str]]:
    """Run two processes; the second may be given other arguments."""
    started = [start(0, port, *arguments, cwd=cwd), start(1, port, *(second or arguments), cwd=cwd)]
    return [ends(process) for process in started]


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def rows(report: Report, table: str) -> pd.DataFrame:
    return getattr(report, table).drop(columns=["compile_s", "run_s"], errors="ignore")


def assert_same(found: Report, whole: Report) -> None:
    assert found.verdict is whole.verdict
    for table in TABLES:
        if not len(rows(whole, table)):
            assert not len(rows(found, table))
            continue
        pd.testing.assert_frame_equal(rows(found, table), rows(whole, table), check_exact=True, check_dtype=False)


def test_two_processes_find_what_one_finds(tmp_path, port) -> None:
    whole = verify(engines=["reverse-scan", "triangular-substitution"], **RUN)
    (code, out, err), (its_code, its_out, its_err) = both(port, *ENGINES, cwd=tmp_path)
    assert (code, err, its_code, its_err) == (whole.exit_code, "", whole.exit_code, "")
    assert str(whole.verdict).upper() in out
    assert its_out.startswith(str(whole.verdict).upper()), (
        "the second says the verdict, and leaves the report to the first"
    )
    made = Report.read(tmp_path / "out")
    assert_same(made, whole)
    assert made.environment["hosts"] == [{"cpu": 1}, {"cpu": 1}]
    assert (tmp_path / "out" / "report.html").exists()
    shares = [Report.read(tmp_path / "out" / f"shard-{k}-of-2") for k in (1, 2)]
    cases = [int(share.tolerance["cases"].sum()) for share in shares]
    assert min(cases) > 0, "each ran its own part"
    assert sum(cases) == int(whole.tolerance["cases"].sum())
    with pytest.raises(AssertionError):  # a share alone is not the whole
        assert_same(shares[0], whole)


def test_an_engine_that_crashes_is_rejected_and_nobody_is_lost(tmp_path, port) -> None:
    crashing = ("--engines", "none", "--engine", "saboteurs:segfaults", "--engine", "saboteurs:right")
    (code, out, err), (its_code, _, its_err) = both(port, *crashing, cwd=tmp_path)
    assert (code, its_code, err, its_err) == (1, 1, "", "")
    assert "the process died of SIGSEGV while it ran (batched)" in out
    made = Report.read(tmp_path / "out")
    assert made.complete
    verdicts = made.tolerance.groupby("engine")["verdict"].unique()
    assert {name: list(found) for name, found in verdicts.items()} == {
        "saboteurs:right": ["accepted"],
        "saboteurs:segfaults": ["rejected"],
    }
    assert len(made.environment["worker_deaths"]) >= 2, "on either host"


@pytest.mark.parametrize("left", [0, 1])
def test_a_process_that_is_killed_ends_the_other_with_a_sentence_and_nothing_is_lost(
    tmp_path, port, monkeypatch, left: int
) -> None:
    monkeypatch.chdir(tmp_path)  # where the sleeper leaves its sign
    slow = ("--engines", "none", "--engine", "broken_engines:sleeps")
    started = [start(process, port, *slow, cwd=tmp_path) for process in (0, 1)]
    deadline = time.monotonic() + 100
    while not (tmp_path / "called").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    killed = started[1 - left]
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    code, _, err = ends(started[left])
    assert code == 2
    assert err.startswith(f"chainback: process {left} of 2 lost the others (")
    assert err.endswith(f"what this one counted is in out/shard-{left + 1}-of-2: run all again with --resume\n")
    assert err.count("\n") == 1
    assert not (tmp_path / "out" / "tolerance.csv").exists(), "there is no report of a part"
    assert Report.read(tmp_path / "out" / f"shard-{left + 1}-of-2").complete
    again = both(port, *slow, "--resume", cwd=tmp_path)
    assert [code for code, _, _ in again] == [0, 0], again
    assert_same(Report.read(tmp_path / "out"), verify(engines=[broken_engines.sleeps], **RUN))


def test_a_process_that_cannot_run_is_named_in_the_report_of_the_others(tmp_path, port) -> None:
    right = ("--engines", "none", "--engine", "broken_engines:right")
    wrong = ("--engines", "none", "--engine", "nowhere:right")
    (code, out, _), (its_code, _, its_err) = both(port, *right, cwd=tmp_path, second=wrong)
    assert (code, its_code) == (3, 2)
    assert "engine 'nowhere:right' cannot be loaded" in its_err
    assert "INCOMPLETE: without 2/2; process 1 failed: engine 'nowhere:right' cannot be loaded" in " ".join(out.split())
    assert Report.read(tmp_path / "out").verdict is Verdict.UNDECIDED


def test_processes_of_two_runs_are_told_apart(tmp_path, port) -> None:
    right = ("--engines", "none", "--engine", "broken_engines:right")
    ended = both(port, *right, cwd=tmp_path, second=(*right, "--seed", "1"))
    for code, _, err in ended:
        assert (code, err) == (2, "chainback: process 1 is a shard of another run: it has another seed\n")


def test_a_process_that_nobody_meets_says_so(port) -> None:
    with pytest.raises(UsageError, match="the other processes were not met") as caught:
        verify(coordinator=f"127.0.0.1:{port}", processes=2, process=0, patience=2.0, **RUN)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"coordinator_address should be defined.*start all of them"):
        verify(distributed=True, **RUN)
    with pytest.raises(UsageError, match="`shard` cannot be chosen"):
        verify(distributed=True, shard="1/2", **RUN)


def test_a_process_that_stands_still_does_not_hold_the_others_up_for_ever(tmp_path, port, monkeypatch) -> None:
    monkeypatch.setattr("chainback.processes.hosts._SILENCE_S", 4.0)
    asked = ("--engines", "none", "--engine", "broken_engines:sleeps")
    other = start(1, port, *asked, cwd=tmp_path, start_new_session=True)

    def stop(done: int, *_: Any) -> None:
        if done:
            os.killpg(other.pid, signal.SIGSTOP)

    where: dict[str, Any] = {"coordinator": f"127.0.0.1:{port}", "processes": 2, "process": 0}
    try:
        with pytest.raises(
            ChainbackError, match=r"process 0 of 2 lost the others \(nothing was heard of them for 4 s\)"
        ):
            verify(**where, engines=["broken_engines:right"], progress=stop, **RUN)
    finally:
        os.killpg(other.pid, signal.SIGKILL)
        other.communicate()
