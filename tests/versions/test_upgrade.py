"""Upgrades over a made-up index, and one for real."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_up_versions import rejected_from

from chainback import upgrade
from chainback.errors import UsageError


def test_upgrade_compares_each_with_the_old_one(index: Any, tmp_path: Path) -> None:
    made = index(rejected_from("1.4.0"), broken=("1.1.0",))
    found = upgrade("1.0.0", ["1.2.0", "newest"], output=tmp_path / "out")
    assert made.versions == ["1.0.0", "1.2.0", "1.5.0"]
    assert {name: comparison.exit_code for name, comparison in found.comparisons.items()} == {"1.2.0": 0, "1.5.0": 1}
    assert found.exit_code == 1
    assert (tmp_path / "out" / "1.5.0" / "comparison.csv").is_file()
    assert "| 1.5.0 | 3.11 | rejected |" in found.markdown()
    assert upgrade("1.0.0", ["1.2.0"]).exit_code == 0
    lacking = upgrade("1.0.0", ["1.1.0", "1.2.0"])
    assert (lacking.exit_code, list(lacking.comparisons)) == (5, ["1.2.0"])
    assert "* 1.1.0: there is no version of jax==1.1.0" in lacking.markdown()


@pytest.mark.parametrize("name", ["", "soon", "0.4.x", "-1"])
def test_what_is_no_version_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no version of JAX"):
        upgrade("installed", [name])


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
