"""One case again: layer by layer, shrunk to the smallest chain that still fails, and as a script for a bug report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from chainback.diagnosis.reproducer import script
from chainback.engines.devices import arithmetic_of, device_of
from chainback.engines.registry import Engine
from chainback.engines.triangular import extended_jacobian
from chainback.engines.user_engines import answer, engines_named, one_by_one
from chainback.errors import EngineError
from chainback.judging.judgement import Judgement, Verdict, component_at, exit_code, judge, margin_of, overall
from chainback.operations.arithmetic import Arithmetic
from chainback.problems.case_id import CaseId
from chainback.problems.chain import Case, Chain
from chainback.problems.ensembles import draw, rebuild
from chainback.running.schedule import MOST_LAYERS_ONE_BY_ONE
from chainback.truth.chain_bound import envelope, linearisation

__all__ = ["Replay", "Replayed", "layers", "replay", "shrink"]

Protocol = Callable[..., Any]
#: How many smaller cases a shrink may try; each new shape costs a compilation.
_ATTEMPTS = 600
_MOST_ROWS = 160


@dataclass(frozen=True)
class Replayed:
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
    engines: tuple[Replayed, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict on all engines."""
        return overall(item.verdict for item in self.engines)

    @property
    def exit_code(self) -> int:
        """0 accepted, 1 rejected, 3 undecided."""
        return exit_code(self.verdict)

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [_layer_table(self.case, self.layers)]
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
) -> Replayed:
    """Run a case in every way in which a campaign might have: batched, alone, op by op, again, and among its batch."""
    if isinstance(engine, Engine) and (reason := engine.limit(case.chain.depth, case.chain.width, 1)):
        return Replayed(name, Verdict.NOT_RUN, reason)
    verdict = Verdict.UNDECIDED
    for execution, program in _executions(engine, case.chain.depth, device).items():
        judgement, reason = _attempt(program, case.as_batch(), arithmetic)
        if judgement is None or judgement.rejected_cases.any():
            smallest = shrink(case, lambda smaller, program=program: _fails(program, smaller, arithmetic))
            shrunk, _ = _attempt(program, smallest.as_batch(), arithmetic)
            text = script(name, smallest, shrunk, case.ids[0], execution)
            where = f"{execution}: " if execution != "batched" else ""
            return Replayed(name, Verdict.REJECTED, where + reason, smallest, text)
        again, reason = _attempt(program, case.as_batch(), arithmetic)
        if again is None or again.got.tobytes() != judgement.got.tobytes():
            reason = reason or "it gave other bits"
            return Replayed(name, Verdict.REJECTED, f"{execution}: right at first, but when run again: {reason}")
        if execution == "batched":
            verdict = judgement.verdict
    if in_batch := _fails_in_batch(engine, parsed, arithmetic):
        return Replayed(name, Verdict.REJECTED, f"right alone, but in its batch of {parsed.rows}: {in_batch}")
    return Replayed(name, verdict)


def _executions(engine: Protocol, depth: int, device: Any) -> dict[str, Protocol]:
    """Return the ways in which an engine runs on one case; op by op only where that ends soon."""
    ways: dict[str, Protocol] = {"batched": engine}
    if isinstance(engine, Engine):
        ways["single"] = one_by_one(engine, "single", device)
        if depth <= MOST_LAYERS_ONE_BY_ONE:
            ways["eager"] = one_by_one(engine, "eager", device)
    return ways


def _attempt(engine: Protocol, batch: Case, arithmetic: Arithmetic) -> tuple[Judgement | None, str]:
    """Return the judgement (None if the engine gave no answer) and what is wrong, if anything is."""
    try:
        judgement = judge(batch, answer(engine, batch), arithmetic=arithmetic)
    except EngineError as error:
        return None, str(error)
    if judgement.malformed:
        return judgement, judgement.malformed
    return judgement, str(judgement.worst()) if judgement.rejected_cases.any() else ""


def _fails(engine: Protocol, case: Case, arithmetic: Arithmetic) -> bool:
    judgement, _ = _attempt(engine, case.as_batch(), arithmetic)
    return judgement is None or bool(judgement.rejected_cases.any())


def _fails_in_batch(engine: Protocol, parsed: CaseId, arithmetic: Arithmetic) -> str:
    """Return what is wrong with the case's answer when the whole batch of its id is run, twice, or ""."""
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


def layers(case: Case, arithmetic: Arithmetic) -> pd.DataFrame:
    """Return a case's linearisation as the triangular method computes it, beside the truth and its bound.

    Args:
        case: A single case.
        arithmetic: The arithmetic it is computed in.

    Returns:
        Rows (layer, activation, quantity, index, computed, true, bound, margin): every state, slope and coupling, within
        the bounds by which `verify` judges a linearisation, and every adjoint.
    """
    within = envelope(case, arithmetic)
    linear, error_bounds = linearisation(within), within.error_bounds
    system = extended_jacobian(case.chain, case.inputs)
    seed = np.zeros_like(np.asarray(system.slopes))
    seed[-1] = np.asarray(system.states)[-1] - case.targets
    adjoints = np.asarray(system.solve_transposed(seed[:, :, None]))[:, :, 0]
    computed = {"state": system.states[1:], "slope": system.slopes, "coupling": system.couplings, "adjoint": adjoints}
    true = linear.split(linear.reference[0]) | {"adjoint": within.truth.adjoints[..., 0]}
    bounds = linear.split(linear.bound[0]) | {"adjoint": (error_bounds.adjoints + error_bounds.underflow)[..., 0]}
    rows = []
    for layer, name in enumerate(case.chain.activations):
        for quantity, values in computed.items():
            for index in np.ndindex(true[quantity][layer].shape):
                got, expected, bound = (
                    float(np.asarray(array)[layer][index]) for array in (values, true[quantity], bounds[quantity])
                )
                rows.append(
                    {
                        "layer": layer + 1,
                        "activation": name,
                        "quantity": quantity,
                        "index": ",".join(map(str, index)),
                        "computed": got,
                        "true": expected,
                        "bound": bound,
                        "margin": margin_of(abs(got - expected), bound),
                    }
                )
    return pd.DataFrame(rows)


def _layer_table(case: Case, frame: pd.DataFrame) -> Table:
    wide = case.chain.width > 1
    title = f"{case.ids[0] if case.ids else 'case'}: x_0 = {_numbers(case.inputs)}, y = {_numbers(case.targets)}"
    shown = frame if len(frame) <= _MOST_ROWS else pd.concat([frame.head(_MOST_ROWS // 2), frame.tail(_MOST_ROWS // 2)])
    hidden = len(frame) - len(shown)
    caption = f"{hidden} rows between the first and the last layers are not shown" if hidden else None
    table = Table(title=title, title_justify="left", caption=caption, box=None)
    for column in ("layer", "", *(("index",) if wide else ()), "computed", "true", "bound", "margin"):
        table.add_column(column, justify="left" if column in ("layer", "", "index") else "right")
    before = None
    for row in shown.to_dict("records"):
        label = f"{row['layer']} {row['activation']}" if row["layer"] != before else ""
        before = row["layer"]
        numbers = (f"{row['computed']:.9g}", f"{row['true']:.12g}", f"{row['bound']:.2g}", f"{row['margin']:.2g}")
        table.add_row(label, row["quantity"], *((row["index"],) if wide else ()), *numbers)
    return table


def _numbers(values: Any) -> str:
    return ", ".join(f"{float(v):.9g}" for v in np.asarray(values).ravel())


def shrink(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Return the smallest case found on which a failure persists: fewer layers, then units, then simpler numbers.

    Args:
        case: A single case that fails.
        fails: Whether a smaller case still does.
    """
    attempts = 0
    improved = True
    while improved:
        improved = False
        for candidate in _smaller(case):
            attempts += 1
            if attempts > _ATTEMPTS:
                return case
            if fails(candidate):
                case, improved = candidate, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    """Yield simpler cases, the boldest first."""
    chain, depth, width = case.chain, case.chain.depth, case.chain.width
    length = depth // 2
    while length:
        for start in range(0, depth, length):
            keep = [i for i in range(depth) if not start <= i < start + length]
            if keep:
                yield _with_layers(case, keep)
        length //= 2
    for unit in range(width if width > 1 else 0):
        keep = [j for j in range(width) if j != unit]
        weights, biases = chain.weights[:, keep][:, :, keep], chain.biases[:, keep]
        yield Case(Chain(weights, biases, chain.activations), case.inputs[keep], case.targets[keep])
    for layer, name in enumerate(chain.activations):
        if name != "identity":
            names = (*chain.activations[:layer], "identity", *chain.activations[layer + 1 :])
            yield replace(case, chain=replace(chain, activations=names), ids=())
    yield from _simpler_numbers(case)


def _with_layers(case: Case, keep: Sequence[int]) -> Case:
    chain = case.chain
    names = tuple(chain.activations[i] for i in keep)
    return Case(Chain(chain.weights[list(keep)], chain.biases[list(keep)], names), case.inputs, case.targets)


def _simpler_numbers(case: Case) -> Iterator[Case]:
    arrays = (case.chain.weights, case.chain.biases, case.inputs, case.targets)
    for which, array in enumerate(arrays):
        for index in np.ndindex(array.shape):
            value = array[index]
            for simple in _simpler(value):
                parts = [np.array(a) for a in arrays]
                parts[which][index] = simple
                yield Case(Chain(parts[0], parts[1], case.chain.activations), parts[2], parts[3])


def _simpler(value: np.float32) -> Iterator[np.float32]:
    """Yield simpler numbers than this one, by a measure that strictly falls, so that shrinking ends."""
    size = _complexity(value)
    options = (0.0, 1.0, -1.0, np.trunc(value), np.round(value * 8) / 8, np.round(value * 1024) / 1024)
    for option in dict.fromkeys(np.float32(o) for o in options):
        if np.isfinite(option) and _complexity(option) < size:
            yield option


def _complexity(value: np.float32) -> tuple[int, float]:
    simple = {0.0: 0, 1.0: 1, -1.0: 2}.get(float(value))
    if simple is not None:
        return simple, 0.0
    mantissa = int(np.float32(value).view(np.int32)) & 0x7FFFFF
    return 3 + 23 - (len(bin(mantissa | 1 << 23)) - len(bin(mantissa | 1 << 23).rstrip("0"))), abs(float(value))
