"""Staging by itself: list a source, check it, and write what was found; nothing is sent."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tasks.core.errors import BadInput
from tasks.core.files import appearing
from tasks.core.progress import Progress
from tasks.core.records import Surveyed
from tasks.media.manifest import ManifestRow, read_manifest, write_manifest
from tasks.roboflow_api.models import MAX_REFERENCES
from tasks.roboflow_api.retrying import Timing
from tasks.sources.base import ReferenceSource, Source
from tasks.sources.roboql import RoboqlSource

DIGITS = 16
SECONDS_PER_HOUR = 3600


class Signing(NamedTuple):
    """Where signed references go, and for how long they are valid.

    Attributes:
        file: the JSON-lines file; whoever has it can read the media.
        hours: validity of the URLs.
    """

    file: Path
    hours: float


def survey(
    source: Source, folder: Path, signing: Signing | None, progress: Progress, timing: Timing | None = None
) -> Surveyed:
    """Lists and checks ``source`` and writes its manifest, and signed references where they are wanted.

    Args:
        source: where the media lies.
        folder: where the manifest is put, named by its digest.
        signing: what to sign, or ``None``.
        progress: told of every file.
        timing: the clock.

    Raises:
        BadInput: there are no images, or the source's files cannot be referred to.
    """
    timing = timing or Timing()
    begun = timing.clock()
    if signing is not None and not isinstance(source, ReferenceSource):
        raise BadInput(f"nobody but this machine can read {source.url}: leave out --references")
    if signing is not None and not signing.file.parent.is_dir():
        raise BadInput(f"there is no folder {signing.file.parent} for the references: name another file")
    if isinstance(source, RoboqlSource):
        raise BadInput(f"{source.url}: the platform's own library cannot be listed from here; run it instead")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".survey-", dir=folder) as name:
        written = Path(name) / "manifest.parquet"
        facts = write_manifest(source, written, progress)
        manifest = written.replace(folder / f"{facts.digest[:DIGITS]}.parquet")
    if signing is not None:
        assert isinstance(source, ReferenceSource)
        _write_references(source, manifest, signing)
    rejected = Counter(row.reason or "rejected" for row in read_manifest(manifest, "rejected"))
    return Surveyed(
        source=source.url,
        manifest=manifest,
        files=facts.files,
        rejected=facts.rejected,
        ignored=facts.ignored,
        bytes=facts.bytes,
        reasons=dict(rejected.most_common()),
        references=facts.files - facts.rejected if signing else 0,
        seconds=timing.clock() - begun,
    )


def _write_references(source: ReferenceSource, manifest: Path, signing: Signing) -> None:
    """A line a staged file; the file is for its owner's eyes from its first byte on."""
    rows = read_manifest(manifest, "staged")
    with appearing(signing.file) as partial:
        partial.unlink(missing_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                while chunk := tuple(islice(rows, MAX_REFERENCES)):
                    file.writelines(_lines(source, chunk, signing.hours))
        except BaseException:
            partial.unlink()  # half a file of secrets is of use to nobody
            raise


def _lines(source: ReferenceSource, rows: tuple[ManifestRow, ...], hours: float) -> Iterator[str]:
    urls = source.presign((row.item() for row in rows), round(hours * SECONDS_PER_HOUR))
    for row, url in zip(rows, urls, strict=True):
        yield json.dumps({"name": row.name, "url": url}, ensure_ascii=False) + "\n"
