"""Where notifications may go."""

from deployments.batch_server.refusals import BadRequest
from deployments.batch_server.remote.failures import UnsafeUrl
from deployments.batch_server.remote.guard import AddressGuard
from deployments.batch_server.remote.targets import parse_target


def check_listener(guard: AddressGuard, url: str | None) -> None:
    """Refuse who would never be told anything; names are looked up at each delivery.

    Args:
        guard: Knows where this server goes.
        url: Of a request that was found to be in order.

    Raises:
        BadRequest: It leads where this server does not go. Scheme and host alone are named: the path of such a URL is
            a password often enough.
    """
    if url is None:
        return
    target = parse_target(url)
    try:
        guard.check_early(target)
    except UnsafeUrl as error:
        raise BadRequest(f"notificationsURL: {target.root}: {error.why}") from None
