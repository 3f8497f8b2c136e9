import pytest

from tasks.results import parse
from tasks.results.parse import MAX_OUTPUTS, Result, Unreadable, parse_result


def many(count: int) -> bytes:
    return b'{"image": "a", ' + b", ".join(b'"%d": 1' % n for n in range(count)) + b"}"


def test_result_of_a_line():
    assert parse_result(b'{"v": 1, "image": "a", "w": {"image": "b"}}\n') == Result("a", {"v": 1, "w": {"image": "b"}})


def test_what_json_cannot_say_is_null():
    line = b'{"image": "a", "v": NaN, "w": [-Infinity, 1e999, -1e999, 1e3], "\\udfff": "\\ud800 \\ud83d\\ude00"}'
    assert parse_result(line).outputs == {"v": None, "w": [None, None, None, 1000.0], "?": "? 😀"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not JSON"),
        (b"not json", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"no image": 1}', "no 'image' that names the file"),
        (b'{"image": 7}', "no 'image' that names the file"),
        (b'{"image": ""}', "no 'image' that names the file"),
        (b'{"image": "a"} {}', "not JSON"),
        (b'{"image": "a", "v": "\xff"}', "not JSON"),
        (b'{"image": "a", "v": "\xed\xa0\x80"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "not JSON"),
        (b'{"image": "a", "v": ' + b"1" * 5000 + b"}", "not JSON"),
        (many(MAX_OUTPUTS + 1), "more than 512 outputs"),
    ],
)
def test_unreadable_line_says_why(line, reason):
    with pytest.raises(Unreadable, match=reason):
        parse_result(line)


def test_as_many_outputs_as_are_allowed():
    assert len(parse_result(many(MAX_OUTPUTS)).outputs) == MAX_OUTPUTS


def test_line_that_is_too_long_is_not_read(monkeypatch):
    monkeypatch.setattr(parse, "MAX_RESULT_BYTES", 20)
    assert parse_result(b'{"image": "abcdefg"}').file == "abcdefg"
    with pytest.raises(Unreadable, match="longer than 20 bytes"):
        parse_result(b'{"image": "abcdefgh"}')
