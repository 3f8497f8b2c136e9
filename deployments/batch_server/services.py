"""The parts of a running server, put together once."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from deployments.batch_server.background import Background
from deployments.batch_server.blobs import BlobFolder, make_folder
from deployments.batch_server.database import Database
from deployments.batch_server.delivery import PAUSES, Delivery
from deployments.batch_server.engine.interface import Engine
from deployments.batch_server.indexing import Indexer
from deployments.batch_server.ingesting import Ingester
from deployments.batch_server.reference_files import ReferenceFiles
from deployments.batch_server.registry import WorkflowRegistry
from deployments.batch_server.remote.connections import ConnectionPool
from deployments.batch_server.remote.fetching import Fetcher, FetchLimits
from deployments.batch_server.remote.guard import AddressGuard, Lookup, system_lookup
from deployments.batch_server.remote.hosts import AllowedHosts
from deployments.batch_server.scheduler import Scheduler
from deployments.batch_server.settings import ServerSettings
from deployments.batch_server.signing import UrlSigner
from deployments.batch_server.store.batches import BatchStore
from deployments.batch_server.store.execution import ExecutionStore
from deployments.batch_server.store.ingests import IngestStore
from deployments.batch_server.store.jobs import JobStore
from deployments.batch_server.store.outbox import OutboxStore
from deployments.batch_server.store.outputs import OutputStore
from deployments.batch_server.store.uploads import UploadStore
from deployments.batch_server.troubles import RETRIES


@dataclass(frozen=True)
class World:
    """What the server meets outside, to be replaced where a test has no time for it."""

    lookup: Lookup = system_lookup
    """Gives the addresses of a host name."""
    limits: FetchLimits = field(default_factory=FetchLimits)
    pauses: tuple[float, ...] = PAUSES
    """Seconds between the attempts to deliver a notification."""
    retries: tuple[float, ...] = RETRIES
    """Seconds between the tries of a step of an ingest that failed here."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Waits, in seconds, before a fetch is tried again."""
    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""
    timer: Callable[[], float] = time.monotonic
    """Seconds on a clock that never goes back, for the machine time of jobs."""


@dataclass(frozen=True)
class Services:
    """What the routes work with."""

    settings: ServerSettings
    database: Database
    blobs: BlobFolder
    signer: UrlSigner
    guard: AddressGuard
    batches: BatchStore
    uploads: UploadStore
    outputs: OutputStore
    jobs: JobStore
    registry: WorkflowRegistry
    indexer: Indexer
    ingester: Ingester
    background: Background
    scheduler: Scheduler

    def start(self) -> None:
        """Tidy up after an earlier server and go on with its work."""
        self.blobs.sweep(self.uploads.paths())
        self.ingester.recover()
        self.background.start()
        self.indexer.start()
        self.scheduler.start()

    def stop(self) -> None:
        """End the background work, leaving it resumable."""
        self.scheduler.stop()
        self.indexer.stop()
        self.background.stop()
        self.database.close()


def build_services(settings: ServerSettings, engine: Engine, world: World) -> Services:
    """Put a server's parts together over its data folder."""
    database = Database(f"sqlite:///{settings.data / 'server.sqlite3'}")
    blobs = BlobFolder(settings.data)
    make_folder(settings.jobs)
    batches = BatchStore(database, settings.batch_lifetime)
    uploads = UploadStore(database, batches, blobs)
    guard = AddressGuard(AllowedHosts.parse(settings.allow_hosts), world.lookup, world.limits.connect)
    pool = ConnectionPool(guard, world.limits.connect, world.limits.read)
    delivery = Delivery(OutboxStore(database, world.clock), pool, f"rf_{settings.workspace}", world.pauses)

    def deliver() -> None:
        background.call(delivery.wake)

    def tell() -> None:
        scheduler.wake()
        deliver()

    scheduler = Scheduler(settings, ExecutionStore(database, settings.data), engine, deliver, world.timer)
    ingester = Ingester(
        IngestStore(database, batches, world.clock),
        ReferenceFiles(settings.data),
        blobs,
        pool,
        Fetcher(pool, world.limits, world.sleep, world.clock),
        tell,
        world.limits.check,
        world.retries,
    )
    background = Background(ingester.run, delivery.run)
    return Services(
        settings=settings,
        database=database,
        blobs=blobs,
        signer=UrlSigner(settings.url_secret, settings.url_lifetime),
        guard=guard,
        batches=batches,
        uploads=uploads,
        outputs=OutputStore(database),
        jobs=JobStore(database, batches, settings.most_jobs),
        registry=WorkflowRegistry(settings.own_workflows),
        indexer=Indexer(uploads, blobs, tell),
        ingester=ingester,
        background=background,
        scheduler=scheduler,
    )
