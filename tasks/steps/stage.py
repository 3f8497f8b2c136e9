"""Stage: list the source, look inside every file, name it, and give the run its identity and folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks.core.errors import BadInput, damaged
from tasks.core.files import write_text
from tasks.core.identity import RunIdentity, remote_id
from tasks.core.progress import Progress
from tasks.core.records import Staged
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder, adopt, staging_folder
from tasks.core.settings import Settings
from tasks.media.manifest import ManifestFacts, digest_source, read_manifest, write_manifest
from tasks.roboflow_api.platform import Platform, open_platform
from tasks.roboflow_api.retrying import Timing
from tasks.sources.registry import open_source
from tasks.steps.context import Target

LOCK_SCHEMA = "run/1"
VERSIONED = ("darkroom", "prefect", "pyarrow", "httpx", "pydantic")


@contextmanager
def open_target(request: RunRequest, settings: Settings) -> Iterator[Target]:
    """Opens source and platform and finds the workflow, so that bad input is told before any work.

    Raises:
        BadInput: the source, the workflow, a parameter or the platform cannot be used.
    """
    source = open_source(request.source, left_out=(request.runs, settings.home))
    with open_platform(request.platform, settings) as platform:
        workflow = platform.workflow(request.workflow)
        workflow.check_parameters(request.parameters)
        yield Target(request, platform, workflow, source)


def identify(target: Target, digest: str) -> RunIdentity:
    """The identity of the run that processes the media of ``digest``."""
    request, platform = target.request, target.platform
    return RunIdentity(
        manifest_digest=digest,
        workflow_id=target.workflow.id,
        workflow_digest=target.workflow.digest,
        parameters=request.parameters,
        options=request.options,
        workspace=f"{platform.name}/{platform.workspace}",
        rerun=request.rerun,
    )


def find_finished(target: Target) -> RunFolder:
    """The folder that this request's run has, or would have; nothing is written.

    Raises:
        BadInput: there are no images.
    """
    return RunFolder(target.request.runs / identify(target, digest_source(target.source)).key())


def stage(target: Target, progress: Progress, timing: Timing) -> Staged:
    """Writes the manifest and makes the run's folder, or finds the one that an earlier process made.

    Raises:
        BadInput: there are no images, or none that can be processed.
    """
    begun, started, runs = timing.clock(), timing.now(), target.request.runs
    with staging_folder(runs) as folder:
        manifest = folder / RunFolder(folder).manifest.name
        facts = write_manifest(target.source, manifest, progress)
        if facts.files == facts.rejected:
            raise BadInput(_none_usable(manifest, facts))
        identity = identify(target, facts.digest)
        run = RunFolder(runs / identity.key())
        staged = Staged(
            key=run.key,
            folder=run.root,
            files=facts.files,
            rejected=facts.rejected,
            ignored=facts.ignored,
            bytes=facts.bytes,
            seconds=timing.clock() - begun,
        )
        lock = _lock(target.request, target.platform, identity, staged, started)
        write_text(folder / run.lock_file.name, json.dumps(lock, indent=2, ensure_ascii=False) + "\n")
        adopt(folder, run)
    return load_staged(run)


def load_staged(run: RunFolder) -> Staged:
    """The staging record in ``run.json``."""
    return Staged.model_validate(read_lock(run)["staged"] | {"folder": run.root})


def read_lock(run: RunFolder) -> dict[str, Any]:
    """The content of ``run.json``.

    Raises:
        LocalFault: it is damaged.
    """
    try:
        content = json.loads(run.lock_file.read_text(encoding="utf-8"))
    except ValueError:
        raise damaged(run.lock_file) from None
    if not isinstance(content, dict) or content.get("schema") != LOCK_SCHEMA:
        raise damaged(run.lock_file)
    return content


def _lock(
    request: RunRequest, platform: Platform, identity: RunIdentity, staged: Staged, started: datetime
) -> dict[str, Any]:
    """Everything that it takes to say what this run is and to ask for it again."""
    key = identity.key()
    return {
        "schema": LOCK_SCHEMA,
        "key": key,
        "started": started.isoformat(),
        "command": request.command(),
        "request": request.model_dump(mode="json"),
        "identity": identity.model_dump(mode="json"),
        "platform": {"name": platform.name, "url": platform.url, "workspace": platform.workspace},
        "batch_id": remote_id(key),
        "job_id": remote_id(key),
        "versions": {name: version(name) for name in VERSIONED},
        "staged": staged.model_dump(mode="json", exclude={"folder"}),
    }


def _none_usable(manifest: Path, facts: ManifestFacts) -> str:
    reasons = Counter(row.reason for row in read_manifest(manifest, "rejected"))
    reason, times = reasons.most_common(1)[0]
    return f"none of the {facts.files} files can be processed; the most common reason ({times}): {reason}"
