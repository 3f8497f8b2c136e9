"""Feeds the engine: which task of which job runs next, and what its end means for the job.

One thread decides; everything that happens (a new job, an indexed shard, a finished task) reaches it as an event, so
what it knows of running jobs needs no locks. Packing and recording happen in a few helper threads. What has ended is
in the database and in folders that bear their final name, so a killed server's successor goes on from there.
"""

import logging
import queue
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread, Timer

from sqlalchemy.exc import DBAPIError

from deployments.batch_server.blobs import NO_SPACE
from deployments.batch_server.chunks import ChunkFolder
from deployments.batch_server.engine.interface import (
    Chunk,
    ChunkResult,
    Engine,
    EngineFailure,
    WorkflowInvalid,
)
from deployments.batch_server.exporting import ExportPlan, export_job
from deployments.batch_server.settings import ServerSettings
from deployments.batch_server.store.execution import (
    AGGREGATED,
    EXPORT_TASK,
    IMAGES_ARCHIVES,
    RESULTS_ARCHIVES,
    ExecutionStore,
    RunningJob,
    TaskRecord,
)

LOG = logging.getLogger(__name__)
HELPERS = 2
ATTEMPTS = 2
"""How often a task is tried before an engine failure counts."""
RETRY_SECONDS = 5.0
"""From a step of the scheduler that failed, of which the database took no record, to its next try."""


class _Stopped(Exception):
    """The server stops; its successor exports the job."""


@dataclass
class _Run:
    job: RunningJob
    waiting: deque[str]
    under_way: set[str] = field(default_factory=set)
    attempts: dict[str, int] = field(default_factory=dict)
    failure: str | None = None
    exporting: bool = False

    @property
    def may_take_more(self) -> bool:
        limit = self.job.body.max_parallel_tasks
        return bool(self.waiting) and (limit is None or len(self.under_way) < limit)


class Scheduler:
    """Runs jobs to their end, several at a time in fair turns."""

    def __init__(self, settings: ServerSettings, store: ExecutionStore, engine: Engine) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._unplanned: list[str] = []
        self._runs: dict[str, _Run] = {}
        self._progress: dict[tuple[str, str], float] = {}
        self._helpers = ThreadPoolExecutor(HELPERS, thread_name_prefix="job-helper")
        self._thread = Thread(target=self._decide, name="scheduler", daemon=True)
        self._stopping = False

    def start(self) -> None:
        """Warm the engine up and go on with the jobs that an earlier server left."""
        self._engine.start()
        for job_id in self._store.unfinished():
            self.add(job_id)
        self._thread.start()

    def add(self, job_id: str) -> None:
        """Run a job."""
        self._events.put(lambda: self._take(job_id))

    def wake(self) -> None:
        """Look again: a shard was indexed, or a job aborted."""
        self._events.put(lambda: None)

    def progress(self, job_id: str, task_id: str) -> float | None:
        """The fraction done of a task under way, from 0 to 1, or `None` while it is not."""
        return self._progress.get((job_id, task_id))

    def stop(self) -> None:
        """End within two seconds or so; tasks under way are run again by the next server."""
        self._stopping = True
        self._events.put(None)
        self._engine.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._helpers.shutdown(wait=True, cancel_futures=True)

    def _decide(self) -> None:
        while (event := self._events.get()) is not None and not self._stopping:
            for step in (event, self._plan_waiting, self._submit_waiting):
                self._attempt(step)

    def _attempt(self, step: Callable[[], None]) -> None:
        """Take a step; one that fails, as where a full disk takes no record, is taken again: its job must not hang."""
        try:
            step()
        except Exception:
            LOG.exception("the scheduler met an unexpected error and tries again in %g s", RETRY_SECONDS)
            again = Timer(RETRY_SECONDS, self._events.put, (step,))
            again.daemon = True
            again.start()

    # --- taking jobs

    def _take(self, job_id: str) -> None:
        if job_id not in self._runs and job_id not in self._unplanned and not self._store.is_over(job_id):
            self._unplanned.append(job_id)

    def _plan_waiting(self) -> None:
        for job_id in list(self._unplanned):
            try:
                settled = self._plan(job_id)
            except Exception as error:
                LOG.exception("planning job %s failed", job_id)
                self._store.fail(job_id, f"the job could not be planned: {reason_of(error)}")
                settled = True
            if settled:
                self._unplanned.remove(job_id)

    def _plan(self, job_id: str) -> bool:
        """Begin a job; gives whether it needs no further look."""
        if self._store.is_over(job_id):
            return True
        job = self._store.load(job_id)
        if not job.planned:
            if not self._store.plan(job_id, self._settings.chunk_limit, self._engine.workers):
                return False
            job = self._store.load(job_id)
        if not self._store.is_over(job_id):
            self._runs[job_id] = run = _Run(job, deque(job.waiting))
            self._go_on(run)
        return True

    # --- processing

    def _submit_waiting(self) -> None:
        # One more than can run, so that no worker waits while a finished task is being recorded.
        while sum(len(run.under_way) for run in self._runs.values()) <= self._engine.workers:
            ready = [run for run in self._runs.values() if run.may_take_more]
            if not ready:
                return
            self._submit(min(ready, key=lambda run: len(run.under_way)))

    def _submit(self, run: _Run) -> None:
        if self._store.is_over(run.job.job_id):
            self._forget(run)
            return
        task_id = run.waiting.popleft()
        run.under_way.add(task_id)
        try:
            if self._folder(run, task_id).is_complete:
                self._helpers.submit(self._record, run, task_id, 0.0)
            else:
                self._feed(run, task_id)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must not wait for ever
            reason = reason_of(error)
            self._events.put(lambda: self._try_again(run, task_id, reason))

    def _feed(self, run: _Run, task_id: str) -> None:
        images = self._store.slices(run.job.job_id, task_id)
        key = (run.job.job_id, task_id)
        self._progress[key] = 0.0

        def tell(done: int) -> None:
            if key in self._progress:
                self._progress[key] = min(1.0, done / len(images))

        specification = run.job.body.processing_specification
        kept = specification.images_outputs_to_be_persisted
        chunk = Chunk(
            chunk_id=f"{run.job.job_id}/{task_id}",
            images=images,
            definition=run.job.workflow,
            parameters=specification.workflow_parameters or {},
            image_input=run.job.image_input,
            keep_images=run.job.keeps_images,
            image_outputs=tuple(kept) if kept else None,
            output_dir=self._folder(run, task_id).fresh(),
        )
        future = self._engine.submit(chunk, tell)
        future.add_done_callback(lambda done: self._hand_over(run, task_id, len(images), done))

    def _hand_over(self, run: _Run, task_id: str, images: int, future: Future[ChunkResult]) -> None:
        # A server that stops leaves the task as it is; the helpers may be gone already.
        with suppress(RuntimeError):
            self._helpers.submit(self._complete, run, task_id, images, future)

    def _complete(self, run: _Run, task_id: str, images: int, future: Future[ChunkResult]) -> None:
        """In a helper thread: pack what the engine made, or say why there is nothing."""
        if self._stopping:
            return
        try:
            result = future.result()
            self._folder(run, task_id).complete(images)
        except WorkflowInvalid as error:
            reason = f"the workflow cannot be run: {error}"
            self._events.put(lambda: self._give_up(run, task_id, reason))
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must not wait for ever
            reason = reason_of(error)
            self._events.put(lambda: self._try_again(run, task_id, reason))
        else:
            self._record(run, task_id, result.seconds)

    def _record(self, run: _Run, task_id: str, seconds: float) -> None:
        """In a helper thread: write a complete task into the database."""
        try:
            record = self._folder(run, task_id).record(seconds)
            self._store.record_task(run.job.job_id, task_id, record, _over_limit(run.job, record))
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must not wait for ever
            reason = reason_of(error)
            self._events.put(lambda: self._try_again(run, task_id, reason))
        else:
            self._events.put(lambda: self._settle(run, task_id))

    def _try_again(self, run: _Run, task_id: str, reason: str) -> None:
        run.attempts[task_id] = run.attempts.get(task_id, 0) + 1
        if run.attempts[task_id] >= ATTEMPTS:
            self._give_up(run, task_id, reason)
            return
        run.under_way.discard(task_id)
        run.waiting.append(task_id)

    def _give_up(self, run: _Run, task_id: str, reason: str) -> None:
        self._folder(run, task_id).discard()
        self._store.fail_task(run.job.job_id, task_id, reason)
        run.failure = run.failure or f"{task_id}: {reason}"
        run.waiting.clear()
        self._settle(run, task_id)

    def _settle(self, run: _Run, task_id: str) -> None:
        run.under_way.discard(task_id)
        self._progress.pop((run.job.job_id, task_id), None)
        limit = run.job.body.processing_timeout_seconds
        if limit is not None and run.waiting and self._store.seconds_used(run.job.job_id) > limit:
            run.failure = f"processingTimeoutSeconds ({limit} s of machine time) is used up"
            run.waiting.clear()
        self._go_on(run)

    def _go_on(self, run: _Run) -> None:
        """End the job, or export it, once nothing of its processing is left."""
        if run.waiting or run.under_way or run.exporting:
            return
        failure = run.failure or self._store.failed_task(run.job.job_id)
        if failure is not None:
            self._fail(run, failure)
        elif self._store.is_over(run.job.job_id):
            self._forget(run)
        else:
            run.exporting = True
            self._helpers.submit(self._export, run)

    # --- exporting

    def _export(self, run: _Run) -> None:
        """In a helper thread: write the export stage's files and end the job."""
        job_id = run.job.job_id
        key = (job_id, EXPORT_TASK)
        parts = [AGGREGATED, RESULTS_ARCHIVES] + ([IMAGES_ARCHIVES] if run.job.keeps_images else [])

        def tell(done: float) -> None:
            if self._stopping:
                raise _Stopped
            self._progress[key] = done

        try:
            tell(0.0)
            tasks = self._store.begin_export(job_id, parts)
            plan = ExportPlan(
                data=self._settings.data,
                job_folder=self._settings.jobs / job_id,
                tasks=tuple(tasks),
                csv=run.job.body.processing_specification.aggregation_format == "csv",
                lines_per_file=self._settings.lines_per_file,
            )
            files = export_job(plan, tell)
            self._store.finish(job_id, files)
        except _Stopped:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must not wait for ever
            reason = f"the export failed: {reason_of(error)}"
            self._events.put(lambda: self._fail(run, reason))
        else:
            self._events.put(lambda: self._forget(run))

    def _fail(self, run: _Run, reason: str) -> None:
        self._store.fail(run.job.job_id, reason)
        self._forget(run)

    def _forget(self, run: _Run) -> None:
        self._runs.pop(run.job.job_id, None)
        self._progress.pop((run.job.job_id, EXPORT_TASK), None)

    def _folder(self, run: _Run, task_id: str) -> ChunkFolder:
        return ChunkFolder(self._settings.data, self._settings.jobs / run.job.job_id, task_id)


def reason_of(error: Exception) -> str:
    """An error as one line for the job's owner; what nobody foresaw goes into the server's log in full."""
    if isinstance(error, EngineFailure):
        return str(error)
    if _is_full_disk(error):
        return "the server's disk is full: free some space in its data folder and start another job"
    if isinstance(error, OSError) and error.strerror is not None:
        return f"the server cannot use its data folder: {error.strerror}"
    LOG.error("unexpected error in a job", exc_info=error)
    if isinstance(error, DBAPIError):  # its own text goes over many lines and shows the values of the statement
        return f"the server's database does not answer: {error.orig}"
    return f"unexpected error, see the server's log: {type(error).__name__}: {error}"


def _is_full_disk(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        return "disk is full" in str(error.orig)
    return isinstance(error, OSError) and error.errno in NO_SPACE


def _over_limit(job: RunningJob, record: TaskRecord) -> str | None:
    """Why a task counts as failed although it ran, or `None`.

    Without a limit in the request there is none here: the vendor's default of ten images a task would
    stop a run on one's own machine for a handful of bad files.
    """
    limit = job.body.max_image_failure_rate
    failed = len(record.failures)
    share = failed / max(1, failed + record.processed)
    if limit is None or share <= limit:
        return None
    return f"{failed} of {failed + record.processed} images failed, over maxImageFailureRate {limit:g}"
