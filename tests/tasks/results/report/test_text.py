from datetime import datetime, timedelta, timezone

import pytest

from tasks.results.report.text import duration, moment, number, percent, plural, rate, safe


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>'\"&", "&lt;b&gt;&#x27;&quot;&amp;"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("photo\u202egpj.exe", "photo\\u202egpj.exe"),
        ("фото 1.jpg", "фото 1.jpg"),
        ("\udce9", "\\udce9"),
        ("x" * 600, "x" * 499 + "…"),
    ],
)
def test_safe_text(text, shown):
    assert safe(text) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (12345, "12,345"),
        (0.4, "0.4"),
        (1216.788, "1,217"),
        (45.808, "45.81"),
        (0.0123456, "0.01235"),
        (-3.5, "-3.5"),
        (1e-9, "1.000e-09"),
        (1e20, "1.000e+20"),
        (99999.5, "100,000"),
    ],
)
def test_number(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (184, "3 min 04 s"), (3720, "1 h 02 min")],
)
def test_duration(seconds, shown):
    assert duration(seconds) == shown


def test_moment_is_in_utc():
    time = datetime(2026, 11, 21, 1, 30, 5, tzinfo=timezone(timedelta(hours=2)))
    assert moment(time) == '<time datetime="2026-11-20T23:30:05Z">20 November 2026, 23:30:05 UTC</time>'


def test_plural():
    assert (plural(1, "class", "classes"), plural(2000, "file")) == ("1 class", "2,000 files")


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0 %"), (1, "100 %"), (0.5, "50 %"), (0.0994, "9.9 %"), (0.0996, "10 %"), (0.00094, "0.09 %")],
)
def test_percent(share, shown):
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("amount", "seconds", "shown"),
    [(12, 0.5, "24.0"), (1300, 1, "1,300"), (1, 3, "0.33"), (5, 0, ""), (0, 5, "")],
)
def test_rate(amount, seconds, shown):
    assert rate(amount, seconds) == shown
