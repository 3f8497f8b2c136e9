"""What a set-up is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.core.errors import BadInput

_BLOCK_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Wishes:
    """What a set-up is asked for.

    Attributes:
        pool: name of the process work pool.
        most_runs: flow runs that the pool runs at once; ``None``: as it is.
        block: name of the Roboflow Platform block that is made from the environment; empty: none.
        url: URL of the platform of that block; ``None``: the environment's, else as the block is.
        workspace: workspace that the block's key must be of; empty: any; ``None``: as the block is.
        notify: notification block, such as ``slack-webhook/mine``; empty: nobody is told.
        remove: whether what a set-up makes is taken away.
    """

    pool: str = "darkroom"
    most_runs: int | None = None
    block: str = ""
    url: str | None = None
    workspace: str | None = None
    notify: str = ""
    remove: bool = False

    def check(self) -> None:
        """Sees that they can be met, as far as that goes without asking Prefect.

        Raises:
            BadInput: they cannot.
        """
        if self.block and not _BLOCK_NAME.fullmatch(self.block):
            raise BadInput(f"{self.block!r} is no name of a block: use lower-case letters, digits and single dashes")
        if (self.url is not None or self.workspace is not None) and not self.block:
            raise BadInput("--url and --workspace say what a block holds: name it with --block NAME")
        if self.notify and len(self.notify.split("/")) != 2:
            raise BadInput(f"{self.notify!r} names no notification block: write TYPE/NAME, such as slack-webhook/mine")
