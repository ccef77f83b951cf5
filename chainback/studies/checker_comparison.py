"""chainback beside other checkers, in one run, on the same faults: what each flags, and how small a fault it finds.

As every checker also sees the honest engine on the same cases, a false alarm is known for one: a fault is *found* in a case
where the checker flags the faulty gradient and passes the honest one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table

from chainback.engines.networks import Array
from chainback.engines.registry import ENGINES
from chainback.engines.user_engines import Protocol
from chainback.errors import UsageError
from chainback.problems.chain import Case
from chainback.problems.ensembles import draw_unpadded
from chainback.processes.watch import Progress
from chainback.reporting.files import writable_folder, write_csv
from chainback.reporting.schema import SCHEMA
from chainback.studies.other_checkers import checkers
from chainback.studies.planted_faults import FAULTS, Fault

__all__ = ["FILES", "CheckerComparison", "compare_checkers", "limits", "sweep_limits"]

#: What a comparison writes.
FILES = ("peers.csv", "peers_sweep.csv")
#: The engine whose flags are false alarms, and which a sweep makes wrong: it uses no derivative of JAX.
_RIGHT = ENGINES["triangular-substitution"]
#: The rows of that engine.
_HONEST = "honest"
#: The sizes of a sweep, as powers of two: from sixteen times too much to the last bit of a float32 number.
_SIZES = tuple(range(4, -24, -1))
#: What a sweep makes wrong: the layers whose gradients get the factor.
_SWEPT = {"one slope": slice(0, 1), "every component": slice(None)}


@dataclass(frozen=True)
class CheckerComparison:
    """What each checker found of the same faults on the same cases.

    Attributes:
        faults: A row for each fault and checker, the honest engine first: how many cases were flagged, as a share, and in
            which words; on how many of them the honest engine is flagged (`alarms`); and how many are flagged only for the
            fault (`found`).
        sweep: A row for each kind, size and checker: the share of the cases that were flagged, and that were found.
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
        target = writable_folder(folder, FILES)
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


def compare_checkers(
    *,
    cases: int = 20,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> CheckerComparison:
    """Run every checker on every named fault, on the same cases; then find how small a fault each finds.

    The cases of a fault are spread over its ensembles, and all are as deep as it asks. A fault that strikes rarely may not
    strike in so few of them (`audit` looks at thousands): its row is kept.

    Args:
        cases: How many chains each checker gets of each fault.
        seed: Decides which.
        output: Folder for `peers.csv` and `peers_sweep.csv`; found to be writable before the comparison starts.
        progress: Called as the comparison goes on.

    Raises:
        UsageError: An argument cannot be used.
    """
    _require_cases(cases)
    log = progress or (lambda done, total, what: None)
    if output is not None:
        writable_folder(output, FILES)
    chosen, total = checkers(), len(FAULTS) + 1
    honest: dict[str, dict[str, str]] = {name: {} for name in chosen}
    rows = []
    for done, fault in enumerate(FAULTS.values()):
        log(done, total, fault.name)
        chains = _cases_of(fault, cases, seed)
        for name, checker in chosen.items():
            for case in chains:
                if case.ids[0] not in honest[name]:
                    honest[name][case.ids[0]] = checker(_RIGHT, case)
            flags = [checker(fault.engine, case) for case in chains]
            rows.append(_row(fault.name, name, flags, [honest[name][case.ids[0]] for case in chains]))
    flags_of_honest = {name: list(by_case.values()) for name, by_case in honest.items()}
    first = [_row(_HONEST, name, flags, flags) for name, flags in flags_of_honest.items()]
    log(total - 1, total, "detection limits")
    found = CheckerComparison(pd.DataFrame(first + rows), sweep_limits(cases=cases, seed=seed))
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


def _cases_of(fault: Fault, number: int, seed: int) -> list[Case]:
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
    """Make gradients wrong by a factor 1 + 2^k, for k from 4 down to −23, and see which checkers flag them.

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
    chains, rows = draw_unpadded(ensemble, seed=seed, depth=depth, width=1, rows=1, count=cases), []
    for (kind, layers), (name, checker) in product(_SWEPT.items(), checkers().items()):
        honest = [checker(_scaled(layers, 1.0), case) for case in chains]
        for k in _SIZES:
            flags = [checker(_scaled(layers, 1.0 + 2.0**k), case) for case in chains]
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
    """Return the smallest fault that each checker finds, from the rows of `sweep_limits`.

    A fault is found in a case that is flagged with it and not without it: a checker that flags everything finds nothing, and
    one false alarm does not cost a checker its other cases.

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
