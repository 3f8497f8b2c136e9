"""A finished job's output and a run that waits for it.

``python -m tests.benchmarks.make_output FOLDER FILES ARCHIVES`` makes them.

``FOLDER/server`` becomes the data folder of a batch server with a batch of two parts: single files of results, one line
each, and archives of image outputs. ``FOLDER/runs/<key>`` is a run as the step *wait* leaves it.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from deployments.batch_server.archives import STORED, ArchiveMember, sha256_of, write_archive
from deployments.batch_server.database import Database, FileRow, PartRow
from deployments.batch_server.store.batches import MULTIPART, BatchStore
from tasks.media.manifest import SCHEMA
from tasks.steps import ingest
from tests.benchmarks.collect import BATCH, KEY

RESULTS, ARCHIVES = "results", "images-archives"
MEMBERS, MEMBER_BYTES = 100, 6000
DAY = 24 * 3600.0
CLASSES = ("screw", "washer", "nut", "bolt")


def main(folder: Path, files: int, archives: int) -> None:
    data = folder / "server"
    made = data / "jobs" / "bench"
    made.mkdir(parents=True)
    database = Database(f"sqlite:///{data / 'server.sqlite3'}")
    with database.write() as session:
        BatchStore(database, DAY).create(session, BATCH, MULTIPART, BATCH, "metadata")
        for part, kind, nested in ((RESULTS, "metadata", None), (ARCHIVES, "archives", "images")):
            about = {"content_type": kind, "nested_content_type": nested, "description": part}
            session.add(PartRow(batch_id=BATCH, name=part, **about))
        for name, path in chain(_results(made, files), _images(made, archives)):
            row = FileRow(batch_id=BATCH, part=name, name=path.name, path=str(path.relative_to(data)))
            row.size, row.sha256 = path.stat().st_size, sha256_of(path)
            session.add(row)
    database.close()
    _run(folder / "runs" / KEY, files)


def _results(folder: Path, count: int) -> Iterator[tuple[str, Path]]:
    """Files of 400 bytes to 4 kB."""
    chance = random.Random(4)
    for number in range(count):
        found = [_detection(chance) for _ in range(chance.randint(1, 12))]
        size = {"width": 1920, "height": 1080}
        line = {"image": f"{number:05d}.jpg", "found": {"image": size, "predictions": found}}
        path = folder / f"results-{number:05d}.jsonl"
        path.write_text(json.dumps(line) + "\n")
        yield RESULTS, path


def _detection(chance: random.Random) -> dict[str, object]:
    name = chance.randrange(len(CLASSES))
    box = {side: chance.uniform(20, 900) for side in ("x", "y", "width", "height")}
    ids = {"class_id": name, "detection_id": f"{chance.getrandbits(128):032x}", "parent_id": "image"}
    return {**box, "confidence": chance.random(), "class": CLASSES[name], **ids}


def _images(folder: Path, count: int) -> Iterator[tuple[str, Path]]:
    chance = random.Random(5)
    for number in range(count):
        names = (f"{number * MEMBERS + place:05d}.jpg/annotated.jpg" for place in range(MEMBERS))
        path = folder / f"chunk-{number:05d}.tar.gz"
        write_archive(path, (ArchiveMember(name, chance.randbytes(MEMBER_BYTES), 0.0) for name in names), STORED)
        yield ARCHIVES, path


def _run(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    names = [f"{number:05d}.jpg" for number in range(count)]
    rows = [{"key": name, "name": name, "size": 1, "state": "staged"} for name in names]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / "manifest.parquet")
    sent = [{"name": name, "key": name, "part": "shard-000000", "state": "ingested"} for name in names]
    pq.write_table(pa.Table.from_pylist(sent, ingest.SCHEMA), folder / "ingest.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
