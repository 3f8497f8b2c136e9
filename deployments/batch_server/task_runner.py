"""Takes one task through the engine: handed over, watched, packed and recorded."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

from deployments.batch_server.chunks import ChunkFolder
from deployments.batch_server.engine.interface import Chunk, ChunkResult, Engine, ImageSlice, WorkflowInvalid
from deployments.batch_server.job_reasons import reason_of
from deployments.batch_server.job_run import Dropped, JobRun, OverTime, over_failure_rate
from deployments.batch_server.settings import ServerSettings
from deployments.batch_server.store.execution import ExecutionStore
from deployments.batch_server.store.stages import TaskRecord


class How(Enum):
    """How an attempt at a task ended."""

    RECORDED = auto()
    FAILED = auto()
    """Another attempt may help."""
    HOPELESS = auto()
    """No attempt will."""
    OVER_TIME = auto()
    """The job's machine time is used up."""


@dataclass(frozen=True)
class TaskEnd:
    """The end of one attempt."""

    task_id: str
    how: How
    reason: str = ""
    seconds: float = 0.0
    """Machine time that is not on record."""


class TaskRunner:
    """Runs tasks; nothing of what it does blocks whoever asks for it.

    Args:
        settings: Where the folders are.
        store: Where ends are recorded.
        engine: What runs workflows.
        helpers: Threads for packing and recording.
        tell: Told of each attempt's end, from any thread.
    """

    def __init__(
        self,
        settings: ServerSettings,
        store: ExecutionStore,
        engine: Engine,
        helpers: ThreadPoolExecutor,
        tell: Callable[[JobRun, TaskEnd], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        self._helpers = helpers
        self._tell = tell

    def begin(self, run: JobRun, task_id: str) -> None:
        """Have a task worked on; one that an earlier server has completed is only recorded."""
        run.under_way[task_id] = None
        try:
            folder = self._folder(run, task_id)
            if folder.is_complete:
                self._helpers.submit(self._record, run, task_id, ChunkResult(task_id, 0, 0, 0.0))
            else:
                self._feed(run, task_id, folder)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must not wait for ever
            self._tell(run, TaskEnd(task_id, How.FAILED, reason_of(error)))

    def discard(self, run: JobRun, task_id: str) -> None:
        """Remove what a failed attempt left."""
        self._folder(run, task_id).discard()

    def _feed(self, run: JobRun, task_id: str, folder: ChunkFolder) -> None:
        images = self._store.slices(run.job.job_id, task_id)
        chunk = _chunk(run, task_id, images, folder)
        future = self._engine.submit(chunk, lambda done: _follow(run, task_id, done, len(images)))
        run.under_way[task_id] = future
        future.add_done_callback(lambda done: self._hand_over(run, task_id, len(images), done))

    def _hand_over(self, run: JobRun, task_id: str, images: int, future: Future[ChunkResult]) -> None:
        went_well = not future.cancelled() and future.exception() is None
        seconds = run.meter.end(task_id, future.result().seconds if went_well else None)
        # A server that stops leaves the task as it is; the helpers may be gone already.
        with suppress(RuntimeError):
            self._helpers.submit(self._complete, run, task_id, images, future, seconds)

    def _complete(self, run: JobRun, task_id: str, images: int, future: Future[ChunkResult], seconds: float) -> None:
        """In a helper thread: pack what the engine made, or say why there is nothing."""
        folder = self._folder(run, task_id)
        if run.dropped:
            folder.discard()
            return
        try:
            result = future.result()
            folder.complete(images)
        except OverTime:
            self._tell(run, TaskEnd(task_id, How.OVER_TIME))
        except WorkflowInvalid as error:
            self._tell(run, TaskEnd(task_id, How.HOPELESS, f"the workflow cannot be run: {error}"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must not wait for ever
            self._tell(run, TaskEnd(task_id, How.FAILED, reason_of(error), seconds))
        else:
            self._record(run, task_id, result)

    def _record(self, run: JobRun, task_id: str, result: ChunkResult) -> None:
        """In a helper thread: write a complete task into the database."""
        try:
            made = self._folder(run, task_id).record()
            record = TaskRecord(made.processed, made.failures, made.files, result.seconds, result.crashes)
            error = over_failure_rate(run.job, record)
            self._store.record_task(run.job.job_id, run.job.run, task_id, record, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must not wait for ever
            self._tell(run, TaskEnd(task_id, How.FAILED, reason_of(error), result.seconds))
        else:
            self._tell(run, TaskEnd(task_id, How.RECORDED))

    def _folder(self, run: JobRun, task_id: str) -> ChunkFolder:
        return ChunkFolder(self._settings.data, self._settings.jobs / run.job.job_id, task_id, run.job.run)


def _follow(run: JobRun, task_id: str, done: int, images: int) -> None:
    """Told by the engine of each image done; what this raises frees the worker.

    Raises:
        Dropped: The job's run is over.
        OverTime: Its machine time is used up before the task's last image.
    """
    if run.dropped:
        raise Dropped
    if not done:
        run.meter.begin(task_id)
    run.progress[task_id] = done / max(1, images)
    if done < images and run.meter.is_over:
        raise OverTime


def _chunk(run: JobRun, task_id: str, images: tuple[ImageSlice, ...], folder: ChunkFolder) -> Chunk:
    specification = run.job.body.processing_specification
    kept = specification.images_outputs_to_be_persisted
    return Chunk(
        chunk_id=f"{run.job.job_id}/{task_id}",
        images=images,
        definition=run.job.workflow,
        parameters=specification.workflow_parameters or {},
        image_input=run.job.image_input,
        keep_images=run.job.keeps_images,
        image_outputs=tuple(kept) if kept else None,
        output_dir=folder.fresh(),
    )
