"""Steps that fail here, as on a full disk: they are tried again for a while and then given up."""

from collections.abc import Hashable

from sqlalchemy.exc import OperationalError

from deployments.batch_server.blobs import NO_SPACE
from deployments.batch_server.remote.failures import FetchFailed

DISK_FULL, INTERNAL = "server-disk-full", "internal-error"
RETRIES = (5.0, 15.0, 45.0, 135.0, 405.0)
"""Seconds from a step that failed to its next try, after the first failure, the second, …; then it is given up."""


class Troubles:
    """Counts what has failed, item by item."""

    def __init__(self, pauses: tuple[float, ...]) -> None:
        self._pauses = pauses
        self._found: dict[Hashable, tuple[int, FetchFailed]] = {}

    def given_up(self, item: Hashable) -> FetchFailed | None:
        """Why an item is not to be tried any more, or `None` when it is."""
        times, failure = self._found.get(item, (0, None))
        return failure if times > len(self._pauses) else None

    def note(self, item: Hashable, error: Exception) -> float:
        """Remember that an item failed; gives the seconds to wait with it."""
        times = self._found.get(item, (0, None))[0] + 1
        self._found[item] = times, own_failure(error)
        if times == len(self._pauses) + 1:
            return 0.0
        return self._pauses[min(times, len(self._pauses)) - 1]

    def forget(self, item: Hashable) -> None:
        """The item is done."""
        self._found.pop(item, None)


def own_failure(error: Exception) -> FetchFailed:
    """What clients are told of a failure that is the server's own."""
    if isinstance(error, OSError):
        is_full = error.errno in NO_SPACE
    else:
        is_full = isinstance(error, OperationalError) and "disk is full" in str(error.orig)
    if is_full:
        return FetchFailed(
            DISK_FULL, "the server's disk is full: free some space in its data folder and send the references again"
        )
    return FetchFailed(INTERNAL, f"internal error ({type(error).__name__}): see the server's log")
