"""Stage: list the source, look inside every file, name it, and give the run its identity and folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks.core.errors import BadInput
from tasks.core.files import write_text
from tasks.core.identity import RunIdentity, remote_id
from tasks.core.progress import Progress
from tasks.core.records import NothingNew, Staged
from tasks.core.redaction import redact
from tasks.core.request import RunRequest
from tasks.core.run_folder import LOCK_SCHEMA, RunFolder, adopt, lock_text, read_lock, staging_folder
from tasks.core.settings import Settings
from tasks.core.tokens import RunTokens
from tasks.media.manifest import ManifestFacts, NothingListed, digest_source, read_manifest, write_manifest, write_rows
from tasks.roboflow_api.platform import EMBEDDED, Platform, open_platform
from tasks.roboflow_api.retrying import Timing
from tasks.sources.base import Source
from tasks.sources.registry import FROM_VARIABLE, holds_secret, open_source
from tasks.sources.roboql import RoboqlSource
from tasks.steps.context import Target
from tasks.steps.datasets import check_datasets
from tasks.steps.incremental import OnlyNew, only_new, state_name
from tasks.steps.judging import check_comparison
from tasks.steps.piloting import check_pilot
from tasks.steps.reach import choose_transfer
from tasks.steps.replaying import replayed
from tasks.steps.runs import open_runs
from tasks.transfer.places import Place, open_place

VERSIONED = ("darkroom", "prefect", "pyarrow", "httpx", "pydantic")


Opener = Callable[[str, Settings], AbstractContextManager[Platform]]
"""Connects to the platform of a name."""


@contextmanager
def open_target(request: RunRequest, settings: Settings, opener: Opener = open_platform) -> Iterator[Target]:
    """Opens source, platform and places and finds the workflow, so that bad input is told before any work.

    Args:
        request: what is asked for.
        settings: of platforms and places.
        opener: gives the platform; a plan has one that is only read.

    Raises:
        BadInput: the source, the workflow, a parameter, the platform or a place cannot be used.
    """
    source = answering_source(request.source, left_out(request, settings))
    if isinstance(source, RoboqlSource) and request.only_new:
        raise BadInput("--only-new cannot know what a query picks: leave it out, and give each night a --rerun LABEL")
    allowed = settings.allowed_hosts() if request.platform == EMBEDDED else []
    way = choose_transfer(request.transfer, source, allowed)
    runs = open_runs(request.runs, settings)
    destination = _open_destination(request.destination) if request.destination else None
    check_datasets(request.datasets, source)
    check_comparison(request, runs)
    check_pilot(request.pilot, source)
    with opener(request.platform, settings) as platform:
        workflow = platform.workflow(request.workflow)
        workflow.check_parameters(request.parameters)
        target = Target(
            request=request,
            platform=platform,
            workflow=workflow,
            source=source,
            runs=runs,
            destination=destination,
            transfer=way.transfer,
            transfer_note=way.note,
            url_hours=settings.url_hours,
            webhook=_webhook(settings),
        )
        with _selected(target) as selected:
            yield selected


@contextmanager
def _selected(target: Target) -> Iterator[Target]:
    """The target with as much of its source as the request means."""
    if target.request.replays:
        with replayed(target) as same:
            yield same
    elif target.request.only_new:
        with only_new(target.source, target.runs.states, state_of(target)) as new:
            yield replace(target, source=new)
    else:
        yield target


def answering_source(url: str, left_out: tuple[str, ...]) -> Source:
    """The source, looked into once, so that a place that cannot be used is told at once and not tried for minutes.

    Raises:
        BadInput: it cannot be used.
        Transient: it does not answer.
    """
    if holds_secret(url):
        raise BadInput(
            f"source {redact(url)} may be signed, and inputs are kept: put it into an environment variable NAME of "
            f"the process that runs, and name {FROM_VARIABLE}NAME"
        )
    source = open_source(url, left_out)
    source.check()
    return source


def left_out(request: RunRequest, settings: Settings) -> tuple[str, ...]:
    """The pipeline's own places, which are no part of a source that they lie in."""
    return tuple(filter(None, (request.runs, request.destination, str(settings.home))))


def _webhook(settings: Settings) -> Callable[[str], str]:
    """What gives the URL that notifications for a run of some key go to."""
    if not settings.webhook_url:
        return lambda _key: ""
    if settings.webhook_secret is None:
        raise BadInput(
            "DARKROOM_WEBHOOK_URL is set and DARKROOM_WEBHOOK_SECRET is not: set it, as for darkroom webhooks"
        )
    tokens = RunTokens(settings.webhook_secret)
    return lambda key: tokens.url(settings.webhook_url, key)


def _open_destination(url: str) -> Place:
    """The destination, looked into once, so that a bucket that cannot be used is told before any work."""
    destination = open_place(url)
    next(destination.folders(), None)
    return destination


def state_of(target: Target) -> str:
    """The name of what incremental runs of this request share."""
    request, platform = target.request, target.platform
    return state_name(
        source=target.source.url,
        workflow_id=target.workflow.id,
        workflow_digest=target.workflow.digest,
        parameters=request.parameters,
        options=request.options,
        workspace=f"{platform.name}/{platform.workspace}",
    )


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
    source = target.source
    digest = source.digest() if isinstance(source, RoboqlSource) else digest_source(source)
    return RunFolder(target.runs.folder / identify(target, digest).key())


def stage(target: Target, progress: Progress, timing: Timing) -> Staged | NothingNew:
    """Writes the manifest and makes the run's folder, or finds the one that an earlier process made.

    Raises:
        BadInput: there are no images, or none that can be processed.
    """
    begun, started, runs = timing.clock(), timing.now(), target.runs.folder
    with staging_folder(runs) as folder:
        manifest = folder / RunFolder(folder).manifest.name
        try:
            facts = _write_manifest(target.source, manifest, progress)
        except NothingListed:
            if isinstance(target.source, OnlyNew) and target.source.has_state:
                return NothingNew(source=target.source.url, known=target.source.known)
            raise
        if facts.files and facts.files == facts.rejected:
            if isinstance(target.source, OnlyNew) and target.source.has_state:
                return NothingNew(source=target.source.url, known=target.source.known, rejected=facts.rejected)
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
        write_text(folder / run.lock_file.name, lock_text(lock))
        if not _brought(target, run):
            adopt(folder, run)
    return load_staged(run)


def _brought(target: Target, run: RunFolder) -> bool:
    """Whether the run was brought here from its bucket, because it got further elsewhere.

    Raises:
        BadInput: only another machine can finish it.
    """
    mirror = target.runs.mirror
    if mirror is None:
        return False
    if target.platform.name == EMBEDDED and mirror.is_elsewhere(run):
        raise BadInput(
            f"run {run.key} was begun with the embedded server of another machine or home, which alone can finish it: "
            "run the same command there, or pass --rerun LABEL; a --platform URL lets any machine go on"
        )
    return mirror.pull(run)


def _write_manifest(source: Source, path: Path, progress: Progress) -> ManifestFacts:
    """The manifest of what is listed; that of a query is empty until the platform has picked."""
    if isinstance(source, RoboqlSource):
        write_rows(path, ())
        return ManifestFacts(digest=source.digest())
    return write_manifest(source, path, progress)


def staged_before(target: Target, key: str) -> tuple[Target, Staged]:
    """A run that was staged by an earlier process of the same flow run, whatever its source holds by now.

    Args:
        target: where it goes; an incremental one remembers what there was when the run was begun.
        key: the run's key.

    Raises:
        BadInput: the workflow is another one by now.
    """
    run = RunFolder(target.runs.folder / key)
    _brought(target, run)
    if read_lock(run)["identity"]["workflow_digest"] != target.workflow.digest:
        raise BadInput(
            f"workflow {target.workflow.id} has changed since run {key} was begun, whose files it would process in "
            "another way: start a run afresh"
        )
    return replace(target, asked=datetime.fromisoformat(read_lock(run)["started"])), load_staged(run)


def load_staged(run: RunFolder) -> Staged:
    """The staging record in ``run.json``."""
    return Staged.model_validate(read_lock(run)["staged"] | {"folder": run.root})


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
