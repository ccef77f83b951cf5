"""The commands as a user runs them: in a process of their own, by exit code and by what they print."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

import chainback

SUPPORT = Path(__file__).parents[1] / "support"
#: Where a command finds the broken engines, and the chainback that the tests import.
PATH = os.pathsep.join((str(SUPPORT), str(Path(chainback.__file__).parents[1])))
FAST = ("--engines", "none", "--engine", "broken_engines:right", "--depths", "3")


def run(*arguments: str, cwd: Path, timeout: float = 240, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": PATH, "COLUMNS": "80", **variables}
    return subprocess.run(
        [sys.executable, "-m", "chainback", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=timeout,
        check=False,
    )


def test_an_accepted_run(tmp_path) -> None:
    done = run("verify", "--cases", "2e2", *FAST, "--output", "out", "--junit", "ci/junit.xml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ACCEPTED" in done.stdout
    assert "broken_engines:right" in done.stdout
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"tolerance.csv", "agreement.csv", "environment.json"}
    assert (tmp_path / "ci" / "junit.xml").exists()
    assert done.stderr == ""


def test_a_rejected_run_tells_what_and_how_to_look_closer(tmp_path) -> None:
    arguments = (
        "verify",
        "--cases",
        "100",
        "--engines",
        "none",
        "--engine",
        "broken_engines:scaled_bias",
        "--depths",
        "3",
        "--quiet",
    )
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "REJECTED broken_engines:scaled_bias (batched) on lecture@1:0:3x1:" in done.stdout.replace("\n", " ")
    assert "Traceback" not in done.stdout + done.stderr
    command = next(line for line in done.stdout.splitlines() if line.startswith("Look closer: chainback "))
    again = run(*command.removeprefix("Look closer: chainback ").split(), cwd=tmp_path)
    assert again.returncode == 1
    assert "db_1[0]: got" in again.stdout
    assert "Smallest chain found on which broken_engines:scaled_bias still fails: 1 layer of width 1" in " ".join(
        again.stdout.split()
    )
    reproducer = again.stdout[again.stdout.index("# broken_engines:scaled_bias with jax") :]
    code = [sys.executable, "-c", reproducer]
    alone = subprocess.run(code, capture_output=True, text=True, cwd=SUPPORT, timeout=120, check=False)
    assert alone.stdout.strip().endswith("WRONG"), alone.stderr


def test_compare_and_its_exit_codes(tmp_path) -> None:
    for name, arguments in (
        ("right", ("--engines", "triangular-dense")),
        ("fewer", ("--engines", "none")),
        ("other", ("--engines", "none", "--seed", "1")),
    ):
        asked = (
            "--cases",
            "40",
            "--engine",
            "broken_engines:right",
            *arguments,
            "--depths",
            "3",
            "--ensembles",
            "lecture",
        )
        run("verify", *asked, "--output", name, "--quiet", cwd=tmp_path)
    same = run("compare", "right", "right", cwd=tmp_path)
    assert same.returncode == 0, same.stderr
    assert "NOTHING WORSE" in same.stdout
    summary = tmp_path / "summary.md"
    worse = run(
        *("compare", "right/tolerance.csv", "fewer", "--markdown", "--output", "changes.csv"),
        cwd=tmp_path,
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(summary),
    )
    assert worse.returncode == 1
    assert "* **worse** missing tolerance: triangular-dense batched lecture 3 1" in worse.stdout
    assert "::error title=missing%3A triangular-dense batched lecture 3 1::" in worse.stdout
    assert "**WORSE in " in summary.read_text()
    assert len((tmp_path / "changes.csv").read_text().splitlines()) > 2
    apart = run("compare", "right", "other", cwd=tmp_path)
    assert apart.returncode == 2
    assert apart.stderr == "chainback: right and other cannot be compared: seed 0 in the one, 1 in the other\n"
    gone = run("compare", "right", "nowhere", cwd=tmp_path)
    assert (gone.returncode, gone.stderr.count("\n")) == (2, 1)


def test_shards_are_merged(tmp_path) -> None:
    for k in (1, 2):
        asked = ("--cases", "100", *FAST, "--shard", f"{k}/2", "--output", str(k), "--quiet")
        assert run("verify", *asked, cwd=tmp_path).returncode == 0
    merged = run("merge", "1", "2", "--output", "whole", cwd=tmp_path)
    assert merged.returncode == 0, merged.stderr
    assert "ACCEPTED" in merged.stdout
    assert (tmp_path / "whole" / "tolerance.csv").exists()
    assert run("merge", "1", cwd=tmp_path).returncode == 3


def test_answers_are_held_to_another_arithmetic(tmp_path) -> None:
    asked = ("verify", "--cases", "100", "--ensembles", "wide", "--depths", "4", "--widths", "4", "--engines", "none")
    asked += ("--engine", "broken_engines:tf32_products", "--quiet")
    assert run(*asked, "--judged-as", "tf32", cwd=tmp_path).returncode == 0
    done = run(*asked, "--judged-as", "float32", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    command = next(line for line in done.stdout.splitlines() if line.startswith("Look closer: chainback "))
    again = command.removeprefix("Look closer: chainback ").split()
    assert again[:3] == ["verify", "--judged-as", "float32"]
    assert run(*again, cwd=tmp_path).returncode == 1
    worked = run("verify", "--truth", "cpu", *asked[1:-3], "--engines", "reverse-scan", cwd=tmp_path)
    assert worked.returncode == 0, worked.stderr
    assert "truths of another oracle, against NumPy's: 1 of 1 rows accepted" in " ".join(worked.stdout.split())
    gone = run("verify", "--truth", "gpu:7", cwd=tmp_path, JAX_PLATFORMS="cpu")
    said = (
        "chainback: the truth is worked out by 'numpy' or a device: platform 'gpu:7' is not there: JAX sees cpu here\n"
    )
    assert (gone.returncode, gone.stderr) == (2, said)


def test_two_devices_are_compared(tmp_path) -> None:
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    asked = ("verify", "--cases", "100", "--depths", "3", "--ensembles", "lecture", "--platform", "cpu:0,cpu:1")
    own = ("--engines", "none", "--engine", "broken_engines:wrong_on_the_second_device", "--output", "out")
    done = run(*asked, *own, cwd=tmp_path, **flags)
    text = " ".join(done.stdout.split())
    assert done.returncode == 1, done.stderr
    assert "REJECTED broken_engines:wrong_on_the_second_device@cpu:1 (batched) on lecture@1:0:3x1:" in text
    assert "REJECTED pairs of engines: engine a broken_engines:wrong_on_the_second_device@cpu:0, engine b" in text
    command = next(line for line in done.stdout.splitlines() if line.startswith("Look closer: chainback "))
    assert command.endswith(" --platform cpu:1")
    again = command.removeprefix("Look closer: chainback ").split()
    assert run(*again, cwd=tmp_path, **flags).returncode == 1
    assert run(*again[:-1], "cpu:0", cwd=tmp_path, **flags).returncode == 0, "the other device is right"
    assert run("show", "out", cwd=tmp_path, **flags).returncode == 1
    assert run("compare", "out", "out", cwd=tmp_path, **flags).returncode == 0
    gone = run(*asked[:-1], "cpu:0,cpu:2", cwd=tmp_path, **flags)
    said = "chainback: platform 'cpu:2' is not there: JAX sees cpu:0 to cpu:1 here\n"
    assert (gone.returncode, gone.stderr) == (2, said)


def test_one_case(tmp_path) -> None:
    asked = ("verify", "--engines", "reverse-scan,triangular-substitution", "--case", "mixed@1:0:4x1:3:32/65")
    done = run(*asked, "--output", "out", cwd=tmp_path)
    tailed = tuple(map(int, jax.__version__.split(".")[:3])) >= (0, 4, 34)  # GELU has its tail
    assert done.returncode == (0 if tailed else 1), done.stderr
    lines = (tmp_path / "out" / "tolerance.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 3
    assert all("mixed@1:0:4x1:3:32/65" in line for line in lines[1:])
    none = run("verify", "--case", "nothing", cwd=tmp_path)
    assert (none.returncode, none.stderr) == (
        2,
        "chainback: case id 'nothing' is none: one reads like lecture@1:0:8x1:3:17\n",
    )


def test_one_built_in_engine(tmp_path) -> None:
    done = run(
        "verify",
        "--cases",
        "50",
        "--engines",
        "reverse-scan",
        "--ensembles",
        "lecture",
        "--depths",
        "1-3",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "reverse-scan" in done.stdout
    assert "forward-scan" not in done.stdout
    assert (tmp_path / "chainback-report" / "activations.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("verify", "--cases", "-3"), "`cases` must be at least 1, got -3"),
        (("verify", "--cases", "many"), "'many' is no whole number"),
        (("verify", "--cases", "1.5"), "'1.5' is no whole number"),
        (("verify", "--depths", "8-1"), "'8-1' are no numbers: write them as 1,2,4 or 1-24"),
        (("verify", "--engines", "backward"), "engine 'backward' is not known"),
        (("verify", "--engines", ""), "name at least one"),
        (("verify", "--engine", "nowhere:x"), "engine 'nowhere:x' cannot be loaded"),
        (("verify", "--ensembles", "lectrue"), "ensemble 'lectrue' is not known"),
        (("verify", "--platform", "abacus"), "platform 'abacus' is not there"),
        (("verify", "--output", "/dev/null/out"), "cannot write to folder /dev/null/out"),
        (("verify", "--nonsense"), "No such option"),
        (("replay",), "Missing argument 'CASE_ID'"),
        (("replay", "x"), "case id 'x' is none: one reads like lecture@1:0:8x1:3:17"),
        (("replay", "lecture@1:0:99999999x4096:0:0/999999"), "are too many to draw"),
        (("verify", "--depths", "20", "--widths", "4096", "--cases", "9"), "are too many to draw"),
        (("fly",), "No such command 'fly'"),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_2(tmp_path, arguments, sentence: str) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


REPLAY = ("replay", "lecture@1:0:4x1:0:0/33", "--engines", "reverse-scan")
VERIFY = ("verify", "--cases", "10", *FAST)


@pytest.mark.parametrize(
    ("command", "variables", "sentence"),
    [
        (
            VERIFY,
            {"JAX_DEFAULT_MATMUL_PRECISION": "nonsense"},
            'does not start here: ValueError: Invalid value "nonsense"',
        ),
        (
            REPLAY,
            {"JAX_DEFAULT_MATMUL_PRECISION": "nonsense"},
            'does not start here: ValueError: Invalid value "nonsense"',
        ),
        (VERIFY, {"JAX_PLATFORMS": "nonsense"}, "JAX finds no device with JAX_PLATFORMS=nonsense"),
        pytest.param(VERIFY, {"JAX_PLATFORMS": "cuda"}, "JAX finds no device with JAX_PLATFORMS=cuda", id="no GPU"),
    ],
)
def test_a_jax_that_does_not_start_is_one_sentence_and_exit_2(tmp_path, command, variables, sentence: str) -> None:
    if "cuda" in variables.values() and jax.default_backend() == "gpu":
        pytest.skip("there is a GPU")
    done = run(*command, cwd=tmp_path, **variables)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_jax_that_dies_as_it_starts_is_started_once(tmp_path) -> None:
    done = run(*VERIFY, cwd=tmp_path, XLA_FLAGS="--xla_no_such_flag=1")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("--xla_no_such_flag") == 1, "XLA says it itself, as it dies"
    assert done.stderr.strip().splitlines()[-1].startswith("chainback: JAX does not start here: the process ")
    assert "Traceback" not in done.stderr


def test_help_is_instant(tmp_path) -> None:
    start = time.perf_counter()
    done = run("verify", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--junit" in done.stdout
    assert time.perf_counter() - start < 5


def test_interrupted_by_ctrl_c(tmp_path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    command = [
        sys.executable,
        "-m",
        "chainback",
        "verify",
        "--cases",
        "1e7",
        "--engines",
        "none",
        "--engine",
        "broken_engines:sleeps",
    ]
    process = subprocess.Popen(
        [*command, "--depths", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "called").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert "INCOMPLETE: interrupted after" in out
    assert "Traceback" not in err
    assert '"complete": false' in (tmp_path / "chainback-report" / "environment.json").read_text()
    assert "accepted" in (tmp_path / "chainback-report" / "tolerance.csv").read_text()
    assert not list((tmp_path / "chainback-report").glob(".*part"))
