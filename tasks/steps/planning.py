"""Planning: what a run would do, found by staging into a folder that goes away; nothing is sent.

Staging, shards, chunks and the run's key come from the code that a run uses. What the platform alone decides, smaller
archives than ours in particular, is not known before something is sent.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, Field

from tasks.core.errors import LocalFault
from tasks.core.identity import remote_id
from tasks.core.journal import Journal
from tasks.core.progress import Progress, Silent
from tasks.core.records import NothingNew, Record, Staged
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder, list_runs
from tasks.core.settings import Settings
from tasks.media.manifest import read_manifest
from tasks.roboflow_api.models import SignedUrlDetails
from tasks.roboflow_api.platform import Platform, open_platform
from tasks.roboflow_api.retrying import Timing
from tasks.roboflow_api.staging import StagingApi
from tasks.roboflow_api.transport import Transport
from tasks.roboflow_api.workflows import Workflow, WorkflowsApi
from tasks.steps.context import INGEST, Run, Target
from tasks.steps.ingest import sender_of
from tasks.steps.picking import QUERY, Picking
from tasks.steps.piloting import pilot_target
from tasks.steps.referencing import Referral
from tasks.steps.runs import Runs, outlined_runs
from tasks.steps.stage import open_target, stage
from tasks.steps.uploads import Upload
from tasks.transfer.places import LocalPlace

M = TypeVar("M", bound=BaseModel)
Sending = Literal["one by one", "shards", "references", "query"]
LAUNCH = "launch"


class Planned(Record):
    """What a run would do."""

    key: str
    state: Literal["new", "unfinished", "finished"]
    """Whether the run is there already."""
    source: str
    workflow: str
    platform: str
    workspace: str
    job_id: str
    """Of the job, and of the batch as well."""
    files: int
    """Files of the wanted media kind, rejected ones included."""
    rejected: int
    ignored: int
    """Files that are not of the wanted kind by their extension."""
    bytes: int
    """Sum of the sizes of the files to send, as far as they are known."""
    reasons: dict[str, int]
    """Rejected files by reason, the most common first."""
    sending: Sending
    """How files get to the platform: uploaded one by one or in tar shards, or fetched by it from references."""
    note: str
    """Why it is not as one might expect, or nothing."""
    parts: int
    """Files sent one by one, tar shards, or chunks of references that are still to be sent."""
    requests: int
    """Requests that are still to be made to send the files and to start the job; looking how far it is not counted."""
    finished_runs: int
    """Finished runs of this workflow on this platform, on which the estimate rests."""
    seconds_a_file: float | None
    """In those runs together; ``None`` where there are none."""
    seconds: float | None
    """What the whole run may take by that measure."""
    pilot: Planned | None = Field(default=None, description="The run of its first files, where one is asked for.")

    @property
    def to_send(self) -> int:
        """Files that are not rejected."""
        return self.files - self.rejected

    def line(self) -> str:
        """The last line that the command line prints."""
        if self.state == "finished":
            return f"run {self.key}: finished before, nothing to do (--rerun LABEL does it afresh)"
        return f"run {self.key}: {self.state}, {self.to_send} files, {self.requests} requests; nothing was sent"


def open_planned(request: RunRequest, settings: Settings) -> AbstractContextManager[Target]:
    """The target of a request, as :func:`tasks.steps.stage.open_target` opens it, on a platform that is only read."""
    return open_target(request, settings, _only_read)


def plan(target: Target, progress: Progress) -> Planned | NothingNew:
    """What a run would do.

    Args:
        target: as :func:`open_planned` gives it.
        progress: told of every file.

    Raises:
        BadInput: there are no images, or none that can be processed.
        LocalFault: the folder of the run, which is there already, is damaged.
    """
    with TemporaryDirectory(prefix="darkroom-plan-") as scratch:
        place = Path(scratch).resolve()
        aside = replace(target, runs=Runs(place, LocalPlace(place), None))
        staged = stage(aside, progress, Timing())
        if isinstance(staged, NothingNew):
            return staged
        progress.advance("stage", 0, staged.files)  # only now is it known how many there are
        planned = _planned(target, aside, staged)
        pilot = None if planned.state == "finished" else pilot_target(aside, staged)
        if pilot is None:
            return planned
        first = stage(pilot, Silent(), Timing())
        assert isinstance(first, Staged), "a pilot is not incremental"
        return planned.model_copy(update={"pilot": _planned(target, pilot, first)})


def _planned(target: Target, aside: Target, staged: Staged) -> Planned:
    folder = RunFolder(staged.folder)
    with outlined_runs(target.runs, staged.key) as place:
        known = RunFolder(place / staged.key)
        finished, there = known.finished() is not None, known.lock_file.exists()
        if there and not finished:
            _fetch_journal(target.runs, known, folder)
    with Journal(folder.journal) as journal:
        run = Run(aside, folder, journal, Silent(), tell=lambda _text: None)
        sending = _Sending(run, staged.to_send)
    rejected = Counter(row.reason or "rejected" for row in read_manifest(folder.manifest, "rejected"))
    runs, rate = past_rate(target)
    return Planned(
        key=staged.key,
        state="finished" if finished else "unfinished" if there else "new",
        source=target.source.url,
        workflow=target.workflow.id,
        platform=target.platform.name,
        workspace=target.platform.workspace,
        job_id=remote_id(staged.key),
        files=staged.files,
        rejected=staged.rejected,
        ignored=staged.ignored,
        bytes=staged.bytes,
        reasons=dict(rejected.most_common()),
        sending=sending.way,
        note=target.transfer_note,
        parts=0 if finished else sending.parts,
        requests=0 if finished else sending.requests,
        finished_runs=runs,
        seconds_a_file=rate,
        seconds=0.0 if finished else None if rate is None else rate * staged.to_send,
    )


def _fetch_journal(runs: Runs, known: RunFolder, folder: RunFolder) -> None:
    """A copy of the journal of a run that is under way, or was: what it has sent is not sent again."""
    if runs.mirror is not None:
        runs.place.sub(known.key).get(known.journal.name, folder.journal)
    elif known.journal.exists():
        shutil.copyfile(known.journal, folder.journal)


class _Sending:
    """How a run's files would be sent, and by how many requests.

    Args:
        run: the run, with a journal that may be written to.
        files: files to send.
    """

    def __init__(self, run: Run, files: int) -> None:
        knows_limits = run.journal.confirmed(INGEST, "way") is not None
        sender = sender_of(run, files)
        self.way = _way(sender)
        unsent = (part for part in sender.parts() if not run.journal.confirmed(INGEST, part.part))
        self.parts = sum(1 for _ in unsent)
        asks = self.parts
        if self.way == "shards":  # a signed URL for each, and one more to learn the platform's limits
            asks = 2 * self.parts + (0 if knows_limits else 1)
        elif self.way == "query":
            asks = 0 if run.journal.confirmed(INGEST, QUERY) else 1
        launched = run.journal.confirmed(LAUNCH, "record") is not None
        self.requests = asks + (0 if launched else 1)


def _way(sender: Upload | Referral | Picking) -> Sending:
    if isinstance(sender, Picking):
        return "query"
    if isinstance(sender, Referral):
        return "references"
    return "one by one" if sender.one_by_one else "shards"


class _UnsentBatches(StagingApi):
    """Batches to which nothing is sent: what an archive may hold is asked for with its upload, and not known before."""

    def shard_upload(self, batch_id: str, display_name: str) -> SignedUrlDetails:  # noqa: ARG002 - as of the batches
        return SignedUrlDetails(upload_url="")


class _UnsentWorkflows(WorkflowsApi):
    """Workflows of which those that lie in files are read, and not saved on the platform."""

    def register(self, file: Path) -> Workflow:
        return WorkflowsApi(cast(Transport, _Unheard()), "").register(file)


class _Unheard:
    """A transport for what is not to be sent."""

    def post(self, _path: str, answer: type[M], **_content: Any) -> M:
        return answer()


@contextmanager
def _only_read(name: str, settings: Settings) -> Iterator[Platform]:
    with open_platform(name, settings) as opened:
        yield replace(
            opened,
            staging=_UnsentBatches(opened.staging.transport, opened.workspace),
            workflows=_UnsentWorkflows(opened.staging.transport, opened.workspace),
        )


def past_rate(target: Target) -> tuple[int, float | None]:
    """How many runs of the same workflow have finished on the same platform, and their seconds a file, together."""
    seconds, files, runs = 0.0, 0, 0
    wanted = (target.workflow.id, target.workflow.digest, target.platform.name)
    with outlined_runs(target.runs) as place:
        for folder in list_runs(place):
            try:
                summary = folder.finished()
            except LocalFault:
                continue  # it is told when somebody looks at that run
            if summary is None or (summary.workflow, summary.workflow_digest, summary.platform) != wanted:
                continue
            runs, seconds, files = runs + 1, seconds + summary.seconds, files + summary.processed + summary.failed
    return (runs, seconds / files) if files else (0, None)
