"""The run survives what it tests: crashes, hangs and memory eaten cost the engine and its signature, never the run."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainback import verify
from chainback.errors import EngineError, UsageError
from chainback.processes.watch import Interruption, Step, Watch
from chainback.reporting.files import read_csv
from chainback.reporting.report import Report

SMALL: dict[str, Any] = {
    "ensembles": ("lecture", "mixed"),
    "cases": 200,
    "depths": (3, 9),
    "activations": False,
    "samples": False,
}


def supervised(**arguments: Any) -> Report:
    return verify(**arguments, supervised=True)


def engine_rows(report, engine: str):
    return report.tolerance[report.tolerance["engine"] == engine]


def test_a_supervised_run_finds_what_any_run_finds() -> None:
    engines = ["reverse-scan", "triangular-substitution"]
    within = verify(engines=engines, **SMALL)
    sent = []
    apart = supervised(engines=engines, progress=lambda *step: sent.append(step), **SMALL)
    assert apart.accepted
    assert "worker_deaths" not in apart.environment
    assert list(apart.tolerance["digest"]) == list(within.tolerance["digest"])
    assert list(apart.steps["digest"]) == list(within.steps["digest"])
    assert sent[-1][:2] == (200, 200)


@pytest.mark.parametrize(
    ("saboteur", "limits", "sentence"),
    [
        ("segfaults", {}, "the process died of SIGSEGV while it ran (batched) at 3x1"),
        ("meets_an_illegal_instruction", {}, "the process died of SIGILL while it ran (batched) at 3x1"),
        ("ends_the_process_as_if_all_were_well", {}, "the process ended with exit code 0 while it ran"),
        ("hangs", {"time_limit": 4.0}, "it did not end within 4 s while it ran (batched) at 3x1"),
        (
            "eats_the_memory",
            {"memory_limit": 2e9},
            "of memory, over the limit of 2.0 GB while it ran (batched) at 3x1",
        ),
    ],
)
def test_what_takes_its_process_along_is_rejected_by_name_and_the_run_goes_on(saboteur, limits, sentence: str) -> None:
    wrong = f"saboteurs:{saboteur}"
    made = supervised(engines=[wrong, "saboteurs:right"], **(SMALL | {"depths": (3,)}), **limits)
    assert made.exit_code == 1
    assert made.complete
    assert sentence in made.rejections[0].reason
    assert made.rejections[0].engine == wrong
    assert set(engine_rows(made, wrong)["verdict"]) == {"rejected"}
    assert engine_rows(made, wrong)["rejected"].sum() == 200
    assert set(engine_rows(made, "saboteurs:right")["verdict"]) == {"accepted"}
    assert engine_rows(made, "saboteurs:right")["accepted"].sum() == 200
    assert any(sentence in death for death in made.environment["worker_deaths"])


def test_a_crash_costs_its_signature_and_no_other() -> None:
    name = "saboteurs:segfaults_on_nine_layers"
    made = supervised(engines=[name], **SMALL)
    by_depth = engine_rows(made, name).groupby("depth")["verdict"].unique()
    assert {depth: list(found) for depth, found in by_depth.items()} == {3: ["accepted"], 9: ["rejected"]}
    assert engine_rows(made, name)["cases"].sum() == 200


def test_a_compiler_that_crashes_beside_another_compilation_is_found_out(monkeypatch) -> None:
    monkeypatch.setenv("CHAINBACK_TEST_CRASHING_COMPILER", "1")
    made = supervised(engines=["saboteurs:compiler", "reverse-remat", "forward-scan"], **SMALL)
    assert made.exit_code == 1
    assert "unexplained" not in made.environment
    assert {r.engine for r in made.rejections} == {"reverse-remat"}
    assert "the process died of SIGSEGV while it was compiled at 9x1" in made.rejections[0].reason
    verdicts = made.tolerance.groupby(["engine", "depth"])["verdict"].unique()
    assert list(verdicts["reverse-remat", 3]) == ["accepted"]
    assert list(verdicts["forward-scan", 9]) == ["accepted"]


def test_an_engine_whose_import_crashes_is_rejected() -> None:
    name = "saboteur_on_import:engine"
    made = supervised(engines=[name, "saboteurs:right"], **SMALL)
    assert made.exit_code == 1
    assert made.rejections[0].reason == "the process died of SIGSEGV while it was imported"
    assert set(engine_rows(made, "saboteurs:right")["verdict"]) == {"accepted"}


def test_a_death_that_is_not_repeated_still_counts(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = supervised(engines=["saboteurs:dies_the_first_time"], **(SMALL | {"depths": (3,)}))
    assert made.exit_code == 1
    assert "SIGSEGV" in made.rejections[0].reason


def test_files_are_written_and_say_what_died(tmp_path) -> None:
    out = tmp_path / "out"
    made = supervised(
        engines=["saboteurs:segfaults"], output=out, junit=tmp_path / "junit.xml", **(SMALL | {"depths": (3,)})
    )
    assert set(read_csv(out / "tolerance.csv")["verdict"]) == {"rejected"}
    assert "SIGSEGV" in read_csv(out / "tolerance.csv")["note"][0]
    assert "SIGSEGV" in (out / "environment.json").read_text()
    assert "SIGSEGV" in (tmp_path / "junit.xml").read_text()
    assert made.environment["elapsed_s"] > 0


def test_bad_arguments_are_refused_as_ever(tmp_path) -> None:
    for arguments, sentence in (
        ({"engines": ["backward"]}, "engine 'backward' is not known"),
        ({"engines": ["nowhere:x"]}, "engine 'nowhere:x' cannot be loaded"),
        ({"cases": 0}, "`cases` must be at least 1"),
        ({"time_limit": 0.0}, "`time_limit` must be above 0, got 0.0"),
        ({"memory_limit": -1.0}, "`memory_limit` must be above 0, got -1.0"),
        ({"output": "/dev/null/report"}, "cannot write to folder"),
    ):
        with pytest.raises(UsageError, match=sentence):
            supervised(**(SMALL | arguments))


def test_the_command_survives_too(tmp_path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support"), "COLUMNS": "80"}
    command = "verify --cases 60 --depths 3 --ensembles lecture --engines none --engine saboteurs:segfaults"
    done = subprocess.run(
        [sys.executable, "-m", "chainback", *command.split(), "--engine", "saboteurs:right"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    text = " ".join(done.stdout.split())
    assert "REJECTED saboteurs:segfaults (batched) on lecture@1:0:3x1:0:0/" in text
    assert "the process died of SIGSEGV" in text
    assert "The run went on in a new process" in text
    assert "Traceback" not in done.stdout + done.stderr


def test_a_watch_refuses_fatal_steps_and_says_what_is_done() -> None:
    sent: list[tuple[str, Any]] = []
    fatal = Step("e", "ran (batched) at 3x1, 8 at once")
    watch = Watch(sent.append, {fatal: "the process died of SIGSEGV"})
    with pytest.raises(EngineError, match="died of SIGSEGV"), watch.step(fatal):
        pytest.fail("a fatal step was begun")
    assert sent == []
    with watch.step(Step("f", "was compiled")):
        assert sent == [("begin", Step("f", "was compiled"))]
    assert sent[-1] == ("end", Step("f", "was compiled"))
    watch.checkpoint(lambda: pytest.fail("too early"))
    watch._checkpoint_at -= 60
    watch.checkpoint(lambda: {"done": 3})
    assert pickle.loads(sent[-1][1]) == {"done": 3}


def test_two_that_do_the_same_are_sent_apart() -> None:
    """One of two threads that dies, or hangs, must not be taken for the one that is done."""
    sent: list[Any] = []
    watch, step = Watch(sent.append), Step("oracle@cpu", "ran (batched) at 3x1, 9 at once")
    with watch.step(step):
        with watch.step(step):
            pass
        assert [kind for kind, _ in sent] == ["begin", "begin", "end"]
        assert sent[1][1].number == sent[2][1].number != sent[0][1].number
        assert sent[0][1] == sent[1][1] == step, "what is fatal is fatal to all"


def test_an_interruption_is_asked_for_once() -> None:
    interruption = Interruption()
    interruption.check()
    interruption.request()
    assert interruption.requested
    with pytest.raises(KeyboardInterrupt):
        interruption.check()


def test_what_was_counted_survives_the_way_to_another_process() -> None:
    made = verify(engines=["reverse-scan"], **SMALL)
    again = pickle.loads(pickle.dumps(made))
    assert again.tolerance.equals(made.tolerance)
    from chainback.judging.statistics import Histogram

    histogram = Histogram()
    histogram.add(np.exp(np.random.default_rng(0).normal(size=1000)))
    back = pickle.loads(pickle.dumps(histogram))
    assert np.array_equal(back.counts, histogram.counts)
    assert len(pickle.dumps(histogram)) < 5000
