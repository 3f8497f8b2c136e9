"""What subscribers are told, in the vendor's form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

MOST_FILES = 200
"""Most files in one notification; those that failed go first."""


@dataclass(frozen=True)
class Subscription:
    """Who wants to hear of an archive."""

    ingest_id: str
    url: str


@dataclass(frozen=True)
class IngestEvent:
    """The ingest that something is told of."""

    ingest_id: str
    batch_id: str
    shard_id: str | None = None
    """`None`: all of it."""

    def status(self, error: dict[str, str] | None) -> dict[str, Any]:
        """That it has ended; `error` holds the type and the reason of a failure."""
        details = {} if error is None else {"error_details": error}
        return self._event({"type": "ingest-status-notification-v1", "success": error is None, **details})

    def files(self, success: bool, ingested: Sequence[str], failed: Sequence[dict[str, str]]) -> dict[str, Any]:
        """What became of its files."""
        room = max(0, MOST_FILES - len(failed))
        return self._event(
            {
                "type": "ingest-files-status-notification-v1",
                "success": success,
                "ingested_files": list(ingested[:room]),
                "failed_files": list(failed[:MOST_FILES]),
                "content_truncated": len(ingested) + len(failed) > MOST_FILES,
            }
        )

    def _event(self, notification: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "roboflow-data-staging-notification-v1",
            "event_id": str(uuid4()),
            "ingest_id": self.ingest_id,
            "batch_id": self.batch_id,
            "shard_id": self.shard_id,
            "notification": notification,
        }


def job_event(job_id: str, success: bool) -> dict[str, Any]:
    """That a job has ended; one that was aborted has failed."""
    return {
        "type": "roboflow-batch-job-notification-v1",
        "event_id": str(uuid4()),
        "job_id": job_id,
        "job_state": "success" if success else "fail",
    }
