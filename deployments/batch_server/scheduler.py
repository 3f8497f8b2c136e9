"""Feeds the engine: which task of which job runs next, and what its end means for the job.

One thread decides; everything that happens (a job made, aborted or restarted, an indexed shard, a finished task)
reaches it as an event, so what it knows of running jobs needs no locks. Packing and recording happen in a few helper
threads. What has ended is in the database and in folders that bear their final name, so a killed server's successor
goes on from there. A run that is over is dropped: its workers are free after the image that each is on, and whatever
comes of it later finds that it belongs to no run under way.
"""

import logging
import queue
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Thread, Timer

from deployments.batch_server.engine.interface import Engine
from deployments.batch_server.exporting import ExportPlan, export_job
from deployments.batch_server.job_reasons import reason_of
from deployments.batch_server.job_run import Dropped, JobRun, Meter
from deployments.batch_server.settings import ServerSettings
from deployments.batch_server.store.execution import ExecutionStore
from deployments.batch_server.store.stages import AGGREGATED, EXPORT_TASK, IMAGES_ARCHIVES, RESULTS_ARCHIVES
from deployments.batch_server.task_runner import How, TaskEnd, TaskRunner

LOG = logging.getLogger(__name__)
HELPERS = 2
ATTEMPTS = 2
"""How often a task is tried before an engine failure counts."""
RETRY_SECONDS = 5.0
"""From a step of the scheduler that failed, of which the database took no record, to its next try."""


class Scheduler:
    """Runs jobs to their end, several at a time in fair turns.

    Args:
        settings: What the server is set up with.
        store: Where jobs lie.
        engine: What runs workflows.
        on_end: Called when a job has ended.
        timer: Seconds on a clock that never goes back.
    """

    def __init__(
        self,
        settings: ServerSettings,
        store: ExecutionStore,
        engine: Engine,
        on_end: Callable[[], None],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        self._on_end = on_end
        self._timer = timer
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._unplanned: dict[str, int] = {}
        """Jobs that wait for their batch, and the run that each is in."""
        self._runs: dict[str, JobRun] = {}
        self._helpers = ThreadPoolExecutor(HELPERS, thread_name_prefix="job-helper")
        self._tasks = TaskRunner(settings, store, engine, self._helpers, self._hear)
        self._thread = Thread(target=self._decide, name="scheduler", daemon=True)
        self._stopping = False

    def start(self) -> None:
        """Warm the engine up and go on with the jobs that an earlier server left."""
        self._engine.start()
        for job_id in self._store.unfinished():
            self.look(job_id)
        self._thread.start()

    def look(self, job_id: str) -> None:
        """Look at a job again: it was made, aborted or restarted."""
        self._events.put(lambda: self._look(job_id))

    def wake(self) -> None:
        """Look at batches again: a shard was indexed."""
        self._events.put(lambda: None)

    def progress(self, job_id: str, task_id: str) -> float | None:
        """The fraction done of a task that a worker has begun, from 0 to 1, or `None` while none has."""
        run = self._runs.get(job_id)
        return None if run is None else run.progress.get(task_id)

    def stop(self) -> None:
        """End within two seconds or so; tasks under way are run again by the next server."""
        self._stopping = True
        self._events.put(None)
        self._engine.stop()
        if self._thread.is_alive():
            self._thread.join()
        for run in self._runs.values():
            run.drop()
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

    # --- jobs that come and go

    def _look(self, job_id: str) -> None:
        under_way, known = self._store.run_under_way(job_id), self._runs.get(job_id)
        if known is not None and known.job.run != under_way:
            self._drop(known)
        if under_way is None:
            self._unplanned.pop(job_id, None)
            self._on_end()
        elif job_id not in self._runs:
            self._unplanned[job_id] = under_way

    def _drop(self, run: JobRun) -> None:
        run.drop()
        if self._runs.get(run.job.job_id) is run:
            del self._runs[run.job.job_id]

    def _plan_waiting(self) -> None:
        for job_id, number in list(self._unplanned.items()):
            try:
                settled = self._plan(job_id, number)
            except Exception as error:
                LOG.exception("planning job %s failed", job_id)
                self._store.fail(job_id, number, f"the job could not be planned: {reason_of(error)}")
                self._on_end()
                settled = True
            if settled:
                del self._unplanned[job_id]

    def _plan(self, job_id: str, number: int) -> bool:
        """Begin a job; gives whether it needs no further look."""
        if self._store.run_under_way(job_id) != number:
            return True
        job = self._store.load(job_id)
        if not job.planned:
            if not self._store.plan(job_id, self._settings.chunk_limit, self._engine.workers):
                return False
            job = self._store.load(job_id)
        if self._store.run_under_way(job_id) != number:
            self._on_end()
            return True
        run = JobRun(job, deque(job.waiting), Meter(job.limits.seconds, job.seconds, self._timer))
        self._runs[job_id] = run
        self._go_on(run)
        return True

    # --- processing

    def _submit_waiting(self) -> None:
        # One more than can run, so that no worker waits while a finished task is being recorded.
        while sum(len(run.under_way) for run in self._runs.values()) <= self._engine.workers:
            ready = [run for run in self._runs.values() if run.may_take_more]
            if not ready:
                return
            run = min(ready, key=lambda run: len(run.under_way))
            self._tasks.begin(run, run.waiting.popleft())

    def _hear(self, run: JobRun, end: TaskEnd) -> None:
        """From any thread: an attempt at a task has ended."""
        self._events.put(lambda: self._take_end(run, end))

    def _take_end(self, run: JobRun, end: TaskEnd) -> None:
        if run.dropped:
            return
        if end.how is How.OVER_TIME:
            self._fail(run, f"processingTimeoutSeconds ({run.meter.limit:g} s of machine time) is used up")
        elif end.how is How.HOPELESS:
            self._give_up(run, end)
        elif end.how is How.FAILED:
            self._try_again(run, end)
        else:
            self._settle(run, end.task_id)

    def _try_again(self, run: JobRun, end: TaskEnd) -> None:
        attempts = run.attempts.get(end.task_id, 0) + 1
        if attempts >= ATTEMPTS:
            self._give_up(run, end)
            return
        self._store.note_retry(run.job.job_id, run.job.run, end.task_id, end.reason, end.seconds)
        run.attempts[end.task_id] = attempts
        del run.under_way[end.task_id]
        run.progress.pop(end.task_id, None)
        run.waiting.append(end.task_id)

    def _give_up(self, run: JobRun, end: TaskEnd) -> None:
        self._tasks.discard(run, end.task_id)
        self._store.fail_task(run.job.job_id, run.job.run, end.task_id, end.reason)
        run.failure = run.failure or f"{end.task_id}: {end.reason}"
        run.waiting.clear()
        self._settle(run, end.task_id)

    def _settle(self, run: JobRun, task_id: str) -> None:
        run.under_way.pop(task_id, None)
        run.progress.pop(task_id, None)
        if run.meter.is_near and not run.warned and (run.waiting or run.under_way):
            message = (
                f"{run.meter.used:.0f} of {run.meter.limit:g} s of machine time (processingTimeoutSeconds) are used"
            )
            self._store.warn(run.job.job_id, run.job.run, "limit-near", message)
            run.warned = True
        self._go_on(run)

    def _go_on(self, run: JobRun) -> None:
        """End the job, or export it, once nothing of its processing is left."""
        if run.waiting or run.under_way or run.exporting:
            return
        failure = run.failure or self._store.failed_task(run.job.job_id)
        if failure is not None:
            self._fail(run, failure)
        else:
            run.exporting = True
            self._helpers.submit(self._export, run)

    # --- exporting and ending

    def _export(self, run: JobRun) -> None:
        """In a helper thread: write the export stage's files and end the job."""
        job_id, number = run.job.job_id, run.job.run
        parts = [AGGREGATED, RESULTS_ARCHIVES] + ([IMAGES_ARCHIVES] if run.job.keeps_images else [])

        def tell(done: float) -> None:
            if run.dropped:
                raise Dropped
            run.progress[EXPORT_TASK] = done

        try:
            tell(0.0)
            tasks = self._store.begin_export(job_id, number, parts)
            if tasks is None:
                return
            plan = ExportPlan(
                data=self._settings.data,
                job_folder=self._settings.jobs / job_id,
                tasks=tasks,
                csv=run.job.body.processing_specification.aggregation_format == "csv",
                lines_per_file=self._settings.lines_per_file,
            )
            self._store.finish(job_id, number, export_job(plan, tell))
        except Dropped:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must not wait for ever
            reason = f"the export failed: {reason_of(error)}"
            self._events.put(lambda: self._fail(run, reason))
        else:
            self.look(job_id)

    def _fail(self, run: JobRun, reason: str) -> None:
        self._store.fail(run.job.job_id, run.job.run, reason)
        self._drop(run)
        self._on_end()
