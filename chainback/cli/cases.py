"""`replay` and `explain`: one case, looked into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

import chainback
from chainback.cli.options import PLATFORM, engines_of, picture_option, request_options
from chainback.cli.output import drawings, name_files
from chainback.environment import start_jax

__all__ = ["explain", "replay"]


@click.command()
@click.argument("case_id")
@request_options("engines")
@PLATFORM
def replay(case_id: str, engines: Any, own: tuple[str, ...], platform: str | None) -> int:
    """Run one case again: layer by layer, shrunk to the smallest chain that fails, with a reproducer."""
    start_jax()
    again = chainback.replay(case_id, engines=engines_of(engines, own), platform=platform)
    again.print(Console())
    return again.exit_code


@click.command()
@click.argument("case")
@picture_option("the matrices and the steps")
def explain(case: str, picture: Path | None) -> None:
    """Show the extended Jacobian of one small case, and solve it step by step: forward mode, and reverse mode.

    CASE is a case id, or MODULE:NAME of a chainback.Case(chain, x, y) of your own.
    """
    start_jax()
    found = chainback.explain(case)
    found.print(Console())
    if picture is not None:
        draw = drawings()
        draw.save(draw.draw_matrices(found.matrices), picture)
        name_files([picture])
