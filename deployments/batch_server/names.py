"""Rules for names that clients choose."""

import re

from deployments.batch_server.refusals import BadRequest
from tasks.roboflow_api.models import BATCH_ID_PATTERN, JOB_ID_PATTERN

WORKFLOW_ID_PATTERN = r"^[a-z0-9_-]{1,64}$"
MAX_NAME_BYTES = 255
"""An image's results lie in a folder of its name, and file systems take names of this length."""


def check_batch_id(batch_id: str) -> str:
    """The id itself, or BadRequest when the contract's pattern does not fit."""
    return _match("batch id", batch_id, BATCH_ID_PATTERN)


def check_job_id(job_id: str) -> str:
    """The id itself, or BadRequest when the contract's pattern does not fit."""
    return _match("job id", job_id, JOB_ID_PATTERN)


def check_workflow_id(workflow_id: str) -> str:
    """The id itself, or BadRequest when it could not be a file's name."""
    return _match("workflow id", workflow_id, WORKFLOW_ID_PATTERN)


def file_name_problem(name: str) -> str | None:
    """Why a name cannot be an image's, or `None` when it can.

    Any flat name will do, spaces and Unicode included, but it must be storable and must not lead elsewhere.
    """
    if name in ("", ".", ".."):
        return "the name is empty or a folder"
    if "/" in name or "\0" in name:
        return "the name holds a path"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    if size > MAX_NAME_BYTES:
        return f"the name has {size} bytes and the limit is {MAX_NAME_BYTES}"
    return None


def printable(name: str) -> str:
    """A name with what is not UTF-8 written as escapes, fit for JSON and for the database."""
    return name.encode("utf-8", "backslashreplace").decode()


def _match(kind: str, value: str, pattern: str) -> str:
    # `$` would let a final line break pass.
    if not re.fullmatch(pattern.removeprefix("^").removesuffix("$"), value):
        raise BadRequest(f"{kind} {value!r} does not match {pattern}")
    return value
