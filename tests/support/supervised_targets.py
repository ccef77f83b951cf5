"""Targets for a supervised worker that have nothing to do with a campaign."""

import os
import signal
import time
from typing import Any

from chainback.errors import EngineError, UsageError
from chainback.processes.watch import Step, Watch


def count(arguments: dict[str, Any], state: list[Any] | None, watch: Watch) -> list[Any]:
    """Append the numbers below `until`, one step each, holding so many `bytes`; some are `fatal`, or the process `hangs`."""
    done: list[Any] = state or []
    watch.started()
    for number in range(len(done), arguments["until"]):
        try:
            with watch.step(Step("counter", f"counted {number}")):
                if number in arguments.get("fatal", ()):
                    os.kill(os.getpid(), signal.SIGKILL)
                eaten = b"x" * arguments.get("bytes", 0)
                if number in arguments.get("hangs", ()):
                    time.sleep(3600)
                del eaten
                done.append(number)
        except EngineError as error:
            done.append(str(error))
        watch._checkpoint_at -= 60
        watch.checkpoint(lambda: done)
        watch.progress(len(done), arguments["until"], "counting")
        if watch.interruption.requested:
            break
    return done


def refuse(arguments: Any, state: Any, watch: Watch) -> None:
    raise UsageError(f"{arguments} cannot be used")


def fail(arguments: Any, state: Any, watch: Watch) -> None:
    raise ZeroDivisionError("a fault")


def die_before_the_start(arguments: Any, state: Any, watch: Watch) -> None:
    os._exit(7)


def die_between_steps(arguments: Any, state: int | None, watch: Watch) -> str:
    """Die outside of any step, in each worker but one that is asked to stop."""
    watch.started()
    if watch.interruption.requested:
        return "stopped"
    os._exit(7)
