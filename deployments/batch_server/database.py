"""The tables of the batch server and how they are opened.

Times are seconds since the epoch (UTC); paths are relative to the data folder, so that it can be moved. A row that a
client was told about is on disk: SQLite runs in WAL mode with a flush at every commit.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Lock
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Select,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    inspect,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "busy_timeout=30000",
    "foreign_keys=ON",
    # Where notifications go may hold a token: what is deleted is overwritten.
    "secure_delete=ON",
)
SCHEMA = 2
"""Counts the changes to the tables below; a database of another number is not opened."""


class SchemaUnknown(Exception):
    """The database was made by another version of the server."""


class Base(DeclarativeBase):
    """Base of all tables."""


class SchemaRow(Base):
    """Which tables these are; one row."""

    __tablename__ = "schema"
    number: Mapped[int] = mapped_column(primary_key=True)


class BatchRow(Base):
    """A batch of staged or produced files."""

    __tablename__ = "batches"
    seq: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(unique=True)
    display_name: Mapped[str]
    batch_type: Mapped[str]
    content_type: Mapped[str]
    created_at: Mapped[float]
    expires_at: Mapped[float]


class ShardRow(Base):
    """Images that came together; `state` goes allocated → indexing, or fetching, → ingested or failed."""

    __tablename__ = "shards"
    seq: Mapped[int] = mapped_column(primary_key=True)
    shard_id: Mapped[str] = mapped_column(unique=True)
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.batch_id"), index=True)
    state: Mapped[str] = mapped_column(index=True)
    path: Mapped[str | None]
    sha256: Mapped[str | None]
    uploaded_at: Mapped[float | None]
    event_at: Mapped[float]
    images: Mapped[int] = mapped_column(default=0)
    outcome: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class ImageRow(Base):
    """One ingested image: a slice of a shard's file, or a file of its own."""

    __tablename__ = "images"
    # Numbers are never given again: a signed URL must not lead to another image once its own was replaced.
    __table_args__ = (
        UniqueConstraint("batch_id", "name"),
        Index("images_in_order", "batch_id", "seq"),
        {"sqlite_autoincrement": True},
    )
    seq: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.batch_id"))
    shard_id: Mapped[str | None] = mapped_column(ForeignKey("shards.shard_id"), index=True)
    name: Mapped[str]
    path: Mapped[str]
    offset: Mapped[int]
    size: Mapped[int]
    sha256: Mapped[str | None]


class IngestRow(Base):
    """Files that the server fetches by itself; `state` goes listing → checking → fetching → ended.

    URLs of files are not here: they lie in files of their own, which are removed once they are fetched.
    """

    __tablename__ = "ingests"
    __table_args__ = (UniqueConstraint("batch_id", "ingest_id"),)
    seq: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.batch_id"))
    ingest_id: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)
    notifications_url: Mapped[str | None]
    categories: Mapped[list[str]] = mapped_column(JSON)
    ingested: Mapped[int] = mapped_column(default=0)
    last_failure: Mapped[str | None]
    error: Mapped[dict[str, str] | None] = mapped_column(JSON)
    created_at: Mapped[float]


class IngestShardRow(Base):
    """Which ingest a shard belongs to."""

    __tablename__ = "ingest_shards"
    shard_id: Mapped[str] = mapped_column(ForeignKey("shards.shard_id"), primary_key=True)
    ingest_seq: Mapped[int] = mapped_column(ForeignKey("ingests.seq"), index=True)


class NotificationRow(Base):
    """An event that waits to be delivered."""

    __tablename__ = "notifications"
    seq: Mapped[int] = mapped_column(primary_key=True)
    url: Mapped[str]
    event: Mapped[dict[str, Any]] = mapped_column(JSON)
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[float] = mapped_column(index=True)


class PartRow(Base):
    """A part of a multipart batch."""

    __tablename__ = "parts"
    __table_args__ = (UniqueConstraint("batch_id", "name"),)
    seq: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.batch_id"))
    name: Mapped[str]
    content_type: Mapped[str]
    nested_content_type: Mapped[str | None]
    description: Mapped[str]


class FileRow(Base):
    """A file in a part of a multipart batch."""

    __tablename__ = "files"
    __table_args__ = (UniqueConstraint("batch_id", "part", "name"),)
    seq: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.batch_id"))
    part: Mapped[str]
    name: Mapped[str]
    task_id: Mapped[str | None]
    """The processing task that made it."""
    path: Mapped[str]
    size: Mapped[int]
    sha256: Mapped[str]


class JobRow(Base):
    """A job; `outcome` is empty while it runs, then success, error or aborted."""

    __tablename__ = "jobs"
    seq: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("batches.batch_id"), index=True)
    """What it reads; the compilation of a model reads no batch, and has no workflow either."""
    definition: Mapped[dict[str, Any]] = mapped_column(JSON)
    """As it was asked for; `overrides` is what restarts have changed since, oldest first."""
    overrides: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    workflow: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    image_input: Mapped[str | None]
    run: Mapped[int] = mapped_column(default=0)
    """How often it was restarted; what a run before the present one still has under way counts for nothing."""
    seconds: Mapped[float] = mapped_column(default=0.0)
    """Machine time of the present run."""
    planned_at: Mapped[float | None]
    last_image: Mapped[int | None]
    """The last image that it was planned with; `images_digest` tells whether they are still the same."""
    images_digest: Mapped[str | None]
    current_stage: Mapped[str | None]
    outcome: Mapped[str | None] = mapped_column(index=True)
    notification: Mapped[str]
    created_at: Mapped[float]
    updated_at: Mapped[float]


class StageRow(Base):
    """A stage of a job; `state` is info, success or error, as on the wire."""

    __tablename__ = "stages"
    __table_args__ = (UniqueConstraint("job_id", "stage_id"),)
    seq: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.job_id"))
    stage_id: Mapped[str]
    tasks: Mapped[int]
    state: Mapped[str]
    notification: Mapped[str]
    started_at: Mapped[float]
    event_at: Mapped[float]


class TaskRow(Base):
    """A task of a stage; what of it is under way is kept in memory, only its end is written."""

    __tablename__ = "tasks"
    __table_args__ = (UniqueConstraint("job_id", "stage_id", "task_id"),)
    seq: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.job_id"))
    stage_id: Mapped[str]
    task_id: Mapped[str]
    images: Mapped[list[int]] = mapped_column(JSON)
    state: Mapped[str]
    notification: Mapped[str]
    processed: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    run: Mapped[int] = mapped_column(default=0)
    """In which run of the job it is, or was, worked on."""
    event_at: Mapped[float]


class LogRow(Base):
    """One line of a job's log."""

    __tablename__ = "logs"
    __table_args__ = (Index("logs_in_order", "job_id", "seq"),)
    seq: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.job_id"))
    stage_id: Mapped[str | None]
    task_id: Mapped[str | None]
    severity: Mapped[str]
    module: Mapped[str]
    log_type: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[float]


class Database:
    """Sessions over one database; one writer at a time.

    Raises:
        SchemaUnknown: Another version of the server made it.
    """

    def __init__(self, url: str) -> None:
        # Values may be secrets, and error messages end in logs.
        self._engine = create_engine(url, pool_size=8, max_overflow=56, hide_parameters=True)
        self._writing = Lock()
        if self._engine.dialect.name == "sqlite":
            _prepare_sqlite(self._engine)
        with self._engine.execution_options(writes=True).begin() as connection:
            _make_tables(connection)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state and changes nothing."""
        with Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: committed, and on disk, when the block ends; rolled back when it raises."""
        engine = self._engine.execution_options(writes=True)
        with self._writing, Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def lookup(self, statement: Select[Any]) -> Callable[..., tuple[Any, ...] | None]:
        """A query to be asked very often: it goes to the driver as it is, a twelfth of a session's time.

        Args:
            statement: With named parameters; it finds one row at most.

        Returns:
            A function that takes the parameters and gives the row's columns, or `None`.
        """
        compiled = statement.compile(self._engine)
        names = compiled.positiontup if compiled.positional else None

        def look(**values: Any) -> tuple[Any, ...] | None:
            asked = compiled.construct_params(values)
            with closing(self._engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
                cursor.execute(str(compiled), asked if names is None else [asked[name] for name in names])
                row: tuple[Any, ...] | None = cursor.fetchone()
                return row

        return look

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _make_tables(connection: Connection) -> None:
    """Make the tables of a new database; those of an old one must be the same."""
    found = inspect(connection)
    if not found.get_table_names():
        Base.metadata.create_all(connection)
        connection.execute(insert(SchemaRow).values(number=SCHEMA))
    elif not found.has_table(SchemaRow.__tablename__) or connection.scalar(select(SchemaRow.number)) != SCHEMA:
        raise SchemaUnknown("it was made by another version of this server")


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        # The driver's own transaction handling begins too late to give a consistent view.
        connection.isolation_level = None
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes its lock at once: upgrading a read lock may fail without waiting.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
