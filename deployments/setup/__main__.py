"""`python -m deployments.setup`: tells Prefect's server of Darkroom's blocks, work pool and automations."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from deployments.setup.steps import Step
from deployments.setup.wishes import Wishes
from flows.command_line.answers import JSON, Answer, answered
from flows.command_line.help_style import Parser
from flows.command_line.words import add_json_option
from flows.prefect_config import check_api, configured_api_url
from tasks.core.errors import BadInput, DarkroomError
from tasks.core.redaction import redact
from tasks.core.settings import load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Sets up, or says what would be done.

    Args:
        arguments: Command-line arguments; `None`: those of the process.

    Returns:
        The exit status: 0, 1 when Prefect's server refused something, 2 for bad input.
    """
    words = sys.argv[1:] if arguments is None else arguments
    return answered(lambda: _work(words), as_json=JSON in words)


def _work(words: Sequence[str]) -> Answer:
    options = _parse(words)
    _check_prefect()
    return _answer(_carry_out(_wishes(options), dry=options.dry_run), dry=options.dry_run)


def _answer(steps: list[Step], *, dry: bool) -> Answer:
    def show(console: Console) -> None:
        console.file.writelines(f"{step.line(dry=dry)}\n" for step in steps)

    return Answer({"dry_run": dry, "steps": [step.facts() for step in steps]}, show)


def _wishes(options: argparse.Namespace) -> Wishes:
    wishes = Wishes(**{name: getattr(options, name) for name in Wishes.__dataclass_fields__})
    wishes.check()
    return wishes


def _check_prefect() -> None:
    """Sees that a Prefect API is configured and answers, before Prefect is imported.

    Raises:
        BadInput: it is not, or it does not.
    """
    api = configured_api_url(os.environ, Path.cwd())
    if not api:
        raise BadInput("no Prefect API is configured: set PREFECT_API_URL to the server that is to be set up")
    check_api(api)


def _carry_out(wishes: Wishes, *, dry: bool) -> list[Step]:
    # Only now: a wrong argument is told without waiting for the imports.
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    from deployments.setup.planning import plan_removal, plan_setup

    try:
        with get_client(sync_client=True) as client:
            # Looked at as a whole first: bad input changes nothing.
            planned = plan_removal(client, wishes) if wishes.remove else plan_setup(client, wishes, load_settings())
            steps = list(planned)
            for step in () if dry else steps:
                step.act()
            return steps
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        raise DarkroomError(f"Prefect's server refused or did not answer: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """What an error says first, without secrets; the kind of error where it says nothing."""
    return (redact(str(error)).strip() or type(error).__name__).splitlines()[0]


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    parser.check_flags(words)
    return parser.parse_args(words)


def _parser() -> Parser:
    parser = Parser(
        prog="darkroom setup",
        description="Tell Prefect's server of Darkroom: the type of its block, a work pool, and automations that look "
        "after lost jobs and notify people. It can be run again at any time: what is there is kept or brought up to "
        "date, and what was switched off stays off.",
        epilog="example:\n  darkroom setup --block mine --notify slack-webhook/mine\n"
        "  darkroom setup --remove --dry-run",
    )
    _add_block(parser.add_argument_group("platform", "the key is taken from ROBOFLOW_API_KEY, and never an argument"))
    work = parser.add_argument_group("work")
    work.add_argument("--pool", default="darkroom", metavar="NAME", help="process work pool (default: %(default)s)")
    work.add_argument(
        "--most-runs", type=_positive, metavar="N", help="flow runs that the pool has at work at once (default: any)"
    )
    work.add_argument(
        "--notify",
        default="",
        metavar="BLOCK",
        help="notification block that tells of failed runs and of drift, such as slack-webhook/mine",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--remove", action="store_true", help="take away what was made, a block only if it is named")
    how.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    add_json_option(parser)
    return parser


def _add_block(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--block", default="", metavar="NAME", help="make a Roboflow Platform block, which flows name as block:NAME"
    )
    group.add_argument(
        "--url",
        help="URL of its platform (default: API_BASE_URL or ROBOFLOW_REGION; else as the block is; else the cloud)",
    )
    group.add_argument(
        "--workspace",
        metavar="ID",
        help="workspace that its key must be of (default: as the block is, else any; '' for any)",
    )


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
