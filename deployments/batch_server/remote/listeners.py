"""Where notifications may go."""

from deployments.batch_server.refusals import BadRequest
from deployments.batch_server.remote.failures import UnsafeUrl
from deployments.batch_server.remote.guard import AddressGuard
from deployments.batch_server.remote.targets import parse_target


def check_listener(guard: AddressGuard, url: str | None) -> None:
    """Refuse who would never be told anything; names are looked up at each delivery.

    Raises:
        BadRequest: The URL is none, or leads where this server does not go.
    """
    if url is None:
        return
    try:
        guard.check_early(parse_target(url))
    except UnsafeUrl as error:
        raise BadRequest(f"notificationsURL: {error}") from None
