"""The gate beside its peers: `jax.test_util.check_grads` and `torch.autograd.gradcheck`, in one run, on the same faults.

Each tool is handed the same cases, one at a time, and the same faulty engine, as a user would meet it: a loss ½‖y − ŷ‖² of
(weights, biases) whose value is right and whose reverse-mode rule is the engine. A tool that raises has flagged the case,
whatever it raised. As every tool also sees the honest engine on the same cases, a false alarm is known for one: a fault is
*found* in a case where the tool flags the faulty gradient and passes the honest one.

What the peers do: both take central differences of the loss, `check_grads` in float32 with a step of 10⁻⁴ along a single
direction, `gradcheck` in float64 with a step of 10⁻⁶ along every axis; both then compare within one fixed tolerance. From
JAX 0.4.30 to 0.12 that direction comes of `RandomState(0)`: it is the same in every run and for every function of the same
arguments, and NumPy's global random state has no part in it.

Only reverse mode is compared. A faulty engine is a map from a chain to its gradient, which is all that a vjp rule needs; a
jvp rule made of it would project the same numbers on a direction just so.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import jax
import numpy as np
import pandas as pd
from jax import test_util
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table

from chainback.engines import networks
from chainback.engines.devices import arithmetic_of, device_of
from chainback.engines.networks import Array
from chainback.engines.registry import ENGINES
from chainback.engines.user_engines import Protocol, answer
from chainback.errors import EngineError, UsageError
from chainback.judging.judgement import judge
from chainback.problems.chain import Case, Chain
from chainback.problems.ensembles import draw_unpadded
from chainback.reporting.report import SCHEMA, writable_folder, write_csv
from chainback.running.campaign import Progress
from chainback.studies import audit

__all__ = [
    "JAX_OPERATOR_TOLERANCE",
    "PEER_FILES",
    "SideBySide",
    "Tool",
    "limits",
    "side_by_side",
    "sweep_limits",
    "tools",
]

#: Asked about an engine on one case (a batch of one): what is wrong with it, in a word; "" if nothing is.
Tool = Callable[[Protocol, Case], str]
#: What a comparison writes.
PEER_FILES = ("peers.csv", "peers_sweep.csv")
#: What JAX's own tests of its operators allow a float32 derivative, absolutely and relatively, wherever an operator asks
#: for no more. Source: jax-ml/jax, tests/lax_autodiff_test.py, `LaxAutodiffTest.testOpGrad`.
JAX_OPERATOR_TOLERANCE = 1.5e-1
#: The engine whose flags are false alarms, and which a sweep makes wrong: by formulas of our own, whatever JAX's are worth.
_RIGHT = ENGINES["triangular-substitution"]
#: The rows of that engine.
_HONEST = "honest"
#: The sizes of a sweep, as powers of two: from sixteen times too much to the last bit of a float32 number.
_SIZES = tuple(range(4, -24, -1))
#: What a sweep makes wrong: the layers whose gradients get the factor.
_SWEPT = {"one slope": slice(0, 1), "every component": slice(None)}
_ACTIVATIONS_IN_TORCH: dict[str, Callable[[Any, Array], Array]] = {
    "identity": lambda torch, z: z,
    "sigmoid": lambda torch, z: torch.sigmoid(z),
    "tanh": lambda torch, z: torch.tanh(z),
    "relu": lambda torch, z: torch.relu(z),
    "leaky_relu": lambda torch, z: torch.nn.functional.leaky_relu(z, 0.01),
    "elu": lambda torch, z: torch.nn.functional.elu(z),
    "softplus": lambda torch, z: torch.logaddexp(z, torch.zeros_like(z)),
    "silu": lambda torch, z: z * torch.sigmoid(z),
    "gelu": lambda torch, z: 0.5 * z * torch.special.erfc(-(0.5**0.5) * z),
    "sin": lambda torch, z: torch.sin(z),
}


@contextmanager
def _in_silence() -> Iterator[None]:
    """Let a peer compute with NaN, infinity and underflow unheard: what it says of them is its verdict."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _gradient_at(engine: Protocol, case: Case, weights: Array, biases: Array) -> Any:
    """Return the engine's answer on one case at these parameters, which have no batch axis, in float32."""
    weights, biases = (np.asarray(a, np.float32)[None] for a in (weights, biases))
    return answer(engine, Case(Chain(weights, biases, case.chain.activations), case.inputs, case.targets))


def by_chainback(engine: Protocol, case: Case) -> str:
    """Judge the gradient by the envelope of its case, and ask for it twice, as `verify` does.

    An answer that is malformed is rejected; a case that is undecided is not.
    """
    arithmetic = arithmetic_of(device_of(None))
    try:
        first, again = (judge(case, answer(engine, case), arithmetic=arithmetic) for _ in range(2))
    except EngineError:
        return "raised"
    if first.rejected_cases.any():
        return "malformed" if first.malformed else "rejected"
    return "" if first.got.tobytes() == again.got.tobytes() else "unsteady"


@jax.jit
def _loss(weights: Array, biases: Array, codes: Array, x: Array, y: Array) -> Array:
    return networks.loss(networks.scanned(weights, biases, codes, x), y)


def by_check_grads(engine: Protocol, case: Case, tolerance: float | None = None) -> str:
    """Run `jax.test_util.check_grads` of order 1, in reverse mode, on a loss whose `custom_vjp` is the engine.

    The loss is one jitted program, and so is the engine, if it is one of ours.

    Args:
        engine: The engine.
        case: A batch of one.
        tolerance: Both tolerances; None for check_grads' own.
    """
    codes, x, y = networks.codes(case.chain.activations), case.inputs[0], case.targets[0]

    @jax.custom_vjp
    def loss(weights: Array, biases: Array) -> Array:
        return _loss(weights, biases, codes, x, y)

    def forward(weights: Array, biases: Array) -> tuple[Array, tuple[Array, Array]]:
        return loss(weights, biases), (weights, biases)

    def backward(parameters: tuple[Array, Array], cotangent: Array) -> Any:
        found = _gradient_at(engine, case, *parameters)
        return jax.tree_util.tree_map(lambda part: np.asarray(part)[0] * np.asarray(cotangent), found)

    loss.defvjp(forward, backward)
    arguments = (case.chain.weights[0], case.chain.biases[0])
    with _in_silence():
        try:
            test_util.check_grads(loss, arguments, order=1, modes=["rev"], atol=tolerance, rtol=tolerance)
        except Exception as error:  # an AssertionError is its verdict; whatever else it raises shows the fault as well
            return type(error).__name__
    return ""


@functools.cache
def _torch() -> Any:
    return importlib.import_module("torch")


def by_gradcheck(engine: Protocol, case: Case) -> str:
    """Run `torch.autograd.gradcheck` at its defaults, in float64, on a loss whose `backward` is the engine.

    The parameters are those of the case, as doubles; the engine computes in float32, and its gradient is cast to double:
    a dtype that is wrong cannot show here.
    """
    torch = _torch()
    x, y = (torch.tensor(np.asarray(a[0], np.float64)) for a in (case.inputs, case.targets))

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, weights: Array, biases: Array) -> Array:
            ctx.save_for_backward(weights, biases)
            state = x
            for weight, bias, name in zip(weights, biases, case.chain.activations, strict=True):
                state = _ACTIVATIONS_IN_TORCH[name](torch, weight @ state + bias)
            return 0.5 * ((state - y) ** 2).sum()

        @staticmethod
        def backward(ctx: Any, cotangent: Array) -> Any:
            found = _gradient_at(engine, case, *(part.detach().numpy() for part in ctx.saved_tensors))
            return jax.tree_util.tree_map(lambda part: torch.tensor(np.asarray(part, float)[0]) * cotangent, found)

    parameters = [torch.tensor(np.asarray(a[0], np.float64)) for a in (case.chain.weights, case.chain.biases)]
    for parameter in parameters:
        parameter.requires_grad_()
    with _in_silence():
        try:
            passed = torch.autograd.gradcheck(Loss.apply, parameters, raise_exception=False)
        except Exception as error:  # as above
            return type(error).__name__
    return "" if passed else "GradcheckError"


def tools() -> dict[str, Tool]:
    """Return the tools that are compared here: chainback, and those of its peers that are installed."""
    found: dict[str, Tool] = {
        "chainback": by_chainback,
        "check_grads": by_check_grads,
        f"check_grads at {JAX_OPERATOR_TOLERANCE:.0%}": functools.partial(
            by_check_grads, tolerance=JAX_OPERATOR_TOLERANCE
        ),
    }
    if importlib.util.find_spec("torch") is not None:
        found["gradcheck"] = by_gradcheck
    return found


@dataclass(frozen=True)
class SideBySide:
    """What each tool saw of the same faults on the same cases.

    Attributes:
        faults: A row for each fault and tool, the honest engine first: how many cases were flagged, as a share, and in which
            words; on how many of them the honest engine is flagged (`alarms`); and how many are flagged only for the fault
            (`found`).
        sweep: A row for each kind, size and tool: the share of the cases that were flagged, and that were found.
    """

    faults: pd.DataFrame
    sweep: pd.DataFrame

    def __rich__(self) -> RenderableType:
        title = "Share of the cases flagged, and where it is not 0 the share flagged with the honest engine"
        flagged = _table(title, ("fault", *dict.fromkeys(self.faults["tool"])))
        for name, rows in self.faults.groupby("fault", sort=False):
            flagged.add_row(str(name), *(_flags(row) for row in rows.to_dict("records")))
        columns = ("wrong", "tool", "in half of the cases", "of chainback's", "in any case", "of chainback's")
        smallest = _table(f"Smallest relative fault that was found, of 2^{_SIZES[0]} to 2^{_SIZES[-1]}", columns)
        for row in limits(self.sweep).to_dict("records"):
            cells = (_power(row["half"]), _times(row["half_ratio"]), _power(row["any"]), _times(row["any_ratio"]))
            smallest.add_row(row["fault"], row["tool"], *cells)
        return Group(flagged, smallest)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write `peers.csv` and `peers_sweep.csv` to a folder.

        Raises:
            UsageError: The folder cannot be written.
        """
        target = writable_folder(folder, PEER_FILES)
        write_csv(self.faults, target / "peers.csv")
        write_csv(self.sweep, target / "peers_sweep.csv")

    def print(self, console: Console | None = None) -> None:
        """Print both tables."""
        (console or Console()).print(self)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, justify="left" if column in ("fault", "wrong", "tool") else "right")
    return table


def _flags(row: dict[Any, Any]) -> str:
    false = f" ({row['alarms'] / row['cases']:.0%})" if row["alarms"] and row["fault"] != _HONEST else ""
    return f"{row['share']:.0%}{false}"


def _power(exponent: float) -> str:
    return "none" if np.isnan(exponent) else f"2^{exponent:.0f}"


def _times(ratio: float) -> str:
    return "–" if np.isnan(ratio) else f"× {ratio:,.0f}"


def side_by_side(
    *,
    cases: int = 20,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> SideBySide:
    """Show every named fault to chainback and to its peers, on the same cases; then find how small a fault each finds.

    The cases of a fault are spread over its ensembles, and all are as deep as it asks. A fault that strikes rarely may not
    strike in so few of them (`audit` looks at thousands): its row is kept.

    Args:
        cases: How many chains each tool is shown of each fault.
        seed: Decides which.
        output: Folder for `peers.csv` and `peers_sweep.csv`; found to be writable before the comparison starts.
        progress: Called as the comparison goes on.

    Raises:
        UsageError: An argument cannot be used.
    """
    _require_cases(cases)
    tell = progress or (lambda done, total, what: None)
    if output is not None:
        writable_folder(output, PEER_FILES)
    chosen, total = tools(), len(audit.FAULTS) + 1
    honest: dict[str, dict[str, str]] = {name: {} for name in chosen}
    rows = []
    for done, fault in enumerate(audit.FAULTS.values()):
        tell(done, total, fault.name)
        shown = _cases_of(fault, cases, seed)
        for name, tool in chosen.items():
            for case in shown:
                if case.ids[0] not in honest[name]:
                    honest[name][case.ids[0]] = tool(_RIGHT, case)
            flags = [tool(fault.engine, case) for case in shown]
            rows.append(_row(fault.name, name, flags, [honest[name][case.ids[0]] for case in shown]))
    flags_of_honest = {name: list(by_case.values()) for name, by_case in honest.items()}
    first = [_row(_HONEST, name, flags, flags) for name, flags in flags_of_honest.items()]
    tell(total - 1, total, "detection limits")
    found = SideBySide(pd.DataFrame(first + rows), sweep_limits(cases=cases, seed=seed))
    if output is not None:
        found.write(output)
    return found


def _require_cases(cases: int) -> None:
    if cases < 1:
        raise UsageError(f"`cases` must be at least 1, got {cases}")


def _row(fault: str, tool: str, flags: Sequence[str], honest: Sequence[str]) -> dict[str, Any]:
    words = {word: flags.count(word) for word in flags if word}
    return {
        "schema": SCHEMA,
        "fault": fault,
        "tool": tool,
        "cases": len(flags),
        "flagged": sum(words.values()),
        "share": sum(words.values()) / len(flags),
        "alarms": sum(map(bool, honest)),
        "found": _found(flags, honest),
        "note": ", ".join(f"{number} {word}" for word, number in words.items()),
    }


def _found(flags: Sequence[str], honest: Sequence[str]) -> int:
    return sum(bool(flag) and not alarm for flag, alarm in zip(flags, honest, strict=True))


def _cases_of(fault: audit.Fault, number: int, seed: int) -> list[Case]:
    """Return so many cases, spread evenly over the ensembles and shapes on which a fault can show."""
    places = list(product(fault.ensembles, fault.depths, fault.widths))
    return [
        case
        for place, (name, depth, width) in enumerate(places)
        for case in draw_unpadded(
            name, seed=seed, depth=depth, width=width, rows=1, count=len(range(place, number, len(places)))
        )
    ]


def sweep_limits(*, ensemble: str = "lecture", depth: int = 8, cases: int = 20, seed: int = 0) -> pd.DataFrame:
    """Make gradients wrong by a factor 1 + 2^k, for k from 4 down to −23, and see which tools flag them.

    Two kinds of fault are swept, on cases of full depth: a wrong slope of the first layer, which enters the gradient of that
    layer alone, and a factor on every component. Under layers whose gradients dwarf it, a check of one direction sees the
    first kind worst; the second it sees best.

    Args:
        ensemble: The family of cases.
        depth: Their depth; their width is 1.
        cases: How many.
        seed: Decides which.

    Returns:
        Rows (schema, fault, tool, log2, share, found): k, the share of the cases flagged, and the share flagged that are not
        flagged without the fault.

    Raises:
        UsageError: An argument cannot be used.
    """
    _require_cases(cases)
    shown, rows = draw_unpadded(ensemble, seed=seed, depth=depth, width=1, rows=1, count=cases), []
    for (kind, layers), (name, tool) in product(_SWEPT.items(), tools().items()):
        honest = [tool(_scaled(layers, 1.0), case) for case in shown]
        for k in _SIZES:
            flags = [tool(_scaled(layers, 1.0 + 2.0**k), case) for case in shown]
            shares = {"share": sum(map(bool, flags)) / cases, "found": _found(flags, honest) / cases}
            rows.append({"schema": SCHEMA, "fault": kind, "tool": name, "log2": k} | shares)
    return pd.DataFrame(rows)


def _scaled(layers: slice, factor: float) -> Protocol:
    """Return an engine whose gradients of some layers are too large by a factor."""

    def gradients(*arguments: Any) -> tuple[Array, Array]:
        parts = [np.array(part) for part in _RIGHT(*arguments)]
        for part in parts:
            part[:, layers] *= np.float32(factor)
        return parts[0], parts[1]

    return gradients


def limits(sweep: pd.DataFrame) -> pd.DataFrame:
    """Return the smallest fault that each tool finds, from the rows of `sweep_limits`.

    A fault is found in a case that is flagged with it and not without it: a tool that flags everything finds nothing, and
    one false alarm does not rob a tool of its other cases.

    Args:
        sweep: The rows.

    Returns:
        Rows (schema, fault, tool, half, any, half_ratio, any_ratio): the exponent of the smallest fault that is found in at
        least half of the cases, and in at least one; and how many times chainback's these are. NaN where there is none.
    """
    swept = sweep.to_dict("records")
    least: dict[tuple[str, str], dict[str, float]] = {}
    for key in dict.fromkeys((row["fault"], row["tool"]) for row in swept):
        found = [(float(row["log2"]), row["found"]) for row in swept if (row["fault"], row["tool"]) == key]
        half = min((k for k, share in found if share >= 0.5), default=np.nan)
        some = min((k for k, share in found if share > 0.0), default=np.nan)
        least[key] = {"half": half, "any": some}
    rows = []
    for (kind, name), smallest in least.items():
        ratios = {f"{key}_ratio": 2.0 ** (k - least[kind, "chainback"][key]) for key, k in smallest.items()}
        rows.append({"schema": SCHEMA, "fault": kind, "tool": name} | smallest | ratios)
    return pd.DataFrame(rows)
