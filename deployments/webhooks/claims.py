"""What notifications claim. Anybody who has seen a run's address could say it, so nothing of it is believed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from deployments.batch_server.refusals import BadRequest
from tasks.roboflow_api.models import JobNotification, WireModel

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
    """What is passed on of it: ids, success and counts."""


class _Message(WireModel):
    model_config = ConfigDict(alias_generator=None, extra="ignore")


class _JobEnded(JobNotification):
    event_id: Identifier

    def claim(self) -> Claim:
        return Claim(self.event_id, Kind.JOB, self.model_dump(include={"event_id", "job_id", "job_state"}))


class _FailedFile(_Message):
    file_name: str


class _IngestStatus(_Message):
    type: Literal["ingest-status-notification-v1"]
    success: bool

    def told(self) -> dict[str, Any]:
        return {"success": self.success}


class _FilesStatus(_Message):
    type: Literal["ingest-files-status-notification-v1"]
    success: bool
    ingested_files: list[str]
    failed_files: list[_FailedFile]
    content_truncated: bool

    def told(self) -> dict[str, Any]:
        return {
            "success": self.success,
            "ingested": len(self.ingested_files),
            "failed": len(self.failed_files),
            "failed_files": _shown([file.file_name for file in self.failed_files]),
            "content_truncated": self.content_truncated,
        }


class _IngestEnded(_Message):
    type: Literal["roboflow-data-staging-notification-v1"]
    event_id: Identifier
    ingest_id: Identifier
    batch_id: Identifier
    shard_id: Identifier | None
    notification: Annotated[_IngestStatus | _FilesStatus, Field(discriminator="type")]
    delivery_attempt: int

    def claim(self) -> Claim:
        ids = self.model_dump(include={"event_id", "ingest_id", "batch_id", "shard_id"})
        return Claim(self.event_id, Kind.INGEST, ids | self.notification.told())


_NOTIFICATION = TypeAdapter[_JobEnded | _IngestEnded](
    Annotated[_JobEnded | _IngestEnded, Field(discriminator="type")],
)


def read_claim(body: bytes, job_id: str) -> Claim:
    """What a notification claims.

    Args:
        body: The request's body.
        job_id: The job of the run that it was sent for.

    Raises:
        BadRequest: It is neither of the contract's notifications, or is about another job.
    """
    try:
        notification = _NOTIFICATION.validate_json(body, strict=True)
    except ValidationError as error:
        raise BadRequest(f"the body is no notification: {_reason(error)}") from None
    if isinstance(notification, _JobEnded) and notification.job_id != job_id:
        raise BadRequest(f"the notification is not about job {job_id}, which this address is for")
    return notification.claim()


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    # The message may repeat what was sent.
    return " ".join(f"{where}: {first['msg']}".removeprefix(": ").split())[:LONGEST_REASON]


def _shown(names: Sequence[str]) -> list[str]:
    """The first names, without what databases do not take."""
    return [name[:LONGEST_NAME].replace("\0", "") for name in names[:MOST_NAMES]]
