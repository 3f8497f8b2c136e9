"""The parts of a running server, put together once."""

from dataclasses import dataclass

from deployments.batch_server.blobs import BlobFolder, make_folder
from deployments.batch_server.database import Database
from deployments.batch_server.engine.interface import Engine
from deployments.batch_server.indexing import Indexer
from deployments.batch_server.registry import WorkflowRegistry
from deployments.batch_server.scheduler import Scheduler
from deployments.batch_server.settings import ServerSettings
from deployments.batch_server.signing import UrlSigner
from deployments.batch_server.store.batches import BatchStore
from deployments.batch_server.store.execution import ExecutionStore
from deployments.batch_server.store.jobs import JobStore
from deployments.batch_server.store.outputs import OutputStore
from deployments.batch_server.store.uploads import UploadStore


@dataclass(frozen=True)
class Services:
    """What the routes work with."""

    settings: ServerSettings
    database: Database
    blobs: BlobFolder
    signer: UrlSigner
    batches: BatchStore
    uploads: UploadStore
    outputs: OutputStore
    jobs: JobStore
    registry: WorkflowRegistry
    indexer: Indexer
    scheduler: Scheduler

    def start(self) -> None:
        """Tidy up after an earlier server and go on with its work."""
        self.blobs.sweep(self.uploads.paths())
        self.indexer.start()
        self.scheduler.start()

    def stop(self) -> None:
        """End the background work, leaving it resumable."""
        self.scheduler.stop()
        self.indexer.stop()
        self.database.close()


def build_services(settings: ServerSettings, engine: Engine) -> Services:
    """Put a server's parts together over its data folder."""
    database = Database(f"sqlite:///{settings.data / 'server.sqlite3'}")
    blobs = BlobFolder(settings.data)
    make_folder(settings.jobs)
    batches = BatchStore(database, settings.batch_lifetime)
    uploads = UploadStore(database, batches, blobs)
    scheduler = Scheduler(settings, ExecutionStore(database, settings.data), engine)
    return Services(
        settings=settings,
        database=database,
        blobs=blobs,
        signer=UrlSigner(settings.url_secret, settings.url_lifetime),
        batches=batches,
        uploads=uploads,
        outputs=OutputStore(database),
        jobs=JobStore(database, batches),
        registry=WorkflowRegistry(settings.own_workflows),
        indexer=Indexer(uploads, blobs, scheduler.wake),
        scheduler=scheduler,
    )
