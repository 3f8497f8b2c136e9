"""A bucket of objects that are made up while they are listed, signed for as if it lay on S3.

``python -m tests.benchmarks.synthetic COUNT FOLDER OUTCOME`` lists them into a manifest and makes the requests that
hand them to a platform, by the code of the steps stage and ingest. The requests are thrown away; ``OUTCOME`` is a file
that then says what each part took.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx

from tasks.core.journal import Journal
from tasks.core.progress import Silent
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder
from tasks.media.manifest import write_manifest
from tasks.roboflow_api.models import WireModel
from tasks.roboflow_api.platform import Platform
from tasks.roboflow_api.polling import Pace
from tasks.roboflow_api.staging import StagingApi
from tasks.roboflow_api.transport import Transport
from tasks.sources.base import MediaObject
from tasks.sources.bucket import Bucket, BucketSource
from tasks.sources.patterns import parse_selection
from tasks.sources.registry import open_bucket
from tasks.steps.context import Run, Target
from tasks.steps.referencing import Referral

PREFIX = "inspection/"
FIRST = datetime(2026, 9, 1, tzinfo=UTC)
NOTHING: Any = None

M = TypeVar("M", bound=WireModel)


class SyntheticBucket:
    """``count`` objects with keys of 64 characters in S3's order; URLs are signed by ``signing``."""

    pins_versions = False

    def __init__(self, count: int, signing: Bucket) -> None:
        self.scheme, self.name = signing.scheme, signing.name
        self._count = count
        self._signing = signing

    def list(self, prefix: str) -> Iterator[MediaObject]:
        for number in range(self._count):
            etag = hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()
            thousand = number // 1000
            day, line, camera = thousand // 40 + 1, thousand // 4 % 10, thousand % 4
            key = f"{prefix}2026/09/{day:02d}/line-{line:02d}/camera-{camera}/IMG_{number:08d}_{etag[:8]}.jpg"
            size = 100_000 + number * 7919 % 400_000
            yield MediaObject(key, size, etag, FIRST + timedelta(seconds=number))

    def longest_lifetime(self) -> float | None:
        return self._signing.longest_lifetime()

    def presign(self, items: Iterable[MediaObject], seconds: int) -> Iterator[str]:
        return self._signing.presign(items, seconds)


class Discarding:
    """A transport that makes requests up to their last byte, and sends none."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def post(self, path: str, answer: type[M], **options: Any) -> M:
        body = {name: options.pop(name) for name in ("json", "content", "headers") if name in options}
        request = httpx.Request("POST", f"http://nowhere.invalid{path}", params=options, **body)
        self.sizes.append(sum(map(len, cast(Iterable[bytes], request.stream))))
        return answer.model_validate({"ingestId": "none"})


def main(count: int, folder: Path, outcome: Path) -> None:
    source = BucketSource(cast(Bucket, SyntheticBucket(count, open_bucket("s3://photos")[0])), parse_selection(PREFIX))
    run_folder, discarding = RunFolder(folder), Discarding()
    steps = [
        _taken(lambda: sum(1 for _ in source.list())),
        _taken(lambda: write_manifest(source, run_folder.manifest, Silent())),
    ]
    with Journal(run_folder.journal) as journal:
        run = Run(_target(source, discarding), run_folder, journal, Silent())
        steps.append(_taken(Referral(run).send))
    told = {
        "steps": steps,
        "manifest_bytes": run_folder.manifest.stat().st_size,
        "requests": len(discarding.sizes),
        "request_bytes": sum(discarding.sizes),
    }
    outcome.write_text(json.dumps(told), encoding="utf-8")


def _target(source: BucketSource, discarding: Discarding) -> Target:
    staging = StagingApi(cast(Transport, discarding), "local")
    platform = Platform("nowhere", "http://nowhere.invalid", "local", staging, NOTHING, NOTHING, Pace(), 0.0)
    return Target(RunRequest(source=source.url, workflow="none"), platform, NOTHING, source, NOTHING)


def _taken(work: Callable[[], object]) -> dict[str, float]:
    """What ``work`` takes; the peak is that of the process up to its end."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak}


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
