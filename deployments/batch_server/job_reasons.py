"""Errors met while a job runs, told in one line to its owner."""

import logging

from sqlalchemy.exc import DBAPIError

from deployments.batch_server.blobs import NO_SPACE
from deployments.batch_server.engine.interface import EngineFailure

LOG = logging.getLogger(__name__)


def reason_of(error: Exception) -> str:
    """An error as one line for the job's owner; what nobody foresaw goes into the server's log in full."""
    if isinstance(error, EngineFailure):
        return str(error)
    if _is_full_disk(error):
        return "the server's disk is full: free some space in its data folder and restart the job"
    if isinstance(error, OSError) and error.strerror is not None:
        return f"the server cannot use its data folder: {error.strerror}"
    LOG.error("unexpected error in a job", exc_info=error)
    if isinstance(error, DBAPIError):  # its own text goes over many lines and shows the values of the statement
        return f"the server's database does not answer: {error.orig}"
    return f"unexpected error, see the server's log: {type(error).__name__}: {error}"


def _is_full_disk(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        return "disk is full" in str(error.orig)
    return isinstance(error, OSError) and error.errno in NO_SPACE
