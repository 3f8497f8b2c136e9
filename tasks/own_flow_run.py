"""The flow run that is under way: what others have to know of it to look after the job that it starts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run

from tasks.core.redaction import redact
from tasks.flow_runs import PrefectFlowRuns
from tasks.steps.context import Run
from tasks.steps.flow_runs import note_owner

INTERRUPTIONS = (KeyboardInterrupt, TerminationSignal, asyncio.CancelledError)
"""Ctrl-C; what Prefect makes of SIGTERM; and how asynchronous flows hear of either."""
MOST_CHARACTERS = 200


def own_id() -> str:
    """The id of the flow run that is under way; empty outside of flows."""
    return flow_run.get_id() or ""


@contextmanager
def open_flow_runs() -> Iterator[PrefectFlowRuns]:
    """Prefect's flow runs."""
    with get_client(sync_client=True) as client:
        yield PrefectFlowRuns(client)


def own_run(run: Run) -> None:
    """Says that this flow run works on the run: by a tag, and with a run that is not finished, by a note.

    So others can look after its job. Outside of flows there is nobody to say it of.
    """
    tag_flow_run(run=run.folder.key)
    if (own := own_id()) and run.folder.finished() is None:
        note_owner(run, own)


def tag_flow_run(**about: str) -> None:
    """Tags the flow run that is under way, such as ``workflow:photo-audit`` for ``workflow="photo-audit"``.

    People filter by these tags in Prefect's UI. Automations cannot: for its events, Prefect's server reads the tags of
    a flow run again only after minutes.

    Args:
        about: what it is about, by kind; secrets in URLs are left out.
    """
    own = own_id()
    if not own:
        return
    tags = {f"{kind}:{redact(value)}"[:MOST_CHARACTERS] for kind, value in about.items()}
    with get_client(sync_client=True) as client:
        # As it is now: others, and this one before, may have added theirs.
        known = client.read_flow_run(UUID(own)).tags
        if not tags <= set(known):
            client.update_flow_run(UUID(own), tags=sorted({*known, *tags}))
