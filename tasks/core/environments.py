"""The environment that servers of our own are started with."""

from __future__ import annotations

import os

_NOT_THE_SERVERS = (
    "ROBOFLOW_API_KEY",
    "PREFECT_",
    "AWS_",
    "AZURE_",
    "GOOGLE_",
    "DARKROOM_SFTP_",
    "DARKROOM_SOURCE",
    "DARKROOM_WEBHOOK_",
)
"""How variables begin that are for the pipeline alone, its credentials above all."""


def without_credentials() -> dict[str, str]:
    """This process's environment without the pipeline's own credentials: a server may run code of its users."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_THE_SERVERS)}
