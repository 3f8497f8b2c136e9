"""Files that jobs made."""

from deployments.batch_server.database import Database, FileRow
from deployments.batch_server.refusals import NotFound


class OutputStore:
    """Finds output files for download."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def file(self, seq: int) -> FileRow:
        """An output file by its sequence number, or NotFound."""
        with self._database.read() as session:
            row = session.get(FileRow, seq)
            if row is None:
                raise NotFound("this file is not here any more: list the batch again")
            return row
