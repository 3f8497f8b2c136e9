import csv
import json

import pyarrow as pa

from tasks.results.exporters.csv_tables import cell
from tasks.results.schemas import KIND_KEY, OUTPUT_KEY
from tests.readers.reading import needs_readers, read_back
from tests.tasks.results.exporters.made_run import HOSTILE, classification, detection, files_of, outline


def column(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, metadata={OUTPUT_KEY: name.encode(), KIND_KEY: b"value"})


def table(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_tables_have_the_columns_of_the_parquet_tables(made):
    made.tables({"day 1/a.jpg": [detection("car", points=outline((1, 2)), tracker_id=7), classification("day")]})
    written = made.write("csv", validation=0.5)
    assert files_of(written.path) == {"dataset.json", "images.csv", "predictions.csv"}
    first, second = table(written.path / "predictions.csv")
    (source,) = {row["source_key"] for row in made.rows()}
    assert (first["file"], first["source_key"], first["name"]) == ("day~201~~a.jpg", source, "day~201~~a.jpg")
    assert first.keys() == {*made.rows()[0], "name", "split"}
    assert (first["class"], first["x"], first["points"], first["tracker_id"]) == (
        "car",
        "20.0",
        '[{"x": 1.0, "y": 2.0}]',
        "7",
    )
    assert (second["class"], second["x"], second["confidence"]) == ("day", "", "0.5")
    (image,) = table(written.path / "images.csv")
    assert (image["width"], image["height"], image["predictions"], image["found_count"]) == ("64", "48", "2", "2")


def test_csv_text_that_a_spreadsheet_may_run_is_made_harmless_and_can_be_had_back():
    for text in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'quoted"):
        assert cell(text) == f"'{text}"
        assert cell(text)[1:] == text
    assert [cell(value) for value in ("a=1", "", -1.5, None, True)] == ["a=1", "", -1.5, None, True]
    assert cell("a\0b") == "a\ufffdb"
    assert cell([{"x": -1}]) == '[{"x": -1}]'


def test_csv_columns_of_outputs_do_not_hide_the_fixed_ones(made):
    outputs = [column(name, pa.string()) for name in ("Split", "output_split", "=name", "x")]
    made.tables({"a.jpg": []}, outputs, **{"Split": "one", "output_split": "two", "=name": "three", "x": "-4"})
    (image,) = table(made.write("csv").path / "images.csv")
    assert image["split"] == "train"
    assert (image["output_Split"], image["output_output_split"], image["'=name"], image["x"]) == (
        "one",
        "two",
        "three",
        "'-4",
    )


@needs_readers
def test_csv_gives_hostile_class_names_back(made):
    made.tables({"a.jpg": [detection(name) for name in HOSTILE]})
    found = read_back("csv", made.write("csv").path)
    assert found["predictions"]["duckdb"] == len(HOSTILE)
    read = [row["class"] for row in found["predictions"]["rows"]]
    assert [name[1:] if name.startswith("'") else name for name in read] == [
        name.replace("\0", "\ufffd") for name in HOSTILE
    ]


def test_json_line_is_an_image_with_its_outputs_and_predictions(made):
    nested = column("meta", pa.struct([("tags", pa.list_(pa.string()))]))
    made.tables(
        {"day 1/a.jpg": [detection("car", points=outline((1, 2)))], "b.jpg": []},
        [nested],
        meta={"tags": ["x", None]},
    )
    written = made.write("jsonl")
    assert files_of(written.path) == {"dataset.json", "images.jsonl"}
    first, second = map(json.loads, (written.path / "images.jsonl").read_text("utf-8").splitlines())
    assert first == {
        "file": "b.jpg",
        "source_key": "b.jpg",
        "name": "b.jpg",
        "split": "train",
        "frame": None,
        "width": 64,
        "height": 48,
        "outputs": {"meta": {"tags": ["x", None]}},
        "predictions": [],
    }
    (row,) = made.rows()
    about = ("file", "source_key", "frame")
    assert second["predictions"] == [{name: value for name, value in row.items() if name not in about}]


@needs_readers
def test_json_lines_give_hostile_class_names_back(made):
    made.tables({"a.jpg": [detection(name) for name in (*HOSTILE, None, "")]})
    found = read_back("jsonl", made.write("jsonl").path)
    assert found["duckdb"] == [1, len(HOSTILE) + 2]
    assert [row["class"] for row in found["pandas"][0]["predictions"]] == [*HOSTILE, None, ""]
