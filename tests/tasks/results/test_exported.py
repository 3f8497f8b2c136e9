import io
import json
import tarfile
from typing import Any

import pytest

from tasks.results.exported import line_files, part_folders, read_loose
from tasks.results.parse import Result
from tests.tasks.results.run_on_disk import Run


def read(run: Run) -> tuple[list[Result], list[str]]:
    problems: list[str] = []
    return list(read_loose(run.export, problems.append)), problems


def pack(members: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def test_lines_are_found_in_order(run):
    run.lines([], number=1)
    run.lines([], number=0)
    folder = "aggregated-results/aggregated-results-"
    assert line_files(run.export) == [f"{folder}00000.jsonl", f"{folder}00001.jsonl"]


def test_aggregated_files_are_preferred(run):
    run.lines([{"image": "a"}])
    run.write("results/chunk-00000.jsonl", '{"image": "a"}\n')
    assert line_files(run.export) == ["aggregated-results/aggregated-results-00000.jsonl"]


def test_lines_that_are_not_aggregated_will_do(run):
    run.write("results/chunk-00000.jsonl", '{"image": "a"}\n')
    assert line_files(run.export) == ["results/chunk-00000.jsonl"]


def test_csv_cells_get_their_types_back(run):
    text = (
        "image,n,ok,name,found,empty\r\n"
        'a,1,True,007,"{""image"": {}, ""predictions"": []}",\r\n'
        '"b ""q"", c",2.5,False,"two\r\nlines",,\r\n'
    )
    run.write("aggregated-results/aggregated-results-00000.csv", text)
    results, problems = read(run)
    found: dict[str, Any] = {"image": {}, "predictions": []}
    assert results == [
        Result("a", {"n": 1, "ok": True, "name": "007", "found": found, "empty": None}),
        Result('b "q", c', {"n": 2.5, "ok": False, "name": "two\r\nlines", "found": None, "empty": None}),
    ]
    assert problems == []


def test_csv_column_is_text_when_any_file_says_so(run):
    run.write("aggregated-results/aggregated-results-00000.csv", "image,code\na,12\n")
    run.write("aggregated-results/aggregated-results-00001.csv", "image,code\nb,x12\n")
    assert [result.outputs["code"] for result in read(run)[0]] == ["12", "x12"]


def test_csv_rows_of_the_wrong_length_are_told(run):
    run.write("aggregated-results/aggregated-results-00000.csv", "image,n\na,1\nb\nc,1,2\n")
    results, problems = read(run)
    assert [result.file for result in results] == ["a"]
    assert len(problems) == 2


def test_unpacked_archives(run):
    run.write("results-archives/b.jpg/results.json", json.dumps({"image": "b.jpg", "n": 2}))
    run.write("results-archives/a.jpg/results.json", json.dumps({"n": 1}))
    run.write("results-archives/c.jpg/results.json", "{")
    run.write("images-archives/a.jpg/annotated.jpg", b"")
    results, problems = read(run)
    assert results == [Result("a.jpg", {"n": 1}), Result("b.jpg", {"n": 2})]
    assert problems == ["results-archives/c.jpg: not JSON"]


def test_packed_archives(run):
    members = {"a.jpg/results.json": b'{"n": 1}', "a.jpg/other.json": b"{}", "../b/results.json": b"{}"}
    run.write("results-archives/chunk-00000.tar.gz", pack(members))
    results, problems = read(run)
    assert results == [Result("a.jpg", {"n": 1})]
    assert len(problems) == 1


def test_empty_or_missing_export_has_no_results(run):
    assert (read(run), line_files(run.export)) == (([], []), [])
    run.export.rmdir()
    assert (read(run), line_files(run.export)) == (([], []), [])


def test_links_in_the_export_are_not_followed(run, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "results.json").write_text('{"image": "a"}')
    (run.export / "part").symlink_to(outside)
    assert read(run) == ([], [])


@pytest.mark.parametrize("name", ["images-archives", "images"])
def test_parts_with_images_come_first(run, name):
    for folder in ("aggregated-results", name, "results-archives"):
        (run.export / folder).mkdir()
    assert part_folders(run.export) == [name, "aggregated-results", "results-archives"]
