"""What the README promises is executed here."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import chainback

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
YOUR_CI = (ROOT / ".github" / "YOUR_CI.md").read_text() if (ROOT / ".github").is_dir() else ""


def block(label: str) -> str:
    found = re.search(rf"<!-- {re.escape(label)} -->\n```\w+\n(.*?)```", README + YOUR_CI, re.DOTALL)
    assert found, f"the README has no block {label!r}"
    return found[1]


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300, check=False)


def test_the_failing_engine_fails_as_printed(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(block("mine.py"))
    command = re.search(r"\$ chainback (verify --engines none .*)", YOUR_CI)
    assert command
    done = run(sys.executable, "-m", "chainback", *command[1].split(), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    # Versions, digits that they may change, and times aside, the output is the document's.
    for line in (
        "REJECTED mine:gradients (batched) on lecture@1:0:4x1:0:0/33: dW_1[0,0]: got",
        "rejected",
        "Look closer",
    ):
        assert line in done.stdout
        assert line in YOUR_CI
    again = run(*(sys.executable, "-m", "chainback"), *_look_closer(done.stdout), cwd=tmp_path)
    reproducer = again.stdout[again.stdout.index("# mine:gradients with jax") :]
    alone = run(sys.executable, "-c", reproducer, cwd=tmp_path)
    assert "expected 0.125 +- 1.8e-07\nWRONG" in alone.stdout
    assert "expected 0.125 +- 1.8e-07\nWRONG" in YOUR_CI


FACTOR = " * 1.00001  # wrong by 1e-5"


def test_the_checked_function_is_rejected_as_printed_and_accepted_without_its_fault(tmp_path) -> None:
    text = block("a wrong rule")
    assert FACTOR in text
    printed = {}
    for name, code in (("wrong", text), ("right", text.replace(FACTOR, ""))):
        (tmp_path / "model.py").write_text(code)
        done = run(sys.executable, "model.py", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        printed[name] = done.stdout
    assert "(custom_jvp, model.py:21) is off by 1.0e-05" in " ".join(printed["wrong"].split())
    assert "(custom_jvp, model.py:21) is off by 1.0e-05" in " ".join(README.split())
    for name in printed:
        verdicts = [
            line.split()[-1] for line in printed[name].splitlines() if line.startswith((" value", " rule", " exec"))
        ]
        assert verdicts
        assert all(re.search(rf"^ (value|rule|execution).* {verdict}$", README, re.MULTILINE) for verdict in verdicts)
    assert printed["right"].rstrip().endswith("ACCEPTED")


def _look_closer(text: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith("Look closer: chainback ")).split()[3:]


def test_the_python_example_runs(tmp_path) -> None:
    example = example_in(chainback.__doc__ or "")
    (tmp_path / "test_example.py").write_text(example)
    done = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_example.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert (tmp_path / "tolerance.csv").exists()


def example_in(docstring: str) -> str:
    """Return the indented code of a docstring."""
    block = docstring[docstring.index("::\n") + 3 :]
    return textwrap.dedent("\n".join(line for line in block.splitlines() if not line or line.startswith("    ")))


def test_ci_runs_the_readmes_test_command() -> None:
    if not (ROOT / ".ci" / "run").exists():
        pytest.skip("no .ci here")
    assert "<!-- the test command -->" in (ROOT / ".ci" / "run").read_text()
    assert "pytest -n auto" in block("the test command")
    assert "chainback verify" in block("the run command")


def test_the_million_is_the_committed_report() -> None:
    from chainback.reporting.files import read_csv

    committed = read_csv(ROOT / "reports" / "cpu" / "tolerance.csv")
    assert set(committed["verdict"]) <= {"accepted", "not run", "undecided"}
    batched = committed[(committed["execution"] == "batched") & (committed["engine"] == "reverse-scan")]
    assert batched["cases"].sum() == 1_000_000
    assert "1,000,004" in README


DOCUMENTS = ("README.md", ".github/YOUR_CI.md", "chainback/README.md", "reports/README.md", ".github/CONTRIBUTING.md")
#: Written by commands, or made by the reader.
NOT_KEPT = ("chainback-report", "tests/test_mine.py")


def missing(text: str, place: Path) -> list[str]:
    """Return what a document links to, or names as a path of this repository, that is not there."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    links = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    paths = re.findall(r"`((?:chainback|tests|properties|reports|\.github|\.ci)/[\w./-]+)`", text)
    found = [link for link in links if link and not (place.parent / link).exists()]
    return found + [path for path in paths if not (ROOT / path).exists() and not path.startswith(NOT_KEPT)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_names_is_there(name: str) -> None:
    if not (ROOT / ".ci" / "run").exists():
        pytest.skip("chainback is installed without its repository")
    assert missing((ROOT / name).read_text(), ROOT / name) == []


def test_a_broken_link_is_found() -> None:
    assert missing("[a](nowhere.md), `tests/nothing.py`, [b](README.md)", ROOT / "README.md") == [
        "nowhere.md",
        "tests/nothing.py",
    ]


def test_the_readme_is_short_and_begins_with_how_to_install() -> None:
    lines = README.splitlines()
    assert len(lines) <= 180
    assert "<!-- the run command -->" in lines[:40]
    assert "<!-- the test command -->" in lines[:40]
