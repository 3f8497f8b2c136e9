"""`python -m deployments.setup`: tells Prefect's server of Darkroom's blocks, work pool and automations."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from deployments.setup.steps import Step
from deployments.setup.wishes import Wishes
from flows.command_line.help_style import HelpStyle
from flows.prefect_config import check_api, configured_api_url
from tasks.core.errors import BadInput, DarkroomError
from tasks.core.redaction import redact
from tasks.core.settings import load_settings


def main(arguments: list[str] | None = None) -> int:
    """Sets up, or says what would be done.

    Args:
        arguments: Command-line arguments; `None`: those of the process.

    Returns:
        The exit status: 0, 1 when Prefect's server refused something, 2 for bad input.
    """
    options = _parser().parse_args(arguments)
    try:
        _check_prefect()
        steps = _carry_out(_wishes(options), dry=options.dry_run)
    except DarkroomError as error:
        return _fail(error, as_json=options.json)
    if options.json:
        print(json.dumps({"dry_run": options.dry_run, "steps": [step.facts() for step in steps]}))  # noqa: T201
    else:
        print("\n".join(step.line(dry=options.dry_run) for step in steps))  # noqa: T201
    return 0


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
        said = redact(str(error)).splitlines()[0]
        raise DarkroomError(f"Prefect's server refused or did not answer: {said}") from None


def _fail(error: DarkroomError, *, as_json: bool) -> int:
    message = redact(str(error))
    if as_json:
        print(json.dumps({"error": {"type": type(error).__name__, "message": message}}))  # noqa: T201
    print(f"darkroom setup: {message}", file=sys.stderr)  # noqa: T201
    return error.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom setup",
        description="Tell Prefect's server of Darkroom: the type of its block, a work pool, and automations that look "
        "after lost jobs and notify people. It can be run again at any time: what is there is kept or brought up to "
        "date, and what was switched off stays off.",
        epilog="example:\n  darkroom setup --block mine --notify slack-webhook/mine\n"
        "  darkroom setup --remove --dry-run",
        formatter_class=HelpStyle,
        allow_abbrev=False,
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
    how.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _add_block(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--block", default="", metavar="NAME", help="make a Roboflow Platform block, which flows name as block:NAME"
    )
    group.add_argument(
        "--url", default="", help="URL of its platform (default: API_BASE_URL, or the cloud of ROBOFLOW_REGION)"
    )
    group.add_argument("--workspace", default="", metavar="ID", help="workspace that its key must be of (default: any)")


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
