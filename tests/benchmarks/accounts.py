"""Credentials that open nothing, and an environment without the user's own."""

from __future__ import annotations

import os

OWN = ("PREFECT_", "ROBOFLOW_", "DARKROOM_", "API_BASE_URL", "AWS_", "AZURE_STORAGE_", "GOOGLE_", "STORAGE_EMULATOR_")
AMAZON = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_REGION": "eu-central-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Amazon's own example."""


def clean_environment() -> dict[str, str]:
    """This process's variables without those that lead to a platform or a store."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
