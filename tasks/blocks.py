"""The Prefect block that says where jobs run and with which key, and that runs them in flows of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import wait as wait_until_done
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, ClassVar, Literal, TypeVar, cast
from urllib.parse import urlsplit

from prefect._internal.compatibility.async_dispatch import async_dispatch
from prefect.blocks.abstract import JobBlock, JobRun
from pydantic import Field, HttpUrl, SecretStr, ValidationError, field_validator

from tasks.core.errors import BadInput
from tasks.core.identity import remote_id
from tasks.core.progress import Silent
from tasks.core.records import Finished, NothingNew, Record, RunSummary, Staged
from tasks.core.redaction import redact
from tasks.core.request import RunRequest
from tasks.core.run_folder import read_lock
from tasks.core.settings import REGION_HOSTS, PlatformLogin, Settings, load_settings
from tasks.core.threads import in_background
from tasks.own_flow_run import INTERRUPTIONS, open_flow_runs, own_id, own_run, tag_flow_run
from tasks.roboflow_api.platform import BLOCK, CLOUD, connect
from tasks.roboflow_api.retrying import Timing
from tasks.single_runs import INSTEAD, check_single
from tasks.steps.conclude import Means, bring_home, conclude, failing_at_home
from tasks.steps.context import WAIT, Run
from tasks.steps.datasets import make_datasets
from tasks.steps.export import export
from tasks.steps.flow_runs import note_suspension
from tasks.steps.holding import hold, interruptible, leaving_no_job
from tasks.steps.ingest import ingest
from tasks.steps.judging import finished_as_asked
from tasks.steps.launch import launch
from tasks.steps.publish import publish
from tasks.steps.reaping import BRIEF
from tasks.steps.stage import open_target, stage, staged_before
from tasks.steps.summarize import records_of, summarize
from tasks.steps.wait import wait

_OPTIONS = frozenset(RunRequest.model_fields) - {"platform", *INSTEAD}
_GRACE_SECONDS = BRIEF.total + 10.0
"""What was interrupted gets so long to end, with its job aborted; the flow reap-runs tries again."""

_CLOUDS = {url.partition("://")[2]: url for url in REGION_HOSTS.values()}
"""The cloud's own URLs, by their hosts."""

T = TypeVar("T")


class JobResult(Record):
    """A finished run and its files."""

    summary: RunSummary
    results: Path
    """Parquet, a row for each image."""
    predictions: Path
    """Parquet, a row for each detection."""
    failures: Path
    """Parquet, a row for each image without a result."""
    report: Path
    """The HTML report."""


class PlatformRun(JobRun[JobResult]):
    """A job that was triggered, and the run that it belongs to.

    Each call takes the run's lock for as long as it lasts, and finds in the run's folder what was done before. So a
    process may do anything between the calls, or be killed: triggering the same job again goes on where it was.

    Args:
        platform: where the job runs.
        request: what was asked for.
        key: the run's key.
    """

    def __init__(self, platform: RoboflowPlatform, request: RunRequest, key: str) -> None:
        self._platform = platform
        self.request = request
        self.key = key

    @property
    def job_id(self) -> str:
        """The job's id on the platform."""
        return remote_id(self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the API key: a result that Prefect keeps holds the block's name."""
        name = self._platform._block_document_name
        if name is None:
            raise TypeError("a run of a block that was not saved cannot be kept, as it holds the key: save the block")
        return _load_run, (name, self.request, self.key)

    async def await_for_completion(self) -> None:
        """The same for asynchronous flows."""
        await _in_thread(self._wait)

    @async_dispatch(await_for_completion)
    def wait_for_completion(self) -> None:  # type: ignore[override]  # both ways, as in Prefect's own blocks
        """Waits until the job has ended.

        When it is interrupted, the job is aborted, unless ``wait.on_cancel`` says to leave it.

        Raises:
            JobFailed: the platform reports an error.
            JobAborted: somebody stopped the job.
            JobTimedOut: the deadline ``wait.deadline_hours`` has passed.
        """
        self._wait(Event())

    async def afetch_result(self) -> JobResult:
        """The same for asynchronous flows."""
        return await _in_thread(self._fetch)

    @async_dispatch(afetch_result)
    def fetch_result(self) -> JobResult:  # type: ignore[override]
        """Fetches what the job has made, accounts for every file, and gives the finished run.

        Raises:
            BadInput: the job has not been waited for.
            RunFailed: files are missing from the reconciliation, or an expectation was missed.
        """
        return self._fetch(Event())

    def _wait(self, interrupted: Event) -> None:
        with self._held(interrupted) as run, failing_at_home(run), _leaving_no_job(run):
            if run.folder.finished() is None:
                own_run(run)
                _note_absence(run)
                finished = wait(run)
                self.logger.info("job %s has ended: %d images failed", finished.job_id, finished.failures)

    def _fetch(self, interrupted: Event) -> JobResult:
        with self._held(interrupted) as run, failing_at_home(run, own_id()):
            summary = conclude(run, finished_as_asked(run) or _finish(run), _means())
        self.logger.info(summary.line())
        folder = run.folder
        return JobResult(
            summary=summary,
            results=folder.results,
            predictions=folder.predictions,
            failures=folder.failures,
            report=folder.report,
        )

    @contextmanager
    def _held(self, interrupted: Event) -> Iterator[Run]:
        with open_target(self.request, self._platform._settings()) as opened:
            target, staged = staged_before(opened, self.key)
            with hold(target, staged, self.logger.warning) as run:
                yield interruptible(run, interrupted)


class RoboflowPlatform(JobBlock[JobResult]):
    """Where jobs run and with which key; flows name it as `block:NAME`, or trigger jobs with it.

    Where a flow run that has triggered a job crashes or is cancelled, `reap-runs` aborts the job. The automation that
    runs it at once is for flows whose name begins with `process-`; for others, its schedule does it.
    """

    _block_type_name = "Roboflow Platform"
    _block_type_slug = "roboflow-platform"
    _logo_url = HttpUrl("https://github.com/roboflow.png")
    _documentation_url = HttpUrl("https://docs.roboflow.com/deploy/batch-processing")
    _description = (
        "Roboflow's cloud, or a server that speaks its batch-processing API: where it is, and the key for it. Name it "
        "as block:NAME wherever a flow asks for the platform, or trigger jobs with it in flows of your own."
    )
    _code_example = """```python
from prefect import flow
from tasks.blocks import RoboflowPlatform

@flow
def inspect(source: str):
    platform = RoboflowPlatform.load("mine")
    run = platform.trigger(source, "photo-audit")
    run.wait_for_completion()
    return run.fetch_result().summary.processed
```"""
    _events_excluded_methods: ClassVar[list[str]] = [*JobBlock._events_excluded_methods, "login"]

    url: str = Field(
        default="",
        title="URL",
        description="URL of a batch server, such as http://127.0.0.1:9001. Empty: Roboflow's cloud.",
    )
    region: Literal["us", "eu"] = Field(
        default="us", title="Region", description="Region of Roboflow's cloud; of no account where a URL is given."
    )
    api_key: SecretStr = Field(title="API key", description="Key of the workspace in which jobs run.")
    workspace: str = Field(
        default="",
        title="Workspace",
        description="Id of the workspace that the key must be of, so that a wrong one is told at once. Empty: any.",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query):
            raise ValueError("write http://HOST:PORT or https://HOST; the key has a field of its own")
        return url.rstrip("/")

    @field_validator("api_key")
    @classmethod
    def _check_key(cls, key: SecretStr) -> SecretStr:
        if not key.get_secret_value().strip():
            raise ValueError("the key is empty")
        return key

    def login(self) -> PlatformLogin:
        """How the platform is reached; a run's identity is the same as with the key in the environment."""
        if not self.url:
            return PlatformLogin(CLOUD, REGION_HOSTS[self.region], self.api_key, self.workspace)
        cloud = _CLOUDS.get(self.url.partition("://")[2].lower())
        name, url = (CLOUD, cloud) if cloud else (self.url, self.url)
        return PlatformLogin(name, url, self.api_key, self.workspace)

    async def atrigger(self, source: str, workflow: str, **options: Any) -> PlatformRun:
        """The same for asynchronous flows."""
        return await _in_thread(lambda interrupted: self._trigger(interrupted, source, workflow, **options))

    @async_dispatch(atrigger)
    def trigger(  # type: ignore[override]
        self, source: str, workflow: str, **options: Any
    ) -> PlatformRun:
        """Stages the media, brings it to the platform, and starts the job, or finds the one that is there.

        The same call is the same run: what an earlier one did is not repeated, and a job that failed is restarted.

        Args:
            source: Folder, bucket, pattern or file of references that names the images.
            workflow: Id of a workflow that the platform knows, or the path of a definition file.
            options: Further fields of :class:`~tasks.core.request.RunRequest`, such as ``parameters``, ``job``,
                ``wait``, ``datasets``, ``destination``, ``runs`` or ``rerun``.

        Raises:
            BadInput: source, workflow, the block or an option cannot be used.
        """
        return self._trigger(Event(), source, workflow, **options)

    def _trigger(self, interrupted: Event, source: str, workflow: str, **options: Any) -> PlatformRun:
        settings = self._settings()
        request = _request({"runs": settings.runs} | options, source, workflow, self._called())
        tag_flow_run(source=source, workflow=workflow)
        with open_target(request, settings) as target:
            staged = stage(target, Silent(), Timing())
            assert not isinstance(staged, NothingNew), "incremental requests are refused"
            with hold(target, staged, self.logger.warning) as held, failing_at_home(held):
                run = interruptible(held, interrupted)
                bring_home(run)
                with _leaving_no_job(run):
                    if finished_as_asked(run) is None:
                        _launch(run, staged)
                    run.timing.sleep(0)  # who has gone meanwhile leaves no job behind
                bring_home(run)
        self.logger.info("job %s: %d images of %s", remote_id(staged.key), staged.to_send, redact(source))
        return PlatformRun(self, request, staged.key)

    def _called(self) -> str:
        """How commands name the platform."""
        return self.login().name if self._block_document_name is None else f"{BLOCK}{self._block_document_name}"

    def _settings(self) -> Settings:
        """The settings with what this block says about the platform."""
        settings, login = load_settings(), self.login()
        if self._block_document_name is not None:
            return settings.with_blocks(lambda _name: login)
        if login.workspace:
            with connect(login):  # which looks whose key it is
                pass
        return settings.model_copy(update={"api_key": login.key, "api_base_url": login.url})


def _load_run(block: str, request: RunRequest, key: str) -> PlatformRun:
    """A run that was kept, with its block as Prefect has it now."""
    platform = RoboflowPlatform.load(block, _sync=True)  # type: ignore[call-arg]  # the decorator's own argument
    return PlatformRun(cast(RoboflowPlatform, platform), request, key)


def _request(options: dict[str, Any], source: str, workflow: str, platform: str) -> RunRequest:
    for name in options:
        if name not in _OPTIONS | INSTEAD.keys():
            raise BadInput(f"there is no option {name}: use one of {', '.join(sorted(_OPTIONS))}")
    try:
        request = RunRequest.model_validate(options | {"source": source, "workflow": workflow, "platform": platform})
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        raise BadInput(f"option {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
    check_single(request)
    return request


def _launch(run: Run, staged: Staged) -> None:
    own_run(run)
    ingest(run, staged.to_send)
    launch(run)
    _note_absence(run)


def _note_absence(run: Run) -> None:
    """Tells reap-runs that the flow run is not lost when nobody holds the run, as between two calls."""
    if own := own_id():
        note_suspension(run, own, WAIT, run.target.request.wait.deadline_hours, run.timing.now())


def _finish(run: Run) -> RunSummary:
    if run.journal.confirmed(WAIT, "record") is None:
        raise BadInput(f"job {run.remote_id} has not been waited for: call wait_for_completion first")
    export(run, run.record_of(WAIT, Finished))
    started = datetime.fromisoformat(read_lock(run.folder)["started"])
    begun = run.timing.clock() - (run.timing.now() - started).total_seconds()
    return summarize(run, records_of(run), begun)


def _means() -> Means:
    """Without tasks of Prefect's, as a block is used outside of flows, too."""
    return Means(
        own_id(),
        open_flow_runs,
        lambda run: make_datasets(run, Silent()),
        lambda folder, place: publish(folder, place, Silent()),
    )


def _leaving_no_job(run: Run) -> AbstractContextManager[None]:
    return leaving_no_job(run, own_id(), INTERRUPTIONS)


async def _in_thread(work: Callable[[Event], T]) -> T:
    """``work`` in a thread, which is told by an event when whoever awaits it is interrupted, and waited for."""
    interrupted = Event()
    working = in_background(partial(copy_context().run, work, interrupted))
    answer = asyncio.wrap_future(working)
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to hear of it
    try:
        return await asyncio.shield(answer)  # else a cancellation ends the future, and not the work
    except INTERRUPTIONS:
        interrupted.set()
        # Not awaited: the event loop may be about to end, and its process with it.
        wait_until_done([working], timeout=_GRACE_SECONDS)
        raise
