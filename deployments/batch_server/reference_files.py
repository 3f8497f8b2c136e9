"""What is still to be fetched, in files that only their owner can read: signed URLs are secrets.

A shard's references lie in a file of their own until the shard is done. The database names the shards, never a URL.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deployments.batch_server.blobs import flush_folder, make_folder
from tasks.roboflow_api.models import Reference


class ReferenceFiles:
    """Keeps, gives and removes references."""

    def __init__(self, data: Path) -> None:
        self._root = data / "references"
        make_folder(self._root)
        self._root.chmod(0o700)

    def keep(self, shards: Mapping[str, Sequence[Reference]]) -> None:
        """Write the references of shards, flushed to disk."""
        for shard_id, references in shards.items():
            content = json.dumps([(reference.name, reference.url) for reference in references])
            self._write(self._shard(shard_id), content)
        flush_folder(self._root)

    def keep_list(self, shard_id: str, url: str) -> None:
        """Write where the list of references is that will begin with this shard, flushed to disk."""
        self._write(self._list(shard_id), url)
        flush_folder(self._root)

    def references(self, shard_id: str) -> list[Reference]:
        """The references of a shard; FileNotFoundError when they are gone."""
        pairs = json.loads(self._shard(shard_id).read_text())
        return [Reference.model_construct(name=name, url=url) for name, url in pairs]

    def list_url(self, shard_id: str) -> str:
        """Where the list is; FileNotFoundError when that is gone."""
        return self._list(shard_id).read_text()

    def remove(self, shard_ids: Iterable[str]) -> None:
        """Remove all there is of shards."""
        for shard_id in shard_ids:
            self._shard(shard_id).unlink(missing_ok=True)
            self.remove_list(shard_id)

    def remove_list(self, shard_id: str) -> None:
        """Remove where the list was."""
        self._list(shard_id).unlink(missing_ok=True)

    def sweep(self, waiting: Iterable[str], listing: Iterable[str]) -> None:
        """Remove what an earlier server left behind; to be called before the first request.

        Args:
            waiting: Shards that are still to be fetched.
            listing: First shards of the lists that are still to be read.
        """
        known = {self._shard(shard_id) for shard_id in waiting} | {self._list(shard_id) for shard_id in listing}
        for path in self._root.iterdir():
            if path not in known:
                path.unlink()

    def _shard(self, shard_id: str) -> Path:
        return self._root / f"{shard_id}.json"

    def _list(self, shard_id: str) -> Path:
        return self._root / f"{shard_id}.list"

    def _write(self, path: Path, content: str) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
