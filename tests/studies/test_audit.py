"""The audit: every planted fault is caught, and an audit of a gate that sleeps says so."""

import dataclasses

import numpy as np
import pytest

import chainback.studies.audit as audit_module
from chainback import ENGINES
from chainback.problems.ensembles import ENSEMBLES
from chainback.reporting.files import read_csv
from chainback.studies.audit import audit
from chainback.studies.planted_faults import FAULTS, Fault
from chainback.studies.sensitivity import detection_limits, visible_biases

pytestmark = pytest.mark.xdist_group("faults")  # its fixtures are made once


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    return audit(cases=400, output=folder), folder


def test_every_planted_fault_is_caught_and_honest_engines_stand(audited) -> None:
    found, _ = audited
    assert found.escaped == ()
    assert found.honest.accepted
    assert found.exit_code == 0
    assert list(found.faults["fault"]) == list(FAULTS)
    assert len(FAULTS) >= 31


def test_the_files_hold_the_tables(audited) -> None:
    found, folder = audited
    back = read_csv(folder / "audit.csv", whole=True)
    assert list(back["fault"]) == list(found.faults["fault"])
    assert np.array_equal(back["share_rejected"], found.faults["share_rejected"])
    assert len(read_csv(folder / "detection.csv", whole=True)) == 9


def test_a_bias_below_one_u_is_seen_in_the_mean(audited) -> None:
    _, folder = audited
    rows = read_csv(folder / "bias.csv", whole=True)
    assert list(rows["ensemble"]) == ["lecture", "mixed", "alive"]
    assert (rows["cases"] == 40_000).all()
    assert (rows["bias_u"] < 1.0).all()
    assert (rows["one_in"] >= 2).all()
    assert (rows["bias_u"] < 0.05 * rows["bound_u_p50"]).all()


def test_a_bias_that_chance_can_make_is_not_seen() -> None:
    # The negative control: with ten cases, nothing of an ulp's size stands out.
    assert (visible_biases(ensembles=("lecture",), cases=10)["one_in"] == 0).all()


def test_a_fault_that_escapes_is_shown_and_exits_4(monkeypatch) -> None:
    harmless = Fault("harmless", "nowhere: the engine is right", ENGINES["reverse-scan"], 0.0, ensembles=("lecture",))
    monkeypatch.setattr(audit_module, "FAULTS", {"harmless": harmless})
    found = audit(cases=50)
    assert found.escaped == ("harmless",)
    assert found.exit_code == 4


def test_a_tenth_of_a_percent_is_far_above_the_detection_limit() -> None:
    limits = detection_limits(ensembles=("lecture",), depths=(1, 8), rows=500)
    assert list(limits["depth"]) == [1, 8]
    assert (limits["log2"] <= -17).all()
    assert (limits["limit_u"] == 2.0 ** (24 + limits["log2"])).all()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_what_it_is(name: str) -> None:
    fault = FAULTS[name]
    assert fault.what
    assert fault.size > 2.0**-24
    assert callable(fault.engine)
    assert set(fault.ensembles) <= set(ENSEMBLES)
    assert dataclasses.asdict(dataclasses.replace(fault, engine=None))["name"] == name  # type: ignore[arg-type]
