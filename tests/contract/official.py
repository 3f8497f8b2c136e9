"""The official command line, unmodified, as a process of its own."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.deployments.batch_server.running import KEY, ROOT, ProcessServer

CLIENT = Path(os.environ.get("DARKROOM_OFFICIAL_CLIENT") or ROOT / ".venv-contract" / "bin" / "inference")
needs_client = [
    pytest.mark.official_client,
    pytest.mark.skipif(not CLIENT.exists(), reason="the official client is not installed: make contract"),
]


def call(server: ProcessServer, *arguments: str, status: int = 0, **variables: str) -> str:
    """What a command prints.

    Args:
        server: Whom it is pointed at.
        arguments: The command, below `rf-cloud`.
        status: The exit status that it has to end with.
        variables: Of its environment, besides the address and the key.
    """
    environment = {
        **os.environ,
        **variables,
        "API_BASE_URL": server.client.url,
        "ROBOFLOW_API_KEY": KEY,
        "COLUMNS": "200",
    }
    ended = subprocess.run(
        [str(CLIENT), "rf-cloud", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended.stdout
