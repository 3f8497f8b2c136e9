"""Signed URLs of a batch's files that are asked for anew when they are refused."""

from __future__ import annotations

import threading

from tasks.core.errors import ServiceBusy
from tasks.roboflow_api.models import FileMetadata
from tasks.roboflow_api.staging import StagingApi


class FreshUrls:
    """The newest URL of each file; when some are refused, one listing serves all. For several threads.

    Args:
        staging: lists the batch.
        batch: the batch.
    """

    def __init__(self, staging: StagingApi, batch: str) -> None:
        self._staging = staging
        self._batch = batch
        self._lock = threading.Lock()
        self._renewed: dict[str, dict[str, str]] = {}

    def of(self, part: str, file: FileMetadata) -> str:
        """Where a file of a part is to be had."""
        return self._renewed.get(part, {}).get(file.file_name, file.download_url)

    def renew(self, part: str, file: FileMetadata, refused: str) -> None:
        """Lists the part again, unless that was done since ``refused`` was given out.

        Raises:
            ServiceBusy: the file is not listed any more.
        """
        with self._lock:
            if self.of(part, file) != refused:
                return
            urls: dict[str, str] = {}
            for listed in self._staging.files(self._batch, part):
                urls.setdefault(listed.file_name, listed.download_url)
            self._renewed[part] = urls
            if file.file_name not in urls:
                raise ServiceBusy(f"{part}/{file.file_name} of batch {self._batch} is not listed any more")
