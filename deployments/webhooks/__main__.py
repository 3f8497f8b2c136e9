"""`python -m deployments.webhooks`: the receiver of notifications as a process of its own."""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from flows.command_line.help_style import HelpStyle

if TYPE_CHECKING:
    from flows.notifications import NotifiedRuns


def main(arguments: list[str] | None = None) -> int:
    """Run the receiver until SIGINT or SIGTERM.

    Args:
        arguments: Command-line arguments; `None`: those of the process.

    Returns:
        The exit status: 0 when told to stop, 2 when it cannot start.
    """
    options = _parser().parse_args(arguments)
    os.umask(0o077)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("deployments.webhooks").setLevel(logging.INFO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    # Only now: a wrong argument is told without waiting for the imports.
    from flows.notifications import NotConfigured, NotifiedRuns

    try:
        return _receive(options, NotifiedRuns(options.runs))
    except NotConfigured as error:
        return _fail(error)


def _leave(*_: object) -> None:
    """End quietly when a signal comes before the receiver runs."""
    raise SystemExit(0)


def _fail(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)  # noqa: T201
    return 2


def _receive(options: argparse.Namespace, runs: "NotifiedRuns") -> int:
    from deployments.batch_server.data_folder import DataFolderError, hold_data_folder
    from deployments.batch_server.serving import AddressError, address, bind, serve
    from deployments.webhooks.app import create_app
    from deployments.webhooks.settings import ReceiverSettings
    from deployments.webhooks.store import StoreUnusable

    data = (options.data or runs.home / "webhooks").resolve()
    try:
        with hold_data_folder(data), bind(options.host, options.port) as listener:
            ready = f"webhook receiver ready on {address(options.host, listener)}"
            serve(create_app(ReceiverSettings(data, options.publishable_key), runs), listener, ready)
    except (DataFolderError, AddressError, StoreUnusable) as error:
        return _fail(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom webhooks",
        description="Receive notifications from platforms, and resume the flow runs that wait for them. "
        "DARKROOM_WEBHOOK_SECRET and PREFECT_API_URL must be set, and the keys of the platforms that are asked "
        "whether a notification is true.",
        epilog="example:\n  darkroom webhooks --port 9002 --runs s3://bucket/runs",
        formatter_class=HelpStyle,
        allow_abbrev=False,
    )
    address = parser.add_argument_group("address")
    address.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    address.add_argument("--port", type=int, required=True, help="port to listen on; 0 takes a free one")
    state = parser.add_argument_group("state and access")
    state.add_argument(
        "--runs",
        default="",
        metavar="PLACE",
        help="folder of the runs, here or in a bucket (default: DARKROOM_RUNS or ./runs)",
    )
    state.add_argument(
        "--data", type=Path, metavar="FOLDER", help="folder of the events (default: webhooks in DARKROOM_HOME)"
    )
    state.add_argument(
        "--publishable-key",
        type=_publishable,
        default=os.environ.get("ROBOFLOW_PUBLISHABLE_KEY") or None,
        metavar="rf_KEY",
        help="the only key that notifications may come with (default: ROBOFLOW_PUBLISHABLE_KEY, or any)",
    )
    return parser


def _publishable(text: str) -> SecretStr:
    if not text.startswith("rf_"):
        raise argparse.ArgumentTypeError("a publishable key begins with rf_")
    return SecretStr(text)


if __name__ == "__main__":
    sys.exit(main())
