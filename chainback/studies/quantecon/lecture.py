"""The lecture from which chainback grew, start to end, beside the figures that it prints.

Its subject is a chain of width 1: sigmoid layers, an identity layer at the end, the loss ½(y − ŷ)². It writes the
derivatives of all layers as (I − L) dx = D dp, solves that triangular system, and trains by what comes out.

The right form of what it misprints (its code has it right, and so has this package):

* D holds δ_i x_i and δ_i; printed is δ_i w_i in the place of the first.
* L holds δ_i w_i; printed is w_i.
* The total differential of a layer ends in db_i; printed is b_i.
* dL/dŷ is ŷ − y; printed is its negative.
* The composition's second affine map is l_{N−1}; printed is l_1 once more.
* Its text speaks of 300 epochs in Example 1; its code runs 500. Its loop splits a key that it then does not use, so that
  every epoch visits the points in the same order.

Source: QuantEcon, *Introduction to Artificial Neural Networks*, whose triangular form is credited there to A. Edelman.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from chainback.engines.devices import device_of
from chainback.engines.registry import ENGINES
from chainback.processes.watch import Progress
from chainback.reporting.files import writable_folder, write_csv
from chainback.studies.quantecon.check import check
from chainback.studies.quantecon.depth import DEPTHS, STEPS, depth_study, one_layer_is_best
from chainback.studies.quantecon.examples import drift, example_rows, second_example, table_of
from chainback.studies.quantecon.figures import STREAMS, Row
from chainback.studies.quantecon.problems import QUICKEST, first_example, line
from chainback.studies.quantecon.timing import Timing, example_one_timing, loop_row, require, side_by_side

__all__ = ["FILES", "Lecture", "example_one_timing", "lecture"]


#: What a run writes.
FILES = ("lecture.csv", "drift.csv", "depth.csv", "layers.csv", "approximations.csv")


@dataclass(frozen=True, eq=False)
class Lecture:
    """What the lecture comes to on this JAX and device.

    Attributes:
        jax: JAX's version.
        platform: Where it ran.
        stream: The random stream, one of `STREAMS`.
        rows: Every figure, and whether it agrees.
        drift: How far each engine's parameters were from those of float64, in the largest component, after each epoch of
            Example 1: engine, updates, distance.
        depth: Depth and step size against the final mean squared error on Example 1's problem, and where it stopped.
        layers: Depth and layer against the norm of the gradient in that layer at the start, root mean square over points.
        approximations: The examples' targets and predictions at every point.
        timing: How long Example 1 took.
        seconds: How long everything took, compilation included.
    """

    jax: str
    platform: str
    stream: str
    rows: tuple[Row, ...]
    drift: pd.DataFrame
    depth: pd.DataFrame
    layers: pd.DataFrame
    approximations: pd.DataFrame
    timing: Timing
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether every figure agrees."""
        return bool(self.rows) and all(row.agrees for row in self.rows)

    @property
    def exit_code(self) -> int:
        """0 where every figure agrees, else 1."""
        return 0 if self.agrees else 1

    @property
    def apart(self) -> float:
        """The largest distance between the parameters of two engines at the end of Example 1, in any component."""
        return float(self.drift.attrs["apart"])

    def to_frame(self) -> pd.DataFrame:
        """Return the figures as a table."""
        return pd.DataFrame(
            [
                {
                    "figure": row.what,
                    "printed": " ".join(row.printed),
                    "ours": " ".join(_shown(number) for number in row.ours),
                    "agrees": row.agrees,
                    "same_digits": row.same,
                    "allowed": row.allowed,
                }
                for row in self.rows
            ]
        )

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write every table as CSV.

        Raises:
            UsageError: The folder cannot be written.
        """
        place = writable_folder(folder, FILES)
        tables = (self.to_frame(), self.drift, self.depth, self.layers, self.approximations)
        for name, table in zip(FILES, tables, strict=True):
            write_csv(table, place / name)

    def print(self, console: Console | None = None) -> None:
        """Print the figures, the study of depth, and the times."""
        console = console or Console()
        console.print(f"jax {self.jax}, {self.platform}, random stream {self.stream}")
        console.print(_figures(self.rows), _study(self.depth, self.layers))
        for sentence in self.sentences():
            console.print(sentence)

    def sentences(self) -> list[str]:
        """Return what the tables do not say."""
        timing, wrong = self.timing, [row.what for row in self.rows if not row.agrees]
        scaled = f"{timing.loop_updates:,} updates took {timing.loop_s:.2f} s; scaled"
        scaled = scaled if timing.loop_updates < timing.updates else "all of them"
        verdict = f"DISAGREES in {len(wrong)} of {len(self.rows)}: {'; '.join(wrong)}"
        return [
            f"Rounding alone: after {timing.updates:,} updates the engines' parameters are at most {self.apart:.2g} apart, "
            f"and at most {self.drift['distance'].max():.2g} from float64's at any time.",
            f"Example 1, {timing.updates:,} updates: the lecture's way {timing.scaled_s:.2f} s ({scaled}), one "
            f"program {1e3 * timing.program_s:.2f} ms (mean of {timing.runs}), {timing.ratio:,.0f} times faster.",
            f"{verdict if wrong else f'AGREES in all {len(self.rows)} figures'}, in {self.seconds:.1f} s",
        ]


def lecture(
    *,
    output: str | os.PathLike[str] | None = None,
    stream: str = "since 0.5",
    loop_updates: int = 10_000,
    progress: Progress | None = None,
) -> Lecture:
    """Run the lecture, on its own figures, and compare.

    Args:
        output: Folder for the tables; none are written without one.
        stream: One of `STREAMS`, whichever JAX is installed.
        loop_updates: How many updates to run in the lecture's own way, for its time; a multiple of its 200 points.
        progress: Told (parts done, parts in all, what is being done).

    Raises:
        UsageError: The stream is unknown, the updates are no multiple of 200, or the folder cannot be written.
    """
    require(stream, loop_updates)
    if output is not None:
        writable_folder(output, FILES)
    started, say = time.perf_counter(), progress or (lambda done, total, what: None)
    parts = len(ENGINES) + len(DEPTHS) + 2
    say(0, parts, "the check")
    rows, runs = check(stream), {}
    for name in ENGINES:
        say(len(runs), parts, f"Example 1 by {name}")
        runs[name] = first_example(stream, name, trace=True)
    say(len(runs), parts, "the lecture's own loop")
    timing, looped = side_by_side(stream, loop_updates)
    rows += [*example_rows(stream, runs), loop_row(looped, runs["triangular-dense"], loop_updates)]
    depth, layers = depth_study(stream, lambda done, what: say(len(runs) + 1 + done, parts, what))
    rows.append(one_layer_is_best(depth))
    say(parts - 1, parts, "Example 2")
    tables, second = second_example(stream)
    tables.insert(0, table_of("-3x + 2", runs[QUICKEST].chain, line()))
    other = next(name for name in STREAMS if name != stream)
    rows += second + [replace(row, what=f"{row.what} ({other})") for row in check(other)]
    lectured = Lecture(
        jax=jax.__version__,
        platform=device_of(None).platform,
        stream=stream,
        rows=tuple(rows),
        drift=drift(stream, runs),
        depth=depth,
        layers=layers,
        approximations=pd.concat(tables, ignore_index=True),
        timing=timing,
        seconds=time.perf_counter() - started,
    )
    if output is not None:
        lectured.write(output)
    return lectured


def _shown(number: float) -> str:
    return f"{number:.8g}"


def _figures(rows: Sequence[Row]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column, side in (
        ("figure", "left"),
        ("the lecture", "right"),
        ("here", "right"),
        ("allowed", "right"),
        ("", "left"),
    ):
        table.add_column(column, justify=side)  # pyright: ignore[reportArgumentType]
    for row in rows:
        mark = "✓ same digits" if row.same and row.agrees else "✓" if row.agrees else "✗"
        digits = 8 if row.printed else 3
        here = "\n".join(f"{number:.{digits}g}" for number in row.ours)
        table.add_row(row.what, "\n".join(row.printed), here, f"{row.allowed:.1e}", mark)
    return table


def _study(depth: pd.DataFrame, layers: pd.DataFrame) -> Table:
    table = Table(
        title="How deep? Mean squared error by step size", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for column in ("N", *(f"{step:g}" for step in STEPS), "|g_1|", "|g_N|", "|g_1| / |g_N|"):
        table.add_column(column, justify="right")
    for number, runs in depth.groupby("depth"):
        norms = layers[layers["depth"] == number]["gradient_norm"].tolist()
        errors = [
            "stopped" if row["stopped"] else f"{row['mean_squared_error']:.3g}" for row in runs.to_dict("records")
        ]
        table.add_row(str(number), *errors, *(f"{norm:.2g}" for norm in (norms[0], norms[-1], norms[0] / norms[-1])))
    return table
