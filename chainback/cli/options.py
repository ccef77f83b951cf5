"""Options of the command line: how values are read, what several commands share, and a request's arguments."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from chainback.reporting.pages.show import FORMATS
from chainback.running.request import Option, Request, option_name

__all__ = [
    "MARKDOWN",
    "OPEN",
    "OUTPUT",
    "OWN_ENGINES",
    "PICTURES",
    "PLATFORM",
    "Duration",
    "Names",
    "Numbers",
    "WholeNumber",
    "engines_of",
    "picture_option",
    "request_of",
    "request_options",
]


class WholeNumber(click.ParamType):
    """A whole number, also written 1e6 or 1_000_000."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the value."""
        try:
            number = float(value)
            if number != int(number):
                raise ValueError
            return int(value) if str(value).strip().lstrip("-").isdigit() else int(number)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no whole number", param, ctx)


class Numbers(click.ParamType):
    """Whole numbers as 1,2,4 or 1-24, or both."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Read the value."""
        if isinstance(value, tuple):
            return value
        numbers: list[int] = []
        try:
            for part in str(value).split(","):
                first, dash, last = part.strip().partition("-")
                low = WholeNumber().convert(first, param, ctx)
                high = WholeNumber().convert(last, param, ctx) if dash else low
                if high < low or high - low > 10_000:
                    raise ValueError
                numbers.extend(range(low, high + 1))
        except ValueError:
            self.fail(f"{value!r} are no numbers: write them as 1,2,4 or 1-24", param, ctx)
        return tuple(numbers)


class Names(click.ParamType):
    """Names, separated by commas."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the value."""
        if not isinstance(value, str) or value in ("all", "none"):
            return value
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        if not names:
            self.fail("name at least one, or say all or none", param, ctx)
        return names


class Duration(click.ParamType):
    """A time, as 90s, 30m, 8h or 2d."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the value."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value).strip())
        if found is None or float(found[1]) == 0:
            self.fail(f"{value!r} is no time: write it as 90s, 30m, 8h or 2d", param, ctx)
        return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


class Picture(click.Path):
    """A file for a picture: refused at once, not when all is done."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if Path(value).suffix not in (".html", ".svg", ".png"):
            self.fail(f"{value!r} is no picture: end it in .html, .svg or .png", param, ctx)
        return super().convert(value, param, ctx)


PLATFORM = click.option("--platform", help="Where to run: cpu, gpu, gpu:1, …  [default: JAX's own choice]")
OUTPUT = click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("chainback-report"),
    show_default=True,
    help="Folder for the CSV files.",
)
MARKDOWN = click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request.")
PICTURES = click.option(
    "--pictures",
    type=click.Choice(FORMATS),
    help="Write each chart of the page as a picture, too, into a folder beside it.",
)
OPEN = click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
#: Engines of the user's own, beside those of `--engines`.
OWN_ENGINES = click.option(
    "--engine", "own", multiple=True, metavar="MODULE:NAME", help="An engine of your own; may be given repeatedly."
)


def picture_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option `--picture`, whose help says what is drawn."""
    return click.option("--picture", type=Picture(), help=f"Draw {what}, too: .html, .svg or .png.")


#: How each kind of option is read.
_TYPES: dict[str, Any] = {
    "whole number": WholeNumber(),
    "numbers": Numbers(),
    "names": Names(),
    "duration": Duration(),
    "number": float,
    "text": None,
    "path": click.Path(path_type=Path),
}


def request_options(*names: str, **defaults: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds the options of a request's arguments to a command, `--engine` behind `--engines`.

    Args:
        *names: Of arguments of `Request`; default: all that have an option, in their order there.
        **defaults: Of arguments where the command's default is another.
    """
    found: list[Callable[[Any], Any]] = []
    for argument in fields(Request):
        option = argument.metadata.get("option")
        if option is not None and (not names or argument.name in names):
            default = argument.default if option.default is None else option.default
            found.append(_decorator(argument.name, option, defaults.get(argument.name, default)))
            if argument.name == "engines":
                found.append(OWN_ENGINES)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(found):
            command = decorator(command)
        return command

    return decorate


def _decorator(argument: str, option: Option, default: Any) -> Callable[[Any], Any]:
    name = option_name(argument, option)
    if option.kind == "flag":
        return click.option(name, argument, is_flag=True, default=default, help=option.help)
    kind = click.Choice(option.kind) if isinstance(option.kind, tuple) else _TYPES[option.kind]
    if option.least is not None:
        kind = click.IntRange(option.least)
    shown = default is not None and "[default:" not in option.help
    return click.option(
        name, argument, type=kind, default=default, show_default=shown, metavar=option.metavar, help=option.help
    )


def request_of(own: tuple[str, ...] = (), **arguments: Any) -> Request:
    """Return the request that a command line's options ask for."""
    for argument in fields(Request):
        option = argument.metadata.get("option")
        if option is not None and option.unit is not None and arguments.get(argument.name) is not None:
            arguments[argument.name] *= option.unit
    if "engines" in arguments:
        arguments["engines"] = engines_of(arguments["engines"], own)
    return Request(**arguments)


def engines_of(engines: Any, own: tuple[str, ...]) -> Any:
    """Return the engines that `--engines` and `--engine` ask for together."""
    if not own:
        return engines
    named = () if engines == "none" else (engines,) if isinstance(engines, str) else engines
    return (*named, *own)
