"""Secrets by name on the command line: Prefect is started early where a block is named, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flows.command_line.terminal import starting
from flows.prefect_server import managed_prefect_api
from tasks.core.settings import Settings
from tasks.roboflow_api.platform import BLOCK


@contextmanager
def named_secrets(settings: Settings, credentials: str, platform: str = "") -> Iterator[Settings]:
    """Puts the credentials of a block in force, and gives settings that know what blocks hold.

    Args:
        settings: of this process.
        credentials: block with storage credentials; empty: those of the environment.
        platform: as it is named, where one is; perhaps a block.

    Raises:
        BadInput: there is no such block, or it cannot be used.
    """
    if not credentials and not platform.startswith(BLOCK):
        yield settings
        return
    with starting() as started, managed_prefect_api(settings.home):
        from flows.secrets_by_name import storage_credentials
        from tasks.named_blocks import flow_settings

        started()
        with storage_credentials(credentials):
            yield flow_settings()
