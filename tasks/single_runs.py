"""What a run in a flow of one's own cannot be asked to do, and what to do instead."""

from __future__ import annotations

from tasks.core.errors import BadInput
from tasks.core.request import RunRequest

_PICKS = "what is new is picked by the flow process-images"
_TRIES = "a pilot is tried by the flow process-images"
INSTEAD = {
    "only_new": _PICKS,
    "pilot": _TRIES,
    "pilot_of": _TRIES,
    "replays": "a run is replayed by the flow replay-run",
    "credentials": "put `with storage_credentials(...)` of flows.secrets_by_name around the calls",
}
"""Options that are not for a single run, and what to do instead."""


def check_single(request: RunRequest) -> None:
    """Sees that a flow of one's own can do what a request asks for.

    Raises:
        BadInput: an option is for the flows of this project alone; says what to do instead.
    """
    for name, instead in INSTEAD.items():
        if getattr(request, name) != RunRequest.model_fields[name].default:
            raise BadInput(f"{name} is no option of a flow of one's own: {instead}")
    if request.wait.mode == "suspend":
        raise BadInput("wait mode suspend is for deployments of the flow process-images: wait with mode poll here")
