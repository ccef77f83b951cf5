"""The command `chainback`: its commands as one group, and the exit code of every outcome."""

from __future__ import annotations

import sys

import click

from chainback.cli import cases, reports, studies, versions
from chainback.cli.verify import verify
from chainback.errors import BuildError, ChainbackError

__all__ = ["cli", "main"]

_COMMANDS = (
    verify,
    *(reports.merge, reports.show, reports.compare),
    *(versions.baseline, versions.upgrade, versions.bisect, versions.history),
    *(cases.replay, cases.explain),
    *(studies.audit, studies.lecture, studies.bench),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chainback")
def cli() -> None:
    """Are the gradients that this JAX, on this device, computes right?

    Exit codes: 0 accepted, 1 rejected, 2 bad usage, 3 nothing could be decided, 4 a planted fault escaped, 5 an environment
    could not be built.
    """


for _command in _COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """Run the command line and exit with the outcome's code."""
    # An engine named package.module:name is looked for where the command is run, as `python -m` would.
    sys.path.insert(0, "")
    try:
        code = cli(standalone_mode=False)
    except click.exceptions.Abort:
        code = 3
    except click.ClickException as error:
        _complain(error.format_message())
        code = 2
    except BuildError as error:
        _complain(str(error))
        code = 5
    except ChainbackError as error:
        _complain(str(error))
        code = 2
    except KeyboardInterrupt:
        code = 3
    sys.exit(code)


def _complain(sentence: str) -> None:
    click.echo(f"chainback: {sentence}", err=True)
