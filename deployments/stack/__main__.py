"""`python -m deployments.stack`: everything that scheduled runs need, on this machine; `make up` and `make down`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from deployments.stack.enlisting import BLOCK, PREFECT_FILE, tell_prefect
from deployments.stack.parts import TITLES
from deployments.stack.ports import VARIABLES, Ports, port
from deployments.stack.stack import PartState, Started, down, status, up
from tasks.core.errors import BadInput, DarkroomError, local_fault
from tasks.core.redaction import redact
from tasks.core.settings import Settings, load_settings

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out ``up``, ``down``, ``status`` or ``enlist``.

    Args:
        arguments: Command-line arguments; `None`: those of the process.

    Returns:
        The exit status: 0 done, 1 something failed (or, for ``status``, is not up), 2 it cannot be started like this,
        130 interrupted.
    """
    options = _parser().parse_args(arguments)
    os.umask(0o077)
    try:
        return _carry_out(options, load_settings())
    except DarkroomError as error:
        return _fail(error)
    except OSError as error:
        return _fail(local_fault(error))
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED


def _carry_out(options: argparse.Namespace, settings: Settings) -> int:
    if options.command == "up":
        asked = {field.name: getattr(options, field.name) for field in fields(Ports)}
        _print(_told(up(settings, asked, _say), status(settings)))
        return 0
    if options.command == "down":
        _print("the stack is down" if down(settings, _say) else "the stack was not up")
        return 0
    if options.command == "enlist":
        tell_prefect(_told_where(os.environ), options.prefect_file)
        return 0
    states = status(settings)
    _print("\n".join(map(_line, states)))
    return 0 if all(state.is_up for state in states) else 1


def _told_where(environment: Mapping[str, str]) -> Mapping[str, str]:
    for name in ("PREFECT_API_URL", "API_BASE_URL", "ROBOFLOW_API_KEY"):
        if not environment.get(name):
            raise BadInput(f"{name} is not set: it says where Prefect, or the batch server, is and how to get in")
    return environment


def _told(started: Started, states: list[PartState]) -> str:
    """What was started, where it is, and what to do next."""
    if started.titles:
        first = f"started {', '.join(started.titles)}"
    else:
        first = "all was up already; `make down`, then `make up` takes a new environment over"
    return "\n".join([first, *map(_line, states), "", *_next(started)])


def _line(state: PartState) -> str:
    width = max(map(len, TITLES.values()))
    where = f"{state.url}  process {state.pid}" if state.url else ""
    return f"  {state.title:<{width}}  {state.status:<10}  {where}".rstrip()


def _next(started: Started) -> list[str]:
    plan = started.plan
    key = _shown(plan.key_file)
    return [
        f"Start runs in the UI: {plan.ports.prefect_url}/deployments (platform block:{BLOCK} is this batch server).",
        "From a shell:",
        f"  export PREFECT_API_URL={plan.ports.api_url}",
        f'  ROBOFLOW_API_KEY="$(cat {key})" .venv/bin/darkroom run DIR --workflow photo-audit '
        f"--platform {plan.ports.server_url}",
        f"Logs: {_shown(plan.folder)}/*/*.log",
        "End it all: make down",
    ]


def _shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _fail(error: DarkroomError) -> int:
    _say(f"error: {redact(str(error))}")
    return error.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deployments.stack",
        description="A Prefect server, a batch server, a receiver of notifications and a worker on this machine, on "
        "loopback. What was started stays up until it is ended, and is started again when it dies.",
        epilog="example: python -m deployments.stack up --prefect-port 4300",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="up|down|status|enlist")
    starting = commands.add_parser("up", help="start what is not up, and wait until all of it is healthy")
    for field in fields(Ports):
        starting.add_argument(
            f"--{field.name}-port",
            dest=field.name,
            type=port,
            metavar="PORT",
            help=f"{VARIABLES[field.name]} of `make up` (default: {field.default})",
        )
    commands.add_parser("down", help="end what was started, and nothing else")
    enlisting = commands.add_parser("enlist", help="tell the Prefect server of PREFECT_API_URL about the project")
    enlisting.add_argument(
        "--prefect-file", default=PREFECT_FILE, metavar="FILE", help="the deployments (default: %(default)s)"
    )
    commands.add_parser("status", help="say what is up, and where")
    return parser


if __name__ == "__main__":
    sys.exit(main())
