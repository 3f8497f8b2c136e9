"""Every setting that comes from the environment, in one place, each with its description.

The README's table of settings is held to this class by a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.core.errors import BadInput

REGION_HOSTS = {"us": "https://api.roboflow.com", "eu": "https://api.roboflow.eu"}


@dataclass(frozen=True)
class PlatformLogin:
    """How a platform is reached.

    Attributes:
        name: what it is called in a run's identity: ``roboflow``, or its URL.
        url: base URL.
        key: the API key.
        workspace: whose key it must be; empty: anybody's.
    """

    name: str
    url: str
    key: SecretStr
    workspace: str = ""


LoadLogin = Callable[[str], PlatformLogin]
"""Gives the login that a block of this name holds."""


class Settings(BaseSettings):
    """What the environment says."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    _load_login: LoadLogin | None = PrivateAttr(default=None)

    api_key: SecretStr | None = Field(
        default=None,
        validation_alias="ROBOFLOW_API_KEY",
        description="Key for Roboflow's cloud or for a server given by its URL. The embedded server makes its own.",
    )
    api_base_url: str | None = Field(
        default=None,
        validation_alias="API_BASE_URL",
        description="Host of `--platform roboflow`, when it is not the one of the region.",
    )
    region: Literal["us", "eu"] = Field(
        default="us",
        validation_alias="ROBOFLOW_REGION",
        description="Region of `--platform roboflow`: `us` or `eu`.",
    )
    home: Path = Field(
        default=Path(".darkroom"),
        validation_alias="DARKROOM_HOME",
        description="Folder of the embedded server and the managed Prefect server.",
    )
    runs: str = Field(
        default="runs",
        validation_alias="DARKROOM_RUNS",
        description="Folder that holds a folder for each run, here or in a bucket.",
    )
    url_hours: float = Field(
        default=24.0,
        gt=0,
        le=7 * 24,
        validation_alias="DARKROOM_URL_HOURS",
        description="Hours for which signed URLs to your files are valid, up to 168.",
    )
    allow_hosts: str = Field(
        default="",
        validation_alias="DARKROOM_ALLOW_HOSTS",
        description="Hosts, addresses or networks besides public https ones that the embedded server may fetch "
        "references from, separated by commas.",
    )
    webhook_url: str = Field(
        default="",
        validation_alias="DARKROOM_WEBHOOK_URL",
        description="Address under which platforms reach `darkroom webhooks`, such as `https://hooks.example.com`. "
        "Empty: suspended runs are resumed by the flow `reap-runs` alone.",
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        validation_alias="DARKROOM_WEBHOOK_SECRET",
        description="Secret of which the tokens in notification URLs are made; the same for workers and receiver.",
    )
    engine_python: Path = Field(
        default=Path(".venv-engine/bin/python"),
        validation_alias="DARKROOM_ENGINE_PYTHON",
        description="Python of the environment that holds Roboflow's engine, for the embedded server.",
    )

    def allowed_hosts(self) -> list[str]:
        """The entries of ``allow_hosts``."""
        return [host.strip() for host in self.allow_hosts.split(",") if host.strip()]

    def cloud_url(self) -> str:
        """Base URL of Roboflow's cloud."""
        return self.api_base_url or REGION_HOSTS[self.region]

    def with_blocks(self, load: LoadLogin) -> Settings:
        """The same settings, which know what blocks hold: nothing here knows of Prefect.

        Args:
            load: gives the login of the block of some name.
        """
        knowing = self.model_copy()
        knowing._load_login = load
        return knowing

    def login_of(self, block: str) -> PlatformLogin:
        """What the block of this name holds.

        Raises:
            BadInput: there is no such block, or nothing that could load it.
        """
        if self._load_login is None:
            raise BadInput(
                f"platform block:{block} is a block of Prefect's, which is not asked here: start the run with darkroom "
                "run or a deployment, or name roboflow or a URL and set ROBOFLOW_API_KEY"
            )
        return self._load_login(block)


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        BadInput: a variable has a value that cannot be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"environment variable {first['loc'][0]}: {first['msg']}") from None
