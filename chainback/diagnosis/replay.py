"""One case, run again in every way in which a campaign may have run it; shrunk where it fails, with a reproducer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.text import Text

from chainback.diagnosis.layers import layer_table, layers
from chainback.diagnosis.reproducer import script
from chainback.diagnosis.shrinking import shrink
from chainback.engines.devices import arithmetic_of, device_of
from chainback.engines.registry import Engine
from chainback.engines.user_engines import engines_named, one_by_one, run_engine
from chainback.errors import EngineError
from chainback.judging.judgement import Judgement, Verdict, component_at, exit_code, judge, overall
from chainback.operations.arithmetic import Arithmetic
from chainback.problems.case_id import CaseId
from chainback.problems.chain import Case
from chainback.problems.ensembles import draw, rebuild
from chainback.running.shapes import MOST_LAYERS_ONE_BY_ONE

__all__ = ["EngineReplay", "Replay", "replay"]

Protocol = Callable[..., Any]


@dataclass(frozen=True)
class EngineReplay:
    """What one engine did on the case.

    Attributes:
        engine: Its name.
        verdict: On this case.
        reason: Why it was rejected, else "".
        smallest: The smallest case found on which it still fails, else None.
        script: A reproducer that needs JAX and NumPy only, else "".
    """

    engine: str
    verdict: Verdict
    reason: str = ""
    smallest: Case | None = None
    script: str = ""


@dataclass(frozen=True)
class Replay:
    """A case, run again.

    Attributes:
        case: The case.
        layers: The linearisation layer by layer: columns layer, activation, quantity, index, computed, true, bound, margin.
        engines: What each engine did.
    """

    case: Case
    layers: pd.DataFrame
    engines: tuple[EngineReplay, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict on all engines."""
        return overall(item.verdict for item in self.engines)

    @property
    def exit_code(self) -> int:
        """0 accepted, 1 rejected, 3 undecided."""
        return exit_code(self.verdict)

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [layer_table(self.case, self.layers)]
        for item in self.engines:
            style = {Verdict.ACCEPTED: "green", Verdict.REJECTED: "bold red"}.get(item.verdict, "yellow")
            reason = f": {item.reason}" if item.reason else ""
            parts.append(Text.assemble((f"{item.verdict!s:<9} ", style), item.engine, reason))
        for item in self.engines:
            if item.smallest is not None:
                chain = item.smallest.chain
                size = f"{chain.depth} layer{'s' * (chain.depth > 1)} of width {chain.width}"
                parts.append(
                    Text(f"\nSmallest chain found on which {item.engine} still fails: {size}. A reproducer:\n")
                )
        return Group(*parts)

    def print(self, console: Console | None = None) -> None:
        """Print the layers, the verdicts and, unwrapped, ready to be copied, the reproducers."""
        console = console or Console()
        console.print(self)
        for item in self.engines:
            if item.script:
                console.out("", item.script, sep="\n", highlight=False)


def replay(case_id: str, *, engines: str | Iterable[str | Protocol] = "all", platform: str | None = None) -> Replay:
    """Run one case again.

    Args:
        case_id: As reports name it.
        engines: As for `verify`.
        platform: As for `verify`.

    Returns:
        What each engine did; for one that fails, the smallest chain on which it still does, and a reproducer.

    Raises:
        UsageError: The id names no case, or an engine or the platform is not there.
    """
    parsed = CaseId.parse(case_id)
    case = rebuild(parsed)
    device = device_of(platform)
    arithmetic = arithmetic_of(device)
    with jax.default_device(device):
        done = tuple(
            _replay_one(name, engine, case, parsed, arithmetic, device)
            for name, engine in engines_named(engines).items()
        )
        return Replay(case, layers(case, arithmetic), done)


def _replay_one(
    name: str, engine: Protocol, case: Case, parsed: CaseId, arithmetic: Arithmetic, device: Any
) -> EngineReplay:
    """Run a case in every way in which a campaign might have: batched, alone, op by op, again, and among its batch."""
    if isinstance(engine, Engine) and (reason := engine.limit(case.chain.depth, case.chain.width, 1)):
        return EngineReplay(name, Verdict.NOT_RUN, reason)
    verdict = Verdict.UNDECIDED
    for execution, program in _executions(engine, case.chain.depth, device).items():
        judgement, reason = _attempt(program, case.as_batch(), arithmetic)
        if judgement is None or judgement.rejected_cases.any():
            smallest = shrink(case, lambda smaller, program=program: _fails(program, smaller, arithmetic))
            shrunk, _ = _attempt(program, smallest.as_batch(), arithmetic)
            text = script(name, smallest, shrunk, case.ids[0], execution)
            where = f"{execution}: " if execution != "batched" else ""
            return EngineReplay(name, Verdict.REJECTED, where + reason, smallest, text)
        again, reason = _attempt(program, case.as_batch(), arithmetic)
        if again is None or again.got.tobytes() != judgement.got.tobytes():
            reason = reason or "it gave other bits"
            return EngineReplay(name, Verdict.REJECTED, f"{execution}: right at first, but when run again: {reason}")
        if execution == "batched":
            verdict = judgement.verdict
    if in_batch := _fails_in_batch(engine, parsed, arithmetic):
        return EngineReplay(name, Verdict.REJECTED, f"right alone, but in its batch of {parsed.rows}: {in_batch}")
    return EngineReplay(name, verdict)


def _executions(engine: Protocol, depth: int, device: Any) -> dict[str, Protocol]:
    """Return the ways in which an engine runs on one case; op by op only where that ends soon."""
    ways: dict[str, Protocol] = {"batched": engine}
    if isinstance(engine, Engine):
        ways["single"] = one_by_one(engine, "single", device)
        if depth <= MOST_LAYERS_ONE_BY_ONE:
            ways["eager"] = one_by_one(engine, "eager", device)
    return ways


def _attempt(engine: Protocol, batch: Case, arithmetic: Arithmetic) -> tuple[Judgement | None, str]:
    """Return the judgement (None if the engine returned nothing usable) and what is wrong, if anything is."""
    try:
        judgement = judge(batch, run_engine(engine, batch), arithmetic=arithmetic)
    except EngineError as error:
        return None, str(error)
    if judgement.malformed:
        return judgement, judgement.malformed
    return judgement, str(judgement.worst()) if judgement.rejected_cases.any() else ""


def _fails(engine: Protocol, case: Case, arithmetic: Arithmetic) -> bool:
    judgement, _ = _attempt(engine, case.as_batch(), arithmetic)
    return judgement is None or bool(judgement.rejected_cases.any())


def _fails_in_batch(engine: Protocol, parsed: CaseId, arithmetic: Arithmetic) -> str:
    """Return what is wrong with the case's result when the whole batch of its id is run, twice, or ""."""
    if parsed.rows is None or parsed.rows == 1:
        return ""
    batch = draw(
        parsed.ensemble, seed=parsed.seed, depth=parsed.depth, width=parsed.width, batch=parsed.batch, rows=parsed.rows
    )
    judgement, reason = _attempt(engine, batch, arithmetic)
    if judgement is None or judgement.malformed:
        return reason
    if judgement.rejected_cases[parsed.row]:
        wrong = int(np.argmax(~judgement.accepted_components[parsed.row]))
        return str(component_at(judgement.envelope, judgement.got, parsed.row, wrong))
    again, reason = _attempt(engine, batch, arithmetic)
    if again is None or again.malformed:
        return f"when run again: {reason}"
    return "" if again.got.tobytes() == judgement.got.tobytes() else "it gave other bits when it was run again"
