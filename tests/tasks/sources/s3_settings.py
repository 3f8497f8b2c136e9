"""AWS settings for tests: none of this machine's, and none that lead off it."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

NOWHERE = "/dev/null"
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY="
TOKEN = "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJH+/=="
KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET}


def set_aws(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Leaves these AWS variables alone in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    quiet = {
        "AWS_CONFIG_FILE": NOWHERE,
        "AWS_SHARED_CREDENTIALS_FILE": NOWHERE,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }
    for name, value in {**quiet, **variables}.items():
        monkeypatch.setenv(name, value)
