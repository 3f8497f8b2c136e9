"""The one error tree.

::

    DarkroomError
    ├── Transient                  may pass by itself: retried in the transport, then by the task
    │   ├── ConnectionFailed       no connection, a reset, a time-out, a body cut short
    │   ├── ServiceBusy            408, 429 and 5xx; carries ``retry_after``
    │   └── UrlExpired             a signed URL was refused: ask for a new one
    └── Terminal                   retrying is no use; the message says what to change
        ├── BadInput               what the caller gave cannot work (exit status 2)
        │   ├── KeyRefused         401: the API key is wrong
        │   └── WorkflowUnknown    the platform has no such workflow
        ├── RequestRefused         any other 4xx
        │   ├── NotFound           404
        │   └── Conflict           409: the id exists with another body
        ├── ServiceFailed          a service of our own would not start
        ├── LocalFault             this machine: disk full, folder not writable
        └── RunFailed              the run came to an end, and not a good one
            ├── JobFailed          the platform says so
            ├── JobAborted         somebody stopped it
            ├── JobTimedOut        the deadline passed, looked at once more
            ├── RunIncomplete      the counts do not add up
            ├── ExpectationsMissed the results are not what was expected
            ├── BudgetExceeded     the pilot says that the rest would cost too much
            └── ResultsDiffer      a replay has given other results

Messages are written for the person who started the run: one line, and what to change. They never hold the API key or
the signature of a URL (see :mod:`tasks.core.redaction`).
"""

from __future__ import annotations

import errno
from pathlib import Path


class DarkroomError(Exception):
    """Base of every error this project raises on purpose.

    Attributes:
        status: HTTP status, where an answer caused it.
        excerpt: the first part of the answer's body, redacted.
        retry_after: seconds that the service asked to wait, where it did.
        exit_status: what the command line ends with.
    """

    exit_status = 1

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        excerpt: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.excerpt = excerpt
        self.retry_after = retry_after


class Transient(DarkroomError):
    """May pass by itself."""


class ConnectionFailed(Transient):
    """No connection, a reset, a time-out, or a body cut short."""


class ServiceBusy(Transient):
    """The service answered 408, 429 or 5xx."""


class UrlExpired(Transient):
    """A signed URL was refused; a new one has to be asked for."""


class Terminal(DarkroomError):
    """Retrying is no use."""


class BadInput(Terminal):
    """What the caller gave cannot work."""

    exit_status = 2


class KeyRefused(BadInput):
    """The platform does not know the API key."""


class WorkflowUnknown(BadInput):
    """The platform has no workflow of that id."""


class RequestRefused(Terminal):
    """The service refused the request for good (4xx)."""


class NotFound(RequestRefused):
    """404."""


class Conflict(RequestRefused):
    """409: the id exists with another body."""


class ServiceFailed(Terminal):
    """A service of our own would not start."""


class LocalFault(Terminal):
    """Something on this machine: the disk is full, a folder cannot be written."""


class RunFailed(Terminal):
    """The run came to an end, and not a good one."""


class JobFailed(RunFailed):
    """The platform reports the job as failed."""


class JobAborted(RunFailed):
    """Somebody stopped the job."""


class JobTimedOut(RunFailed):
    """The deadline passed while the job was still running."""


class RunIncomplete(RunFailed):
    """Files are missing from the reconciliation; the message names some of them."""


class ExpectationsMissed(RunFailed):
    """The results are not what was expected of them; the message says what was wanted and what was found."""


class BudgetExceeded(RunFailed):
    """The run would go beyond its budget; the message says what was estimated and what the limit is."""


class ResultsDiffer(RunFailed):
    """A replay has given other results than the run that it replays."""


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help; the one rule for the transport and for Prefect's retries."""
    return isinstance(error, Transient)


def damaged(file: Path) -> LocalFault:
    """The error for a file of a run folder that does not hold what was written there."""
    return LocalFault(f"{file} is damaged: pass --rerun LABEL to do the work afresh")


def local_fault(error: OSError) -> DarkroomError:
    """The error of this tree for a failed file operation.

    Args:
        error: what the operating system said.
    """
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LocalFault(f"the disk is full{where}: free some space and run the same command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return LocalFault(f"not permitted{where}: choose a folder that you may write, or change its permissions")
    return LocalFault(f"a file operation failed{where}: {error.strerror or error}")
