"""What notifications claim. Anybody who has seen a run's address could say it, so nothing of it is believed.

A notification need only say what it is about: a platform that leaves out the rest, or words it anew, still wakes the
run, and the platform is asked what is true.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from deployments.batch_server.refusals import BadRequest
from tasks.roboflow_api.models import WireModel

MOST_NAMES = 20
"""Most names of files that are kept of one notification."""
LONGEST_NAME = 255
LONGEST_REASON = 300
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Kind(StrEnum):
    """What a notification is about."""

    JOB = "job"
    INGEST = "ingest"


@dataclass(frozen=True)
class Claim:
    """What is kept of a notification."""

    event_id: str
    kind: Kind
    payload: dict[str, Any]
    """What is passed on of it, as far as it is there: ids, success and counts."""


def _if_understood(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


Word = Annotated[Identifier | None, WrapValidator(_if_understood)]
"""A word or an id that nothing depends on; `None` also when it is of another form."""
Flag = Annotated[bool | None, WrapValidator(_if_understood)]
Files = Annotated[list[Any] | None, WrapValidator(_if_understood)]


class _Message(WireModel):
    model_config = ConfigDict(alias_generator=None, extra="ignore")


class _JobEnded(_Message):
    type: Literal["roboflow-batch-job-notification-v1"]
    event_id: Identifier
    job_id: str
    job_state: Word = None

    def is_about(self, remote_id: str) -> bool:
        return self.job_id == remote_id

    def claim(self) -> Claim:
        return Claim(self.event_id, Kind.JOB, self.model_dump(exclude={"type"}, exclude_unset=True))


class _IngestNews(_Message):
    """What is said of an ingest, in any type of such news."""

    success: Flag = None
    ingested_files: Files = None
    failed_files: Files = None
    content_truncated: Flag = None

    def told(self) -> dict[str, Any]:
        told = self.model_dump(include={"success", "content_truncated"}, exclude_unset=True)
        if self.ingested_files is not None:
            told["ingested"] = len(self.ingested_files)
        if self.failed_files is not None:
            told |= {"failed": len(self.failed_files), "failed_files": _shown(self.failed_files)}
        return told


class _IngestTold(_Message):
    type: Literal["roboflow-data-staging-notification-v1"]
    event_id: Identifier
    batch_id: str
    ingest_id: Word = None
    shard_id: Word = None
    notification: Annotated[_IngestNews | None, WrapValidator(_if_understood)] = None

    def is_about(self, remote_id: str) -> bool:
        return self.batch_id == remote_id

    def claim(self) -> Claim:
        ids = self.model_dump(exclude={"type", "notification"}, exclude_unset=True)
        news = {} if self.notification is None else self.notification.told()
        return Claim(self.event_id, Kind.INGEST, ids | news)


_NOTIFICATION = TypeAdapter[_JobEnded | _IngestTold](
    Annotated[_JobEnded | _IngestTold, Field(discriminator="type")],
)


def read_claim(body: bytes, remote_id: str) -> Claim:
    """What a notification claims.

    Args:
        body: The request's body.
        remote_id: The id of job and batch of the run that it was sent for.

    Raises:
        BadRequest: It is neither of the contract's notifications, or is about another job or batch.
    """
    try:
        notification = _NOTIFICATION.validate_json(body, strict=True)
    except ValidationError as error:
        raise BadRequest(f"the body is no notification: {_reason(error)}") from None
    if not notification.is_about(remote_id):
        raise BadRequest(f"the notification is not about {remote_id}, the job and batch that this address is for")
    return notification.claim()


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    # The message may repeat what was sent.
    return " ".join(f"{where}: {first['msg']}".removeprefix(": ").split())[:LONGEST_REASON]


def _shown(files: Sequence[Any]) -> list[str]:
    """The names of the first files that have one, without what databases do not take."""
    names = (file.get("file_name") for file in files if isinstance(file, dict))
    return [name[:LONGEST_NAME].replace("\0", "") for name in names if isinstance(name, str)][:MOST_NAMES]
