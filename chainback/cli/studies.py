"""`audit`, `lecture` and `bench`: how good the gate is, and how fast."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

import chainback
from chainback.cli.options import PLATFORM, Names, WholeNumber, picture_option
from chainback.cli.output import drawings, name_files, progress_bar
from chainback.environment import start_jax

__all__ = ["audit", "bench", "lecture"]


@click.command()
@click.option(
    "--cases", type=WholeNumber(), default=1000, show_default=True, help="Chains that each faulty engine is given."
)
@click.option("--seed", type=WholeNumber(), default=0, show_default=True, help="Decides which chains.")
@PLATFORM
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("chainback-report"),
    show_default=True,
    help="Folder for audit.csv, detection.csv and bias.csv, and with --peers for peers.csv and peers_sweep.csv.",
)
@click.option(
    "--peers", is_flag=True, help="Show the faults to check_grads, and to gradcheck where PyTorch is, as well."
)
def audit(cases: int, seed: int, platform: str | None, output: Path, peers: bool) -> int:
    """Plant named faults in engines and see which of them the gate catches."""
    start_jax()
    with progress_bar(quiet=False) as progress:
        found = chainback.audit(cases=cases, seed=seed, platform=platform, output=output, progress=progress)
        beside = None
        if peers:
            from chainback.studies.checker_comparison import compare_checkers

            beside = compare_checkers(seed=seed, output=output, progress=progress)
    found.print(Console())
    if beside is not None:
        beside.print(Console())
    return found.exit_code


@click.command()
@click.option("--output", type=click.Path(path_type=Path), help="Folder for the tables.  [default: none are written]")
@picture_option("it")
def lecture(output: Path | None, picture: Path | None) -> int:
    """Run the lecture from which chainback grew, and set its printed figures beside what comes out here.

    Exit codes: 0 all agree, 1 one does not.
    """
    start_jax()
    draw = drawings() if picture is not None else None
    with progress_bar(quiet=False) as progress:
        found = chainback.lecture(output=output, progress=progress)
    found.print(Console())
    if draw is not None and picture is not None:
        draw.save(draw.draw_lecture(found.drift, found.depth, found.layers, found.approximations), picture)
        name_files([picture])
    return found.exit_code


@click.command()
@click.option("--only", type=Names(), default=(), help="Names of rows.  [default: all]")
@click.option("--quick", is_flag=True, help="Measure smaller things, in seconds: no matter for the targets.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("chainback-report"),
    show_default=True,
    help="Folder for bench.csv and bench.json.",
)
def bench(only: tuple[str, ...], quick: bool, output: Path) -> int:
    """Measure how fast all of this is: every ratio side by side in one run, beside its target.

    Rows: million, components, batch, triangular, training, memory, cases, depth, gpu.
    Exit codes: 0 every target is met, 1 one is missed, 3 nothing was measured of which anything is asked.
    """
    start_jax()
    from chainback.studies import benchmarks

    rows = () if only == "all" else only
    with progress_bar(quiet=False) as progress:
        found = benchmarks.bench(only=rows, quick=quick, output=output, progress=progress)
    found.print(Console())
    return found.exit_code
