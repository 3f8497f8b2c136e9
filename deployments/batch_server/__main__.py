"""`python -m deployments.batch_server`: the self-hosted batch server as a process of its own."""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.batch_server.plan import Feature
from deployments.batch_server.remote.hosts import AllowedHosts

if TYPE_CHECKING:
    from deployments.batch_server.engine.interface import Engine

DEFAULT_ENGINE = Path(__file__).parents[2] / ".venv-engine" / "bin" / "python"
LOG = logging.getLogger("batch_server")


def main(arguments: list[str] | None = None) -> int:
    """Run the server until SIGINT or SIGTERM.

    Args:
        arguments: Command-line arguments; `None`: those of the process.

    Returns:
        The exit status: 0 when told to stop, 2 when it cannot start.
    """
    options = _parser().parse_args(arguments)
    os.umask(0o077)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    # Only now: a wrong argument is told without waiting for the imports.
    from sqlalchemy.exc import DatabaseError

    from deployments.batch_server.data_folder import DataFolderError, hold_data_folder
    from deployments.batch_server.database import SchemaUnknown
    from deployments.batch_server.serving import AddressError

    try:
        with hold_data_folder(options.data):
            _serve(options)
    except DatabaseError as error:
        print(f"error: the database in {options.data} cannot be used ({error.orig})", file=sys.stderr)  # noqa: T201
        return 2
    except SchemaUnknown as error:
        advice = "choose another folder with --data, or move this one away"
        print(f"error: the database in {options.data} cannot be used: {error}; {advice}", file=sys.stderr)  # noqa: T201
        return 2
    except (DataFolderError, AddressError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _leave(*_: object) -> None:
    """End quietly when a signal comes before the server runs."""
    raise SystemExit(0)


def _serve(options: argparse.Namespace) -> None:
    from pydantic import SecretStr

    from deployments.batch_server.app import create_app
    from deployments.batch_server.data_folder import kept_secret
    from deployments.batch_server.serving import address, bind, serve
    from deployments.batch_server.settings import ServerSettings

    with bind(options.host, options.port) as listener:
        data = options.data.resolve()
        key = options.api_key or os.environ.get("ROBOFLOW_API_KEY") or kept_secret(data / "api-key")
        settings = ServerSettings(
            data=data,
            api_key=SecretStr(key),
            url_secret=SecretStr(kept_secret(data / "url-secret")),
            workspace=options.workspace,
            public_url=options.public_url,
            most_jobs=options.most_jobs,
            left_out=frozenset(map(Feature, options.plan_without)),
            allow_hosts=tuple(options.allow_host),
        )
        ready = (
            f"batch server ready on {address(options.host, listener)} "
            f"(workspace {options.workspace}, data {options.data})"
        )
        serve(create_app(settings, _engine(options)), listener, ready)


def _engine(options: argparse.Namespace) -> "Engine":
    from deployments.batch_server.engine.pool import EnginePool
    from deployments.batch_server.unavailable import UnavailableEngine

    if not os.access(options.engine, os.X_OK):
        reason = f"the engine's Python {options.engine} is missing: run `make setup`, or give --engine"
        LOG.warning("%s; batches can be filled, jobs will fail", reason)
        return UnavailableEngine(reason)
    return EnginePool(options.engine, options.workers, options.data.resolve() / "engine.log")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom server",
        description="Serve data staging and batch processing over Roboflow's API on this machine, until it is told to "
        "stop.",
        epilog="example:\n"
        "  darkroom server --port 9001 --data /srv/darkroom\n"
        "  darkroom server --port 9001 --data /srv/darkroom --host 0.0.0.0 --allow-host minio.local --most-jobs 4",
        formatter_class=_HelpStyle,
        allow_abbrev=False,
    )
    _add_address(parser.add_argument_group("address"))
    _add_state(parser.add_argument_group("state and access"))
    _add_work(parser.add_argument_group("work"))
    return parser


class _HelpStyle(argparse.HelpFormatter):
    """Keeps examples as they were written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("example:") else super()._fill_text(text, width, indent)


def _add_address(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    group.add_argument("--port", type=int, required=True, help="port to listen on; 0 takes a free one")
    group.add_argument(
        "--public-url",
        metavar="URL",
        help="base of signed URLs (default: scheme and host of the request that asks for one)",
    )


def _add_state(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="folder of the server's state")
    group.add_argument(
        "--workspace", default="local", metavar="NAME", help="name of the workspace (default: %(default)s)"
    )
    group.add_argument(
        "--api-key",
        metavar="KEY",
        help="key that clients must present; better given in ROBOFLOW_API_KEY, as this shows in process lists "
        "(default: one is made up and kept in the data folder, file api-key)",
    )
    group.add_argument(
        "--allow-host",
        metavar="HOST",
        type=_host,
        action="append",
        default=[],
        help="host that files may be fetched from though it is not public, over plain http and on any port too: a "
        "name (minio.local), an address (127.0.0.1) or a network (10.0.0.0/8); may be given several times",
    )


def _add_work(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--engine",
        type=Path,
        default=DEFAULT_ENGINE,
        metavar="FILE",
        help="Python that has Roboflow's inference installed",
    )
    group.add_argument(
        "--workers",
        type=_positive,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="processes that run workflows (default: one a core, here %(default)s)",
    )
    group.add_argument(
        "--most-jobs",
        metavar="N",
        type=_positive,
        help="jobs that may be under way at once; another one is answered with 429 (default: any number)",
    )
    group.add_argument(
        "--plan-without",
        choices=[feature.value for feature in Feature],
        action="append",
        default=[],
        help="what this server does not offer; asking for it is answered with 402; may be given several times",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _host(text: str) -> str:
    try:
        AllowedHosts.parse([text])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


if __name__ == "__main__":
    sys.exit(main())
