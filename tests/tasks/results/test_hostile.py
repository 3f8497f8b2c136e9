"""Results that were made to do harm are contained, told and kept from harming others."""

import json

import pyarrow.parquet as pq
import pytest

from tasks.results import blocks, parse
from tasks.results.tables import ResultTables, build_tables
from tests.tasks.results.run_on_disk import Entry, Run, detections

GOOD = [f"{n:03d}.jpg" for n in range(300)]
"""Enough that most lines are read in bulk."""


def build(run: Run, *hostile: bytes | str, names: tuple[str, ...] = ("bad.jpg",), number: int = 0) -> ResultTables:
    """Hostile lines after good ones, of which nothing may get lost."""
    lines = [json.dumps({"image": name, "n": 1, "found": detections("car")}).encode() for name in GOOD]
    lines += [line.encode() if isinstance(line, str) else line for line in hostile]
    run.write(f"aggregated-results/aggregated-results-{number:05d}.jsonl", b"\n".join(lines) + b"\n")
    tables = build_tables(run.export, [Entry(name, f"key {name}") for name in (*GOOD, *names)], run.root)
    for path in (tables.results, tables.predictions_file):
        assert pq.read_table(path).column("file").to_pylist()[: len(GOOD)] == GOOD
    return tables


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        '{"image": "bad.jpg", "n": ',
        b'{"image": "bad.jpg", "n": 1, "text": "\xff\xfe"}',
        '{"image": "bad.jpg", "n": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"image": "bad.jpg", "n": ' + '{"n":' * 100_000 + "1" + "}" * 100_000 + "}",
        '{"image": "bad.jpg", ' + ", ".join(f'"key {n}": {n}' for n in range(10_000)) + "}",
        '{"image": ["bad.jpg"]}',
    ],
    ids=["text", "cut off", "bytes", "lists", "objects", "keys", "no name"],
)
def test_line_that_is_no_result_is_told(run, line):
    tables = build(run, line)
    assert (tables.rows, tables.predictions, tables.unreadable.count) == (300, 300, 1)
    assert tables.unreadable.examples[0].startswith("aggregated-results/aggregated-results-00000.jsonl line 301: ")
    assert [column.name for column in tables.outputs] == ["n", "found_count"]


def test_line_that_is_too_long_is_told_and_the_next_one_read(run, monkeypatch):
    monkeypatch.setattr(parse, "MAX_RESULT_BYTES", 50_000)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 10_000)
    tables = build(run, '{"image": "x.jpg", "t": "' + "x" * 500_000 + '"}', '{"image": "bad.jpg", "n": 2}')
    assert (tables.rows, tables.unreadable.count) == (301, 1)
    assert tables.unreadable.examples[0].endswith("line 301: longer than 50000 bytes")


def test_line_is_told_by_its_number_in_its_file(run):
    run.write("aggregated-results/aggregated-results-00001.jsonl", '{"image": "bad.jpg", "n": 3}\n\nnot json\n')
    tables = build(run)
    assert tables.unreadable.examples == ["aggregated-results/aggregated-results-00001.jsonl line 3: not JSON"]


@pytest.mark.parametrize("depth", [50, 700])
def test_nested_lists_become_text(run, depth):
    deep = "[" * depth + "]" * depth
    found = detections("car", extra=1)
    found["predictions"][0]["extra"] = json.loads(deep)
    tables = build(run, f'{{"image": "bad.jpg", "n": 1, "found": {json.dumps(found)}, "deep": {deep}}}')
    assert (tables.unreadable.count, tables.outputs[-1].role) == (0, "json")
    assert pq.read_table(tables.results).column("deep")[-1].as_py() == deep
    assert pq.read_table(tables.predictions_file).column("extra")[-1].as_py() == f'{{"extra":{deep}}}'


def test_wide_lists_are_held(run):
    tables = build(run, '{"image": "bad.jpg", "n": 1, "wide": [' + "[]," * 200_000 + "[]]}")
    assert len(pq.read_table(tables.results).column("wide")[-1]) == 200_001


def test_keys_that_differ_in_each_line_end_in_one_column(run):
    names = tuple(f"k{n:05d}.png" for n in range(2_000))
    lines = [json.dumps({"image": name, "n": 1, f"key {name}": 1}) for name in names]
    tables = build(run, *lines, names=names)
    assert (tables.rows, tables.unreadable.count, len(tables.outputs)) == (2_300, 0, 513)
    last = pq.read_table(tables.results, columns=["other_outputs"]).column(0)[-1].as_py()
    assert json.loads(last) == {"key k01999.png": 1}


def test_line_of_too_many_outputs_is_told_also_when_all_are_known(run, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2_000)
    names = tuple(f"k{n:05d}.png" for n in range(600))
    outputs = {f"key {n}": 1 for n in range(600)}
    run.lines({"image": name, output: 1} for name, output in zip(names, outputs, strict=True))
    tables = build(run, json.dumps({"image": "z.png"} | outputs), names=(*names, "z.png"), number=1)
    assert (tables.rows, tables.unreadable.count) == (900, 1)


def test_names_and_classes_are_kept_as_they_are(run):
    name, label = 'x/../../a\\b\n"c"\0<script>\u2028é.jpg', "<img src=x onerror=alert(1)>"
    line = json.dumps({"image": name, "n": 1, "found": detections(label)})
    tables = build(run, line, names=(name,))
    assert pq.read_table(tables.results).column("file")[-1].as_py() == name
    assert pq.read_table(tables.predictions_file).select(["file", "class"]).to_pylist()[-1] == {
        "file": name,
        "class": label,
    }
