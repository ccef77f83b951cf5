"""A supervisor knows no campaign: whatever can be pickled runs in a worker, and goes on from its last checkpoint."""

import subprocess
import sys
from typing import Any

import pytest

from chainback.errors import ChainbackError, UsageError
from chainback.processes.child_process import TARGETS, target
from chainback.processes.watch import Interruption
from chainback.processes.worker import StartError, supervise


def supervised(name: str, arguments: Any = None, **how: Any) -> Any:
    return supervise(f"supervised_targets:{name}", arguments, **{"time_limit": 60.0} | how)


def test_a_target_returns_its_result() -> None:
    told = []
    outcome = supervised("count", {"until": 3}, progress=lambda *step: told.append(step))
    assert (outcome.result, outcome.deaths, outcome.unexplained) == ([0, 1, 2], (), ())
    assert told[-1] == (3, 3, "counting")


def test_a_worker_that_dies_is_replaced_from_its_checkpoint_and_its_step_fails() -> None:
    outcome = supervised("count", {"until": 5, "fatal": {1, 3}})
    failed = [f"the process died of SIGKILL while it counted {number}" for number in (1, 3)]
    assert outcome.result == [0, failed[0], 2, failed[1], 4]
    assert outcome.deaths == tuple(f"counter: {reason}" for reason in failed)


def test_a_step_over_its_time_fails() -> None:
    outcome = supervised("count", {"until": 2, "hangs": {1}}, time_limit=2.0)
    assert outcome.result == [0, "it did not end within 2 s while it counted 1"]


def test_a_worker_over_its_memory_is_ended() -> None:
    asked = {"until": 1, "hangs": {0}, "bytes": 600_000_000}
    outcome = supervised("count", asked, memory_limit=3e8)
    assert "of memory, over the limit of 0.3 GB while it counted 0" in outcome.result[0]


def test_an_interruption_is_passed_on() -> None:
    interruption = Interruption()

    def stop(done: int, *_: Any) -> None:
        if done == 1:
            interruption.request()

    outcome = supervised("count", {"until": 1_000_000}, progress=stop, interruption=interruption)
    assert 1 <= len(outcome.result) < 1_000_000


def test_what_a_target_raises() -> None:
    with pytest.raises(UsageError, match="this cannot be used"):
        supervised("refuse", "this")
    with pytest.raises(ChainbackError, match=r"(?s)a fault of chainback, please report it.*ZeroDivisionError: a fault"):
        supervised("fail")
    with pytest.raises(StartError, match="the process ended with exit code 7"):
        supervised("die_before_the_start")


def test_deaths_without_a_step_to_blame_end_the_run() -> None:
    outcome = supervised("die_between_steps")
    assert outcome.result == "stopped"
    assert outcome.deaths == ()
    assert len(outcome.unexplained) == 3
    assert set(outcome.unexplained) == {
        "the process ended with exit code 7 while more than one step was under way, or none"
    }


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_is_there(name: str) -> None:
    assert callable(target(name))


def test_a_supervisor_loads_no_campaign() -> None:
    code = "import sys, chainback.processes.worker; sys.exit(any(m.startswith('chainback.{}') for m in sys.modules))"
    for room, found in (("running", 0), ("judging", 0), ("reporting", 0), ("processes", 1)):
        done = subprocess.run([sys.executable, "-c", code.format(room)], check=False)
        assert done.returncode == found, room
