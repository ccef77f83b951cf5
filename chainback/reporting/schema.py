"""Schema of everything that is written as CSV: each table, its columns with kind and meaning, and what identifies a row.

Tables of a report: `tolerance`, `steps`, `agreement`, `activations`, `curves`, `functions`, `rejections`. Of other commands:
`comparison`; `versions`, `engines`, `sweeps`, `changes` (history); `audit`, `detection`, `bias`; `peers`, `peers_sweep`;
`bench`; `lecture`, `drift`, `depth`, `layers`, `approximations`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from chainback.reporting.columns import Column, Kind, Table, error_columns

__all__ = [
    "COUNTS_FILE",
    "ENVIRONMENT_FILE",
    "IDENTITY",
    "KEYS",
    "PAGE_FILE",
    "READABLE",
    "RENAMED",
    "REPORT_FILES",
    "REPORT_TABLES",
    "SCHEMA",
    "TABLES",
    "differences",
    "frame_of",
    "kind_of",
]

#: Raised whenever a table or a column is added, changes its name or its meaning.
SCHEMA = 2
#: The schemas that can be read.
READABLE = (1, 2)
#: By schema, the columns that have another name now.
RENAMED: Mapping[int, Mapping[str, str]] = {1: {"informative": "sharp"}}


TEXT, DIGEST, WHOLE, NUMBER, FLAG = Kind

_SCHEMA = Column("schema", WHOLE, "Number of this schema")
_JAX = Column("jax", TEXT, "Version of JAX")
_VERDICT = Column("verdict", TEXT, "accepted, rejected, undecided, not run, known, or not there")
_DIGEST = Column("digest", DIGEST, "Of all bits that were judged, whatever the order of the batches")
_NOTE = Column("note", TEXT, "Why it was not run; of a rejected row the first rejection; of a function the known fault")
_MARGIN_MAX, _U_MAX = error_columns("margin_max", "error_u_max")

_IDENTITY = (
    _SCHEMA,
    _JAX,
    Column("jaxlib", TEXT, "Version of jaxlib"),
    Column("platform", TEXT, "cpu, gpu, …; several are joined by `and`"),
    Column("device_kind", TEXT, "What JAX calls the device"),
    Column("dtype", TEXT, "Of what was judged"),
    Column("matmul_precision", TEXT, "The arithmetic of matrix products whose bounds hold: float32, tf32, bfloat16"),
)
#: The columns that every row of a report's tables begins with.
IDENTITY = tuple(column.name for column in _IDENTITY)

_SHAPE = (
    Column("ensemble", TEXT, "Family of random chains"),
    Column("depth", WHOLE, "Layers of a chain"),
    Column("width", WHOLE, "Units of a layer"),
)
_ROW = (
    Column("engine", TEXT, "Which engine; on one of several platforms, `engine@platform`"),
    Column("execution", TEXT, "batched; single: jitted, a case alone; eager: op by op"),
    *_SHAPE,
)
_JUDGED = Column(
    "judged", TEXT, "linearisation or substitution of the triangular method, or truth as a device computed it"
)
_COUNTED = (
    Column("cases", WHOLE, "Cases that were judged"),
    Column("components", WHOLE, "Gradient components of these cases"),
    Column("accepted", WHOLE, "Cases with every component within its bound"),
    Column("rejected", WHOLE, "Cases with a component beyond its bound"),
    Column("undecided", WHOLE, "Cases without a finite bound"),
    _VERDICT,
    Column("sharp", NUMBER, "Share of the components judged sharply: bound <= 10^-3 |reference| in float32"),
    *error_columns("margin_max", "margin_p99", "margin_p50", "error_u_max", "error_u_p99", "error_u_p50"),
    *error_columns("margin_mean", "margin_mean_se", "error_u_mean", "error_u_mean_se"),
    *error_columns("margin_rms", "margin_rms_se", "error_u_rms", "error_u_rms_se"),
    Column("bound_u_p50", NUMBER, "Median bound in units of u |reference|"),
    Column("bound_u_p99", NUMBER, "99th percentile of the bound in units of u |reference|"),
    Column("worst_case", TEXT, "Id of the case with the largest margin"),
    _DIGEST,
    Column("compile_s", NUMBER, "Seconds of compilation"),
    Column("run_s", NUMBER, "Seconds of execution"),
    _NOTE,
)
_SWEPT = (
    Column("quantity", TEXT, "value, slope, derivative"),
    Column("method", TEXT, "primal, forward, reverse, closed form"),
    Column("execution", TEXT, "jitted or eager"),
)
_POINTS = (
    Column("points", WHOLE, "Points that were judged"),
    Column("accepted", WHOLE, "Points within their bound"),
    Column("rejected", WHOLE, "Points beyond it, where no fault is known"),
    _VERDICT,
    Column("sharp", NUMBER, "Share of the points whose bound is at most 10^-3 |reference|"),
    *error_columns("margin_max", "error_u_max", "error_u_p99", "error_u_rms"),
    Column("lost_everything", NUMBER, "Points with an error of half the reference or more"),
    _DIGEST,
)
_ACTIVATION = Column("activation", TEXT, "Name of the activation")

_REPORT = (
    Table(
        "tolerance",
        "An engine against the truth, in one execution, on one ensemble and shape",
        (*_IDENTITY, *_ROW, *_COUNTED),
        key=("engine", "execution", "ensemble", "depth", "width"),
    ),
    Table(
        "steps",
        "One step by itself: of the triangular method, or the truth as a device computed it",
        (
            *_IDENTITY,
            _JUDGED,
            *_ROW,
            *_COUNTED,
            Column("sharper_p50", NUMBER, "How many times the step's bound is below the gradient's, median"),
        ),
        key=("judged", "engine", "execution", "ensemble", "depth", "width"),
    ),
    Table(
        "agreement",
        "Two engines on the same cases",
        (
            *_IDENTITY,
            Column("engine_a", TEXT, "One engine"),
            Column("engine_b", TEXT, "The other"),
            *_SHAPE,
            Column("components", WHOLE, "Components that were compared"),
            Column("identical", NUMBER, "Share of them with the same bits"),
            Column("disagreeing", WHOLE, "Components further apart than the sum of both bounds"),
            Column("sharp", NUMBER, "Share of the components for which that sum is sharp"),
            Column("margin_max", NUMBER, "Largest distance / sum of the bounds"),
            _VERDICT,
        ),
        key=("engine_a", "engine_b", "ensemble", "depth", "width"),
    ),
    Table(
        "activations",
        "An activation alone, over a grid of z",
        (
            *_IDENTITY,
            _ACTIVATION,
            *_SWEPT,
            *_POINTS,
            Column("worst_z", NUMBER, "Where the margin is largest"),
            Column("error_u_max_z", NUMBER, "Where the error in u is largest"),
            _NOTE,
        ),
        key=("activation", "quantity", "method", "execution"),
    ),
    Table(
        "curves",
        "The same sweep of an activation as a curve",
        (*_IDENTITY, _ACTIVATION, *_SWEPT),
        key=("activation", "quantity", "method", "execution"),
        further=Column(
            "z", NUMBER, "Largest error in u in a bin of z, named by its middle; nan where no reference is normal"
        ),
    ),
    Table(
        "functions",
        "An elementary function alone, over points where it is hard",
        (
            *_IDENTITY,
            Column("function", TEXT, "Its path"),
            Column("argument", TEXT, "Of the argument that it is differentiated by, 0 or 1; empty for the value"),
            *_SWEPT,
            Column("second", TEXT, "How the second argument is given; empty for a function of one"),
            *_POINTS,
            Column("known", NUMBER, "Points that are wrong where a fault of JAX is known"),
            Column("worst_x", NUMBER, "Where the margin is largest: first argument"),
            Column("worst_y", NUMBER, "Second argument"),
            Column("got", NUMBER, "Result there"),
            Column("expected", NUMBER, "Reference there"),
            Column("error_u_max_x", NUMBER, "Where the error in u is largest: first argument"),
            Column("loses", TEXT, "By which rule digits are lost within the bound"),
            _NOTE,
        ),
        key=("function", "argument", "quantity", "method", "execution", "dtype", "second"),
    ),
    Table(
        "rejections",
        "A rejected result: the first rejected case of a batch",
        (
            *_IDENTITY,
            *_ROW,
            Column("batch", WHOLE, "Number of the batch among those of its ensemble and shape"),
            Column("case_id", TEXT, "Id of the case"),
            Column("step", TEXT, f"What was judged if not the gradient: {_JUDGED.meaning}"),
            Column("component", TEXT, "First wrong component; empty where the result was rejected as a whole"),
            Column("got", NUMBER, "Its value"),
            Column("expected", NUMBER, "Its reference"),
            Column("bound", NUMBER, "Largest |got - expected| that would have been accepted"),
            Column("wrong", WHOLE, "Wrong components of the case"),
            Column("components", WHOLE, "Components of the case"),
            Column("reason", TEXT, "What was wrong, in a sentence"),
        ),
    ),
)

_SIDES = tuple(
    Column(f"{name}_{side}", kind, f"{name} of the {side} report")
    for name, kind in (
        ("verdict", TEXT),
        ("digest", DIGEST),
        *((name, NUMBER) for name in ("margin_max", "error_u_max", "error_u_mean", "error_u_rms")),
    )
    for side in ("old", "new")
)
_CHANGE = (
    _SCHEMA,
    Column("jax_old", TEXT, "JAX of the old report"),
    Column("jax_new", TEXT, "JAX of the new report"),
    Column("table", TEXT, "Table of the row"),
    Column("subject", TEXT, "Engine, activation or function"),
    Column("row", TEXT, "The row's key"),
    Column("outcome", TEXT, "identical, within bound, drifted, mended, rejected, missing, …"),
    Column("worse", FLAG, "Whether that is worse than before"),
    Column("moved", TEXT, "What moved, from where to where"),
)
_CHANGE_NOTE = Column("note", TEXT, "Note of a row that is rejected or known to be wrong")
_WORST = Column("margin_max", NUMBER, "Largest margin over its rows")

_OTHERS = (
    Table("comparison", "A row of two reports", (*_CHANGE, *_SIDES, _CHANGE_NOTE)),
    Table("changes", "A row that changed from one version to the next", (*_CHANGE, _CHANGE_NOTE)),
    Table(
        "versions",
        "A version of JAX in a history",
        (
            _SCHEMA,
            _JAX,
            Column("python", TEXT, "Version of Python"),
            _VERDICT,
            *(Column(name, TEXT, f"Version of {name}") for name in ("jaxlib", "numpy", "scipy")),
            Column("elapsed_s", NUMBER, "Seconds"),
            Column("failure", TEXT, "Why it did not run"),
            *(
                Column(name, WHOLE, f"Rows that are {name.replace('_', ' ')} against the version before")
                for name in (
                    "identical",
                    "within_bound",
                    "drifted",
                    "mended",
                    "rejected",
                    "undecided",
                    "missing",
                    "new",
                )
            ),
            Column("worse", WHOLE, "Rows that are worse"),
        ),
    ),
    Table(
        "engines",
        "An engine under a version of JAX",
        (
            _SCHEMA,
            _JAX,
            _ROW[0],
            _VERDICT,
            *_COUNTED[:1],
            Column("rejected", WHOLE, "Rejected cases"),
            _WORST,
            *error_columns("error_u_p99", "error_u_rms", "error_u_mean"),
            _DIGEST,
            Column("compile_s", NUMBER, "Seconds of compilation"),
            Column("run_ns_per_layer", NUMBER, "Nanoseconds a layer and case, batched"),
        ),
    ),
    Table(
        "sweeps",
        "An activation or function in one way",
        (_SCHEMA, *_CHANGE[3:6]),
        further=Column("version", TEXT, "Root mean square error in u under that JAX, or the verdict if not accepted"),
    ),
    Table(
        "audit",
        "A planted fault",
        (
            _SCHEMA,
            Column("fault", TEXT, "Its name"),
            Column("what", TEXT, "What it is planted in"),
            Column("size", NUMBER, "Relative size; inf where it is none"),
            Column("verdict", TEXT, "caught or escaped"),
            Column("share_rejected", NUMBER, "Share of the cases that were rejected"),
            Column("first", TEXT, "First rejection"),
        ),
    ),
    Table(
        "detection",
        "The smallest relative fault in one slope that was caught",
        (
            _SCHEMA,
            *_SHAPE[:2],
            Column("log2", WHOLE, "Its binary logarithm"),
            Column("limit_u", NUMBER, "The same in u"),
            Column("share", NUMBER, "Share of the cases on which it was caught"),
        ),
    ),
    Table(
        "bias",
        "The smallest bias that shows in the mean",
        (
            _SCHEMA,
            *_SHAPE[:2],
            *_COUNTED[:1],
            Column("one_in", WHOLE, "One component in so many was moved by one unit in the last place"),
            Column("bias_u", NUMBER, "The bias that makes, in u; inf where none shows"),
            *error_columns("margin_mean", "margin_mean_se", "error_u_mean", "error_u_mean_se", "error_u_rms"),
            Column("bound_u_p50", NUMBER, "Median bound in u"),
        ),
    ),
    Table(
        "peers",
        "A planted fault as one checker sees it",
        (
            _SCHEMA,
            Column("fault", TEXT, "Its name"),
            Column("tool", TEXT, "The checker"),
            *_COUNTED[:1],
            Column("flagged", WHOLE, "Cases that it flags"),
            Column("share", NUMBER, "Their share"),
            Column("alarms", WHOLE, "Cases on which it flags the honest engine"),
            Column("found", WHOLE, "Cases that it flags for the fault only"),
            Column("note", TEXT, "In which words"),
        ),
    ),
    Table(
        "peers_sweep",
        "A fault of one size as one checker sees it",
        (
            _SCHEMA,
            Column("fault", TEXT, "Its kind"),
            Column("tool", TEXT, "The checker"),
            Column("log2", WHOLE, "Binary logarithm of 1 / its relative size"),
            Column("share", NUMBER, "Share of the cases flagged"),
            Column("found", NUMBER, "Share flagged for the fault only"),
        ),
    ),
    Table(
        "bench",
        "A figure and its target",
        (
            _SCHEMA,
            Column("what", TEXT, "What was measured"),
            Column("value", NUMBER, "Median over rounds"),
            Column("unit", TEXT, "s, GB, or × for a ratio"),
            Column("sense", TEXT, "How it should stand to the target; empty where nothing is asked"),
            Column("target", NUMBER, "In the same unit"),
            Column("ours", TEXT, "The absolute figure behind it"),
            Column("theirs", TEXT, "That of what it was compared with"),
            Column("note", TEXT, "Why there is no number"),
            Column("skipped", TEXT, "Why it was not measured"),
            Column("row", TEXT, "The part of the benchmark that it belongs to"),
            Column("low", NUMBER, "Lower quartile"),
            Column("high", NUMBER, "Upper quartile"),
            Column("verdict", TEXT, "met, missed, skipped or shown"),
            Column("factor", NUMBER, "By which the target is missed, if above 1"),
        ),
    ),
    Table(
        "lecture",
        "A figure printed in the lecture",
        (
            Column("figure", TEXT, "Which"),
            Column("printed", TEXT, "As printed"),
            Column("ours", TEXT, "As computed"),
            Column("agrees", FLAG, "Whether it agrees"),
            Column("same_digits", FLAG, "Whether all printed digits are the same"),
            Column("allowed", NUMBER, "How far it may be off"),
        ),
    ),
    Table(
        "drift",
        "Parameters of an engine against float64's",
        (_ROW[0], Column("updates", WHOLE, "After so many"), Column("distance", NUMBER, "Of the furthest component")),
    ),
    Table(
        "depth",
        "The final error by depth and step size",
        (
            _SHAPE[1],
            Column("step", NUMBER, "Step size"),
            Column("mean_squared_error", NUMBER, "At the end"),
            Column("stopped", TEXT, "Why it stopped early"),
        ),
    ),
    Table(
        "layers",
        "A layer's gradient at the start",
        (_SHAPE[1], Column("layer", WHOLE, "From 1"), Column("gradient_norm", NUMBER, "Root mean square over points")),
    ),
    Table(
        "approximations",
        "A point of an example",
        (
            Column("target", TEXT, "Which function"),
            _SHAPE[1],
            Column("x", NUMBER, "The point"),
            Column("wanted", NUMBER, "Target there"),
            Column("predicted", NUMBER, "Prediction there"),
        ),
    ),
)

#: Every table, by name.
TABLES: Mapping[str, Table] = {table.name: table for table in (*_REPORT, *_OTHERS)}
#: The tables of a report folder, in their order.
REPORT_TABLES = tuple(table.name for table in _REPORT)
#: What identifies a row of each table that two reports are compared by.
KEYS = {name: TABLES[name].key for name in ("tolerance", "steps", "agreement", "activations", "functions")}
ENVIRONMENT_FILE, PAGE_FILE = "environment.json", "report.html"
#: What a report folder holds; curves and functions only where they were swept.
REPORT_FILES = (*(table.file for table in _REPORT), ENVIRONMENT_FILE, PAGE_FILE)
#: What the report folder of a shard, or of a run that can be resumed, holds besides: the run's totals.
COUNTS_FILE = "counts.json"


def kind_of(name: str, table: str = "") -> Kind | None:
    """Return what a column holds, in a table or, where that is not known, in the first that has it; None if none has."""
    if table in TABLES:
        return TABLES[table].kind(name)
    return next((column.kind for each in TABLES.values() for column in each.columns if column.name == name), None)


def frame_of(table: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with its columns in their order; what a row lacks is empty text or nan.

    Columns that the table does not have come last.
    """
    names = TABLES[table].names
    blank = {column.name: "" for column in TABLES[table].columns if column.kind.is_text}
    frame = pd.DataFrame([blank | dict(row) for row in rows])
    return frame.reindex(columns=[*names, *(name for name in frame.columns if name not in names)])


def differences(table: str, names: Iterable[str]) -> list[str]:
    """Return how the columns of a table differ from its schema; empty where they are the same and in the same order."""
    wanted, found = TABLES[table].names, [str(name) for name in names]
    lacking = [f"{table} lacks {name}" for name in wanted if name not in found]
    allowed = found[: len(wanted)] if TABLES[table].further else found
    unknown = [f"{table} has {name}, which its schema does not" for name in allowed if name not in wanted]
    if not lacking and not unknown and tuple(allowed) != wanted:
        return [f"{table} has its columns in another order"]
    return lacking + unknown
