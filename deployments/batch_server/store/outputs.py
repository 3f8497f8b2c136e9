"""Files that jobs made."""

from dataclasses import dataclass

from sqlalchemy import bindparam, select

from deployments.batch_server.database import Database, FileRow
from deployments.batch_server.refusals import NotFound

_FILES = FileRow.__table__.c
_BY_SEQ = select(_FILES.path, _FILES.size, _FILES.sha256).where(_FILES.seq == bindparam("seq"))


@dataclass(frozen=True)
class StoredFile:
    """Where an output file lies and what it is."""

    path: str
    """Relative to the data folder."""
    size: int
    sha256: str


class OutputStore:
    """Finds output files for download."""

    def __init__(self, database: Database) -> None:
        self._row = database.lookup(_BY_SEQ)

    def file(self, seq: int) -> StoredFile:
        """An output file by its sequence number, or NotFound."""
        row = self._row(seq=seq)
        if row is None:
            raise NotFound("this file is not here any more: list the batch again")
        return StoredFile(*row)
