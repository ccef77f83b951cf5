"""Negative controls of the properties: planted faults must fail the laws that they break, and no others."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


pytestmark = pytest.mark.xdist_group("properties")  # its fixtures are made once


@pytest.fixture(scope="module")
def outcome() -> dict[str, bool]:
    """Whether each property passed, with the faults of `planted.py` in place."""
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "planted",
                "-p",
                "no:cacheprovider",
                "-p",
                "no:xdist",
                "-rA",
                "--tb=no",
            ),
            *("-q", "--no-header", "--hypothesis-profile=planted", str(HERE.parent / "properties")),
            *(
                "-k",
                "not huge and (test_truth or same_bits or zero_weights or jitted or neumann or adjoint or power_of_two)",
            ),
        ],
        capture_output=True,
        text=True,
        cwd=HERE.parent,
        env={**os.environ, "PYTHONPATH": str(HERE / "support"), "CI": "1"},
        timeout=540,
        check=False,
    )
    found = re.findall(r"^(PASSED|FAILED) properties/\w+\.py::(\S+)", done.stdout, re.MULTILINE)
    assert len(found) > 40, done.stdout[-3000:] + done.stderr[-3000:]
    return {name: word == "PASSED" for word, name in found}


@pytest.mark.parametrize(
    "law",
    [
        "test_the_same_run_gives_the_same_bits[reverse-unrolled]",
        "test_nothing_flows_through_zero_weights[forward-scan]",
        "test_an_engine_agrees_with_the_truth[forward-scan]",
        "test_an_engine_agrees_with_the_truth[reverse-scan]",
        "test_an_engine_agrees_with_the_truth[triangular-substitution]",
        "test_jitted_is_unjitted_within_the_bound[reverse-scan]",
        "test_engines_agree_with_each_other",
        "test_a_solve_is_the_neumann_series[False-substitution]",
        "test_a_solve_is_the_neumann_series[True-substitution]",
    ],
)
def test_a_planted_fault_breaks_its_law(outcome, law: str) -> None:
    assert outcome[law] is False


@pytest.mark.parametrize(
    "law",
    [
        "test_the_same_run_gives_the_same_bits[reverse-remat]",
        "test_nothing_flows_through_zero_weights[reverse-remat]",
        "test_an_engine_agrees_with_the_truth[reverse-remat]",
        "test_an_engine_agrees_with_the_truth[forward-unrolled]",
        "test_jitted_is_unjitted_within_the_bound[reverse-remat]",
        "test_a_solve_is_the_neumann_series[True-dense]",
        "test_a_solve_is_the_neumann_series[True-parallel]",
        "test_jvp_and_vjp_are_adjoint",
    ],
)
def test_the_others_stand(outcome, law: str) -> None:
    assert outcome[law] is True
