"""What a flow run is about, as tags that Prefect's UI can filter by."""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from tasks.core.redaction import redact

MOST_CHARACTERS = 200


def tag_flow_run(**about: str) -> None:
    """Tags the flow run that is under way, such as ``workflow:photo-audit`` for ``workflow="photo-audit"``.

    Args:
        about: what it is about, by kind; secrets in URLs are left out.
    """
    context = FlowRunContext.get()
    assert context is not None, "called outside of a flow"
    assert context.flow_run is not None, "called before the flow run is known"
    tags = {f"{kind}:{redact(value)}"[:MOST_CHARACTERS] for kind, value in about.items()}
    with get_client(sync_client=True) as client:
        # As it is now: others, and this one before, may have added theirs.
        known = client.read_flow_run(context.flow_run.id).tags
        if not tags <= set(known):
            client.update_flow_run(context.flow_run.id, tags=sorted({*known, *tags}))
