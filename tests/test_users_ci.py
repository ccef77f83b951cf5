"""What YOUR_CI.md gives for a user's own CI, word for word, in a project that knows nothing of this repository.

The project has an environment of its own, with another JAX than the one the tests run under.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_readme import ROOT, block
from uv import find_uv_bin

#: The JAX that the project has pinned; the last before 0.5, and with wheels for Python 3.10 to 3.13.
PINNED = "0.4.38"
FAULT = " * 1.00001  # wrong by 1e-5"
#: What could lead uv to another environment than the project's.
ASTRAY = re.compile(r"UV_(?!INDEX|DEFAULT_INDEX|EXTRA|FIND_LINKS|CACHE).*|VIRTUAL_ENV|CONDA_\w+|PYTHON\w*")

pytestmark = [
    pytest.mark.skipif(sys.version_info >= (3, 14), reason=f"jax {PINNED} has no wheels for this Python"),
    pytest.mark.xdist_group("the project"),  # it is installed once
]


@dataclass
class Project:
    """A folder that stands for a user's repository, checked out by a workflow."""

    folder: Path
    variables: dict[str, str]

    @property
    def summary(self) -> str:
        return Path(self.variables["GITHUB_STEP_SUMMARY"]).read_text()

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line as a step of a workflow does."""
        Path(self.variables["GITHUB_STEP_SUMMARY"]).write_text("")
        command = ["bash", "-eo", "pipefail", "-c", line]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, env=self.variables, timeout=600, check=False
        )

    def write_gradient(self, factor: str) -> None:
        """Write the README's network, its slope off by a factor."""
        network = block("mine.py")
        assert FAULT in network
        (self.folder / "mine.py").write_text(network.replace(FAULT, factor))


def steps(label: str) -> list[str]:
    """Return the lines that a workflow of the document runs."""
    return re.findall(r"^ +- run: (.*)$", block(label), re.MULTILINE)


def unreachable(said: str) -> str:
    """Return the line in which uv says that the package index cannot be reached, or ""."""
    signs = ("Failed to fetch", "error sending request", "dns error", "Could not connect")
    return next((line.strip() for line in said.splitlines() if any(sign in line for sign in signs)), "")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, its environment made by the README's lines."""
    base = tmp_path_factory.mktemp("user")
    folder, tools = base / "project", base / "bin"
    folder.mkdir()
    tools.mkdir()
    uv = find_uv_bin()
    (tools / "uv").symlink_to(uv)
    # The Python that this one's environment was made from; the environment itself must not be on the path.
    (tools / "python3").symlink_to(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
    kept = {name: value for name, value in os.environ.items() if not ASTRAY.fullmatch(name)}
    variables = {
        "PATH": os.pathsep.join([str(tools), "/usr/bin", "/bin"]),
        "CHAINBACK": str(checkout(base / "chainback")),
        "XDG_CACHE_HOME": str(base / "cache"),  # chainback's; uv keeps its own
        "UV_CACHE_DIR": subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip(),
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(base / "summary"),
        "COLUMNS": "80",
    }
    project = Project(folder, kept | variables)
    (folder / "requirements.txt").write_text(f"jax=={PINNED}\npytest\n")
    (folder / "test_mine.py").write_text(block("a test in your CI"))
    make, install, _ = steps("a gate in your CI")
    assert [make, install] == steps("an upgrade check in your CI")[:-1]
    done = project.run(make)
    assert done.returncode == 0, done.stderr
    done = project.run(install)
    if done.returncode and (reason := unreachable(done.stderr)):
        pytest.skip(f"the package index cannot be reached: {reason}")
    assert done.returncode == 0, done.stderr
    return project


def checkout(folder: Path) -> Path:
    """Return a copy of this checkout: at a new place, so that uv does not take what it once built of the old one."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "chainback", folder / "chainback", ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def project(installed: Project) -> Project:
    installed.write_gradient("")
    return installed


GATE = "a gate in your CI"
TEST = ".venv/bin/pytest -q -p no:cacheprovider"


def test_the_gate_is_five_lines() -> None:
    lines = block(GATE).splitlines()
    assert len(lines[lines.index("    steps:") + 1 :]) == 5


def test_the_projects_own_jax_stays(project: Project) -> None:
    shown = project.run(".venv/bin/python -c 'import jax, chainback; print(jax.__version__, chainback.__file__)'")
    version, place = shown.stdout.split()
    assert version == PINNED
    assert Path(place).is_relative_to(project.folder)


def test_the_gate_and_the_test_pass(project: Project) -> None:
    gate = project.run(steps(GATE)[-1])
    assert gate.returncode == 0, gate.stdout + gate.stderr
    assert "mine:gradients" in gate.stdout
    assert "::error" not in gate.stdout
    assert "mine:gradients" in project.summary
    test = project.run(TEST)
    assert test.returncode == 0, test.stdout
    assert "1 passed" in test.stdout


@pytest.mark.slow
def test_the_gate_and_the_test_see_a_wrong_slope(project: Project) -> None:
    project.write_gradient(" * 1.0001")
    gate = project.run(steps(GATE)[-1])
    assert gate.returncode == 1, gate.stdout + gate.stderr
    assert "::error title=mine%3Agradients is wrong" in gate.stdout
    assert "reverse-scan is wrong" not in gate.stdout
    assert "rejected" in project.summary
    test = project.run(TEST)
    assert test.returncode == 1, test.stdout
    assert "1 failed" in test.stdout
    assert "assert <Verdict.REJ" in test.stdout


@pytest.mark.slow
def test_the_upgrade_check_passes(project: Project) -> None:
    done = project.run(steps("an upgrade check in your CI")[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"running under jax {PINNED}" in done.stderr
    assert f"jax {PINNED} (jaxlib {PINNED}) on cpu → jax" in project.summary
    assert "**NOTHING WORSE**" in project.summary
