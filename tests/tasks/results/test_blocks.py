import pytest

from tasks.results import blocks, parse
from tasks.results.blocks import Line, LineFiles, spool
from tasks.results.parse import Result, parse_result

TEXT = b"first\n\nthird line\nx\nlast"


def lines_of(files: LineFiles) -> list[tuple[str, int, bytes, Line]]:
    """Each line: its file's name, its number, its bytes and its place."""
    found = []
    number = 0
    for block in files.blocks():
        start, number = 0, 0 if block.offset == 0 else number
        for end in block.line_ends():
            number += 1
            place = Line(block.part, block.offset + start, end - start)
            found.append((block.shown, number, block.data[start:end], place))
            start = end
        assert start == len(block.data)
    return found


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 8, 12, 18, 19, 20, 100])
def test_lines_do_not_depend_on_the_blocks(tmp_path, monkeypatch, size):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
    (tmp_path / "a").write_bytes(TEXT)
    (tmp_path / "b").write_bytes(b"other\n")
    files = LineFiles(tmp_path, ["a", "b"])
    found = lines_of(files)
    numbered = list(enumerate(TEXT.splitlines(keepends=True), start=1))
    assert [line[:3] for line in found] == [("a", n, line) for n, line in numbered] + [("b", 1, b"other\n")]
    with files.reader() as read:
        assert [read(place) for *_, place in reversed(found)] == [data for _, _, data, _ in reversed(found)]


def test_empty_file_has_no_blocks(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    assert list(LineFiles(tmp_path, ["a"]).blocks()) == []


@pytest.mark.parametrize("size", [4, 12, 30, 100])
def test_line_that_is_too_long_is_cut_and_stays_too_long(tmp_path, monkeypatch, size):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
    monkeypatch.setattr(parse, "MAX_RESULT_BYTES", 10)
    (tmp_path / "a").write_bytes(b"one\n" + b"x" * 1000 + b"\nthree\n")
    first, long, third = lines_of(LineFiles(tmp_path, ["a"]))
    assert (first[1:3], third[1:3]) == ((1, b"one\n"), (3, b"three\n"))
    assert long[1] == 2
    assert 10 < len(long[2]) <= 1001
    assert size == 100 or len(long[2]) <= size + 11


def test_block_is_split_between_lines(tmp_path):
    (tmp_path / "a").write_bytes(TEXT)
    (block,) = LineFiles(tmp_path, ["a"]).blocks()
    first, rest = block.split(block.line_ends(), 2)
    assert (first.data, first.offset) == (b"first\n\n", 0)
    assert (rest.data, rest.offset) == (b"third line\nx\nlast", 7)
    whole, nothing = block.split(block.line_ends(), 9)
    assert (whole.data, nothing.data) == (TEXT, b"")


def test_spooled_results_are_lines(tmp_path):
    results = [Result("a\n", {"v": "\u2028\r\n", "n": [1, None]}), Result("b", {})]
    spool(results, tmp_path / "lines")
    assert [parse_result(data) for _, _, data, _ in lines_of(LineFiles(tmp_path, ["lines"]))] == results
