"""Upgrade and bisect: the search over a made-up index, the environments for real."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import chainback.versions.upgrade as upgrade_module
from chainback import bisect, upgrade, verify
from chainback.errors import BuildError, UsageError
from chainback.judging.tally import Rejection, RowKey
from chainback.reporting.comparison import read
from chainback.reporting.report import Report
from chainback.versions import environments
from chainback.versions.environments import Job, Laboratory, Run
from chainback.versions.upgrade import minors

OFFERED = ["1.5.0", "1.4.1", "1.4.0", "1.3.0", "1.2.0", "1.1.0", "1.0.0"]


@cache
def report() -> Report:
    return verify(
        engines=["reverse-scan"], ensembles=["lecture"], depths=[3], cases=40, activations=False, samples=False
    )


def changed(of: Report, **values: Any) -> Report:
    return replace(of, tolerance=of.tolerance.assign(**values))


class MadeUp:
    """A laboratory in which a version's report is made of its number."""

    def __init__(self, folder: Path, of: Any, broken: tuple[str, ...] = ()) -> None:
        self.folder, self.of, self.broken, self.asked = folder, of, broken, []

    def run(self, laboratory: Laboratory, jax: str, job: Job) -> Run:
        self.asked.append(jax)
        if jax in self.broken:
            return Run(jax, failure=f"there is no version of jax=={jax}")
        made = self.of(jax)
        code = {"accepted": 0, "rejected": 1}[made.tolerance["verdict"][0]]
        made = replace(made, environment=made.environment | {"exit_code": code})
        made.write(self.folder / jax)
        return Run(jax, "3.11", read(self.folder / jax))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(of: Any, broken: tuple[str, ...] = ()) -> MadeUp:
        made = MadeUp(tmp_path, of, broken)
        monkeypatch.setattr(upgrade_module, "_offered", lambda pre: OFFERED)
        monkeypatch.setattr(Laboratory, "run", lambda *arguments: made.run(*arguments))
        return made

    return install


def rejected_from(first: str) -> Any:
    wrong = changed(report(), verdict="rejected", rejected=1)
    key = (wrong.tolerance[name][0] for name in RowKey._fields)
    rejection = Rejection(*key, 0, wrong.tolerance["worst_case"][0], reason="wrong")
    wrong = replace(wrong, rejections=(rejection,), environment=wrong.environment | {"rejections": 1})
    return lambda jax: wrong if OFFERED.index(jax) <= OFFERED.index(first) else report()


@pytest.mark.parametrize("first", OFFERED[:-1])
def test_bisect_finds_the_release(first: str, index: Any) -> None:
    laboratory = index(rejected_from(first))
    found = bisect("1.0.0", "1.5.0")
    assert (found.metric, found.changed, found.exit_code) == ("verdict", first, 0)
    assert found.unchanged == OFFERED[OFFERED.index(first) + 1]
    assert len(laboratory.asked) == len(set(laboratory.asked)) <= 5
    assert found.comparison is not None
    assert found.comparison.exit_code == 1


def test_bisect_goes_backwards_as_well(index: Any) -> None:
    index(rejected_from("1.3.0"))
    found = bisect("1.5.0", "1.0.0")
    assert (found.unchanged, found.changed) == ("1.3.0", "1.2.0")


def test_bisect_steps_over_a_version_that_cannot_be_run(index: Any) -> None:
    index(rejected_from("1.3.0"), broken=("1.3.0", "1.4.0"))
    found = bisect("1.0.0", "1.5.0")
    assert (found.unchanged, found.changed) == ("1.2.0", "1.4.1")
    assert sorted(found.between) == ["1.3.0", "1.4.0"]


def test_bisect_takes_the_gravest_thing_that_differs_or_the_one_asked_for(index: Any) -> None:
    def of(jax: str) -> Report:
        made = rejected_from("1.4.0")(jax)
        return made if jax == "1.0.0" else changed(made, digest="0123456789abcdef")

    index(of)
    assert bisect("1.0.0", "1.5.0").changed == "1.4.0"
    assert bisect("1.0.0", "1.5.0", metric="digest").changed == "1.1.0"
    assert bisect("1.0.0", "1.3.0").metric == "digest"
    assert bisect("1.0.0", "1.5.0", rows="triangular").exit_code == 3, "no such row changed"
    assert bisect("1.1.0", "1.3.0").changed == ""
    with pytest.raises(UsageError, match="`metric` must be one of verdict, drift, digest, got 'colour'"):
        bisect("1.0.0", "1.5.0", metric="colour")


def test_bisect_needs_both_ends(index: Any) -> None:
    index(rejected_from("1.4.0"), broken=("1.5.0",))
    with pytest.raises(BuildError, match=r"jax 1.5.0 cannot be run: there is no version"):
        bisect("1.0.0", "1.5.0")


def test_upgrade_compares_each_with_the_old_one(index: Any, tmp_path: Path) -> None:
    laboratory = index(rejected_from("1.4.0"), broken=("1.1.0",))
    found = upgrade("1.0.0", ["1.2.0", "newest"], output=tmp_path / "out")
    assert laboratory.asked == ["1.0.0", "1.2.0", "1.5.0"]
    assert {name: comparison.exit_code for name, comparison in found.comparisons.items()} == {"1.2.0": 0, "1.5.0": 1}
    assert found.exit_code == 1
    assert (tmp_path / "out" / "1.5.0" / "comparison.csv").is_file()
    assert "| 1.5.0 | 3.11 | rejected |" in found.markdown()
    assert upgrade("1.0.0", ["1.2.0"]).exit_code == 0
    lacking = upgrade("1.0.0", ["1.1.0", "1.2.0"])
    assert (lacking.exit_code, list(lacking.comparisons)) == (5, ["1.2.0"])
    assert "* 1.1.0: there is no version of jax==1.1.0" in lacking.markdown()


@pytest.mark.parametrize("name", ["", "soon", "0.4.x", "-1"])
def test_what_is_no_version_is_said(name: str) -> None:
    with pytest.raises(UsageError, match="is no version of JAX"):
        upgrade("installed", [name])


def test_minor_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = ["0.10.0", "0.9.0.1", "0.9.0", "0.5.3", "0.5.0", "0.4.31", "0.4.30", "0.4.29", "0.11.0rc1"]
    monkeypatch.setattr(upgrade_module, "_offered", lambda pre: [o for o in offered if pre or "rc" not in o])
    assert minors() == ["0.4.30", "0.4.31", "0.5.3", "0.9.0.1", "0.10.0"]


def test_the_command_line_and_the_flags_reach_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(cases=7, seed=2, own=("mine:gradients",), platform="cpu", xla_flags="--xla_x=1", functions=False)
    said = " ".join(job.arguments())
    assert "--engine mine:gradients --platform cpu --cases 7 --seed 2 --ensembles all" in said
    assert job.variables()["XLA_FLAGS"] == "--xla_x=1"
    monkeypatch.setenv("XLA_FLAGS", "--xla_y=2")
    assert Job().variables()["XLA_FLAGS"] == "--xla_y=2"
    assert Job(case="lecture@1:0:3x1:0:1/9").arguments()[-2:] == ["--case", "lecture@1:0:3x1:0:1/9"]
    alone = Path(job.variables()["PYTHONPATH"])
    assert [path.name for path in alone.iterdir()] == ["chainback"], "no other package may be seen from there"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("error: No solution\n  cause: Because a\n         And because b\n\nhint: do this", "Because a"),
        (
            "  × No solution found:\n  ╰─▶ Because there is no version of jax==9",
            "Because there is no version of jax==9",
        ),
        ("warning: x\nerror: it broke\n", "error: it broke"),
        ("", "uv failed and did not say why"),
    ],
)
def test_uvs_reason_in_one_line(said: str, reason: str) -> None:
    assert environments._reason(said) == reason


def test_other_cases_flags_or_packages_are_another_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laboratory = Laboratory(tmp_path, False, lambda what: None)
    python = tmp_path / "environment" / "bin" / "python"
    (python.parents[1] / "lib" / "python3.11" / "site-packages" / "jax-1.dist-info").mkdir(parents=True)

    def place(job: Job) -> Path:
        return laboratory._place("1", "3.11", python, job)

    first = place(Job())
    assert place(Job()) == first
    assert place(Job(seed=1)) != first
    assert place(Job(xla_flags="--xla_x=1")) != first
    (python.parents[1] / "lib" / "python3.11" / "site-packages" / "numpy-9.dist-info").mkdir()
    assert place(Job()) != first


def command(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    asked = [sys.executable, "-m", "chainback", *arguments, "--cache", str(cache), "--cases", "60", "--no-functions"]
    asked += ["--engines", "reverse-scan", "--ensembles", "lecture"]
    return subprocess.run(asked, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
def test_an_upgrade_for_real(tmp_path: Path) -> None:
    """Two environments: an old JAX, a version that there is not; then again, from the cache."""
    asked = ("upgrade", "--from", "0.4.38", "--to", "0.4.38.999", "--to", "0.4.38", "--output", str(tmp_path / "out"))
    first = command(*asked, cache=tmp_path / "cache")
    assert first.returncode == 5, first.stderr
    assert "0.4.38.999: Because there is no version of jax==0.4.38.999" in first.stdout
    facts = json.loads((tmp_path / "out" / "0.4.38" / "environment.json").read_text())
    assert (facts["jax"], facts["complete"], facts["exit_code"]) == ("0.4.38", True, 0)
    assert "building an environment with jax 0.4.38" in first.stderr
    again = command(*asked, cache=tmp_path / "cache")
    assert again.returncode == 5
    assert "running" not in again.stderr
    assert "building" not in again.stderr


def test_without_uv_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(environments, "find_uv_bin", nowhere)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert upgrade("0.4.38", ["0.5.0"], cache=tmp_path).exit_code == 5
    upgrade_module._offered.cache_clear()
    with pytest.raises(BuildError, match="uv is not there: pip install uv"):
        upgrade("0.4.38", ["newest"], cache=tmp_path)
