"""A batch server whose engine stands still after some chunks: `python -m … --data DIR --hold-after N`.

SIGUSR1 lets it go on.
"""

import argparse
import os
import signal
from pathlib import Path

from pydantic import SecretStr

from deployments.batch_server.app import create_app
from deployments.batch_server.data_folder import hold_data_folder
from deployments.batch_server.serving import address, bind, serve
from deployments.batch_server.settings import ServerSettings
from tests.deployments.batch_server.small_engine import SmallEngine


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--hold-after", type=int)
    parser.add_argument("--allow-host", action="append", default=[])
    options = parser.parse_args()
    key = SecretStr(os.environ["ROBOFLOW_API_KEY"])
    settings = ServerSettings(
        data=options.data,
        api_key=key,
        url_secret=SecretStr("url-secret"),
        chunk_limit=4,
        allow_hosts=tuple(options.allow_host),
    )
    engine = SmallEngine(log=options.data / "begun.log", hold_after=options.hold_after)
    signal.signal(signal.SIGUSR1, lambda *_: engine.go_on())
    with hold_data_folder(options.data), bind("127.0.0.1", options.port) as listener:
        ready = f"batch server ready on {address('127.0.0.1', listener)}"
        serve(create_app(settings, engine), listener, ready)


if __name__ == "__main__":
    main()
