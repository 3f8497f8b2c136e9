"""A finished run's summary, for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.records import RunSummary


def summary(key: str, **changes: Any) -> RunSummary:
    facts: dict[str, Any] = {
        "key": key,
        "source": "/data/photos 日本",
        "workflow": "photo-audit",
        "workflow_digest": None,
        "platform": "embedded",
        "workspace": "w",
        "batch_id": f"dr-{key}",
        "job_id": f"dr-{key}",
        "files": 10,
        "processed": 7,
        "failed": 2,
        "rejected": 1,
        "predictions": 30,
        "bytes": 1 << 40,
        "started": datetime(2026, 9, 15, 12, 0, 0, 123_456, tzinfo=UTC),
        "finished": datetime(2026, 9, 15, 12, 0, 12, tzinfo=UTC),
        "seconds": 12.34,
        "folder": Path("runs") / key,
    }
    steps = ("stage", "ingest", "launch", "wait", "export", "summarize")
    return RunSummary.model_validate(facts | {f"{step}_seconds": 1.5 for step in steps} | changes)
