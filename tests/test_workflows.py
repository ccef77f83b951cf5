"""The repository's own workflows: what they run is there, and is understood."""

import re
import shlex

import click
import pytest
from test_readme import ROOT, block

from chainback.cli.main import cli

FOLDER = ROOT / ".github" / "workflows"
if not FOLDER.is_dir():
    pytest.skip("no workflows here", allow_module_level=True)

WORKFLOWS = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yml"))}
#: gate.yml runs what .ci/run does.
TEXTS = {"upgrade.yml": WORKFLOWS["upgrade.yml"], ".ci/run": (ROOT / ".ci" / "run").read_text(encoding="utf-8")}
TEXTS |= {label: block(label) for label in ("a gate in your CI", "an upgrade check in your CI")}


def commands(text: str) -> list[list[str]]:
    """Return the arguments of each `.venv/bin/chainback` in a workflow."""
    return [
        shlex.split(said.partition("||")[0])
        for said in re.findall(r"^[^#\n]*\.venv/bin/chainback (.*)$", text, re.MULTILINE)
    ]


@pytest.mark.parametrize("name", TEXTS)
def test_the_command_line_understands_every_command(name: str) -> None:
    found = commands(TEXTS[name])
    assert found
    for command, *arguments in found:
        parser = cli.commands[command]
        with click.Context(parser, info_name=command) as context:
            parser.parse_args(context, arguments)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_a_workflow_names_is_there(name: str) -> None:
    for script in re.findall(r"\.ci/[\w-]+", WORKFLOWS[name]):
        assert (ROOT / script).is_file(), script
    assert not re.search(r"https?://", WORKFLOWS[name]), "an index is named by a variable"


def test_the_scripts_of_a_workflow_are_in_the_steps() -> None:
    assert "run: bash .ci/run" in WORKFLOWS["gate.yml"]
    assert {"gate.yml", "upgrade.yml"} <= set(WORKFLOWS)
    assert (ROOT / "reports" / "baseline" / "cpu" / "environment.json").is_file(), "upgrade.yml starts from its JAX"
