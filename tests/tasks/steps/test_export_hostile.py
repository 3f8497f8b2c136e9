"""An export from a platform that means harm, is damaged, or gives out by and by."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.errors import NotFound
from tasks.core.records import Exported, Finished, StageOutput
from tasks.steps.context import Run
from tasks.steps.export import export
from tasks.steps.ingest import ingest
from tasks.transfer.download import TransferError
from tasks.transfer.refusals import MOST_TOLD
from tasks.transfer.unpack import UnpackLimits
from tests.images import make_images
from tests.tasks.steps.conftest import Bench
from tests.tasks.steps.outlet import BATCH, Outlet, Part, outlet, packed, special, taking_from

NAMES = ["image-00000.png", "image-00001.png", "image-00002.png"]
ESCAPED = f"/tmp/darkroom-escaped-{os.getpid()}"
FINISHED = Finished(
    job_id="job",
    tasks=1,
    export_batch=BATCH,
    outputs=(StageOutput(id="export", name="export", batch=BATCH),),
    failures=0,
    seconds=0,
    job_seconds=0,
)


def lines(*names: str) -> bytes:
    return b"".join(json.dumps({"image": name, "answer": 1}).encode() + b"\n" for name in names)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def source() -> Iterator[Outlet]:
    with outlet() as opened:
        opened.parts = [Part("results", [("all.jsonl", lines(*NAMES))])]
        yield opened


@pytest.fixture
def run(bench: Bench, source: Outlet, told: list[str]) -> Iterator[Run]:
    """A run of three images that takes its results from the outlet."""
    make_images(bench.source, len(NAMES))
    run = bench.staged()
    ingest(run, len(NAMES))
    with taking_from(run, source, told) as taking:
        yield taking


def files(run: Run) -> set[str]:
    return {str(path.relative_to(run.folder.export)) for path in run.folder.export.rglob("*") if path.is_file()}


def contained(run: Run) -> Exported:
    """The export, which must not touch anything outside its own places."""
    outside = run.folder.root.parent
    before = {path for path in outside.rglob("*") if run.folder.root not in path.parents}
    exported = export(run, FINISHED)
    assert not Path(ESCAPED).exists()
    assert {path for path in outside.rglob("*") if run.folder.root not in path.parents} == before
    assert {path.name for path in run.folder.root.iterdir() if not path.name.startswith(".")} == {
        *("run.json", "journal.jsonl", "manifest.parquet", "ingest.parquet", "export"),
        *("results.parquet", "predictions.parquet"),
    }
    return exported


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../escaped",
            pytest.param(ESCAPED, id="absolute"),
            "sub/file",
            "back\\slash",
            "C:drive",
            "nul\0",
            "..",
            ".",
            "",
            "n" * 300,
        ),
        *("all.jsonl", "./all.jsonl", "all.jsonl.part", "all.jsonl.part.json"),
    ],
)
def test_name_of_a_file_that_does_harm_is_left_out_and_told(
    run: Run, source: Outlet, told: list[str], name: str
) -> None:
    source.parts[0].files += [(name, lines("image-00000.png")), ("more.jsonl", b"")]
    exported = contained(run)
    assert (exported.rows, exported.files, exported.refused_files) == (3, 2, 1)
    assert files(run) == {"results/all.jsonl", "results/more.jsonl"}
    assert (run.folder.export / "results/all.jsonl").read_bytes() == lines(*NAMES)
    (line,) = told
    assert line.startswith("left out of the export: file of results: the name ")
    assert line.isprintable()


@pytest.mark.parametrize(
    "name",
    ["../escaped", pytest.param(ESCAPED, id="absolute"), "sub/part", "back\\slash", "nul\0", "..", "", "results"],
)
def test_name_of_a_part_that_does_harm_is_left_out_and_told(
    run: Run, source: Outlet, told: list[str], name: str
) -> None:
    source.parts.append(Part(name, [("x.jsonl", lines("image-00000.png"))]))
    exported = contained(run)
    assert (exported.rows, exported.refused_files, files(run)) == (3, 1, {"results/all.jsonl"})
    assert told[0].startswith("left out of the export: part: the name ")


def test_many_names_that_do_harm_are_not_told_one_by_one(run: Run, source: Outlet, told: list[str]) -> None:
    source.parts[0].files += [(f"../{number}", b"") for number in range(60)]
    assert contained(run).refused_files == 60
    assert (len(told), told[-1]) == (MOST_TOLD + 1, "left out of the export: 50 more")


def test_members_that_do_harm_are_left_out(run: Run, source: Outlet) -> None:
    archive = packed(
        *(("../escaped", b"x"), (ESCAPED, b"x"), ("a/../../escaped", b"x"), ("a\\b", b"x")),
        special("link", tarfile.SYMTYPE, "/etc"),
        special("hard", tarfile.LNKTYPE, "all.jsonl"),
        special("device", tarfile.CHRTYPE),
        special("pipe", tarfile.FIFOTYPE),
        ("link/passwd", b"x"),
        ("image-00000.png/copy.jpg", b"good"),
    )
    source.parts.append(Part("images", [("one.tar.gz", archive)], "archives", "images"))
    exported = contained(run)
    assert (exported.refused, exported.refused_files, exported.rows) == (8, 0, 3)
    assert files(run) == {"results/all.jsonl", "images/link/passwd", "images/image-00000.png/copy.jpg"}
    assert not any(path.is_symlink() for path in run.folder.export.rglob("*"))


def many_members() -> bytes:
    header = tarfile.TarInfo("x").tobuf()
    return header * (UnpackLimits().max_files + 1) + bytes(1024)


def too_large() -> bytes:
    limits = UnpackLimits()
    info = tarfile.TarInfo("x")
    info.size = limits.ratio_from_bytes + (1 << 20)
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        file.write(info.tobuf() + bytes(info.size))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "make", [many_members, too_large, lambda: b"no archive", lambda: packed(("a", b"x" * 999))[:90]]
)
def test_archive_beyond_all_limits_or_damaged_is_left_out_and_the_others_are_taken(
    bench: Bench, run: Run, source: Outlet, told: list[str], make
) -> None:
    good = packed(("image-00000.png/copy.jpg", b"good"))
    source.parts.append(Part("images", [("bad.tar.gz", make()), ("good.tar.gz", good)], "archives", "images"))
    exported = contained(run)
    assert (exported.rows, exported.refused_files) == (3, 1)
    assert "images/image-00000.png/copy.jpg" in files(run)
    assert not any(name.endswith((".tar.gz", ".part")) for name in files(run))
    (line,) = told
    assert line.startswith("left out of the export: archive of images: 'bad.tar.gz' ")
    forget_record(run)
    again = export(replace(run, journal=bench.opened(run.target, run.folder).journal), FINISHED)
    assert (again.refused_files, len(told), source.fetched["bad.tar.gz"]) == (1, 2, 1)


def forget_record(run: Run) -> None:
    entries = run.folder.journal.read_text().splitlines(keepends=True)
    run.folder.journal.write_text("".join(line for line in entries if '"step":"export","part":"record"' not in line))


def test_name_that_is_listed_twice_is_taken_once(run: Run, source: Outlet, told: list[str]) -> None:
    source.parts[0].files.append(("all.jsonl", lines("image-00002.png")))
    exported = contained(run)
    assert (exported.rows, exported.files, exported.refused_files) == (3, 1, 1)
    assert told == ["left out of the export: file of results: the name 'all.jsonl' is refused: listed twice"]


def test_file_whose_place_an_archive_has_taken_is_left_out(run: Run, source: Outlet, told: list[str]) -> None:
    (run.folder.export / "results" / "more.jsonl").mkdir(parents=True)
    (run.folder.export / "results" / "other.jsonl.part").mkdir()
    source.parts[0].files += [("more.jsonl", b""), ("other.jsonl", b"")]
    exported = contained(run)
    assert (exported.rows, exported.files, exported.refused_files, len(told)) == (3, 1, 2, 2)


def test_one_listing_serves_all_urls_that_are_refused(run: Run, source: Outlet) -> None:
    source.parts[0].files += [(f"{number:03d}.jsonl", b"") for number in range(99)]
    source.signature, source.stale = 7, True
    take = source.answer

    def fresh_after_the_first_listing(path: str) -> tuple[int, bytes, dict[str, str]]:
        if path.startswith("/blob"):
            source.stale = False
        return take(path)

    source.answer = fresh_after_the_first_listing  # type: ignore[method-assign]
    assert export(run, FINISHED).files == 100
    assert source.listed["results"] <= 2
    assert set(source.fetched.values()) == {1}


def test_content_that_does_not_match_its_checksum_is_told_after_retries(run: Run, source: Outlet) -> None:
    source.digests["all.jsonl"] = f"sha-256=:{'A' * 43}=:"
    with pytest.raises(TransferError, match=r"'all.jsonl' from 127.0.0.1: the checksum does not match"):
        export(run, FINISHED)
    assert (source.fetched["all.jsonl"], files(run)) == (3, set())


def test_what_came_before_an_error_is_kept(bench: Bench, run: Run, source: Outlet) -> None:
    names = [f"{number:03d}.jsonl" for number in range(160)]
    source.parts[0].files = [("all.jsonl", lines(*NAMES)), *((name, b"") for name in names)]
    source.missing = {names[4]}  # the sixth of a group of ten
    with pytest.raises(NotFound, match="no longer there"):
        export(run, FINISHED)
    first = set(source.fetched)
    assert {"all.jsonl", *names[:4]} <= first
    assert files(run) == {f"results/{name}" for name in first}
    source.missing = set()
    assert export(replace(run, journal=bench.opened(run.target, run.folder).journal), FINISHED).files == 161
    assert set(source.fetched.values()) == {1}


def test_files_are_flushed_before_the_journal_says_so(
    run: Run, source: Outlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.parts[0].files += [(f"{number:03d}.jsonl", b"x") for number in range(99)]
    flushed: set[str] = set()
    early: list[str] = []
    sync = os.fsync

    def watching(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        if path == run.folder.journal:
            entries = [json.loads(line) for line in path.read_text().splitlines()]
            kept = [entry["part"] for entry in entries if entry["step"] == "export" and "bytes" in entry]
            early.extend(part for part in kept if part.rpartition("@")[0] not in flushed)
        sync(handle)
        flushed.add(f"results/{path.name.removesuffix('.part')}")

    monkeypatch.setattr(os, "fsync", watching)
    export(run, FINISHED)
    assert early == []
    assert len(flushed) > 100
