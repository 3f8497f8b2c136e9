import pytest

from tasks.results.report.charts import bin_name, change_bars, histogram_chart, reconciliation_bar, share_bar
from tasks.results.report.model import Counts, Histogram
from tests.tasks.results.report.reports import Parsed


def columns(svg: str) -> list[tuple[str | None, float, float]]:
    """Class, left edge and right edge of each column."""
    rects = [rect for rect in Parsed(svg).all("rect") if rect["class"] != "track"]
    return [(r["class"], float(r["x"] or 0), float(r["x"] or 0) + float(r["width"] or 0)) for r in rects]


def test_histogram_fills_its_width_and_leaves_empty_bins_out():
    drawn = columns(histogram_chart(Histogram("n", 0, 4, 2, (1, 0, 2, 4)), "n", "image"))
    assert [name for name, _, _ in drawn] == ["fill"] * 3
    assert (drawn[0][1], drawn[-1][2]) == (0, 240)


def test_zero_is_a_column_apart():
    drawn = columns(histogram_chart(Histogram("n", 1, 2, 1.5, (1, 1), whole=True), "n", "image", apart=5))
    assert [name for name, _, _ in drawn] == ["quiet", "fill", "fill"]
    assert drawn[0][1] == 0
    assert drawn[1][1] - drawn[0][2] > 10
    assert drawn[2][2] == 240


@pytest.mark.parametrize(("apart", "left"), [(0, 108), (3, 216)], ids=["in the middle", "at the right"])
def test_single_bin_is_a_column_not_a_wall(apart, left):
    chart = histogram_chart(Histogram("n", 7, 7, 7, (4,), whole=True), "n", "image", apart=apart)
    assert columns(chart)[-1] == ("fill", left, left + 24)


def test_columns_tell_their_numbers():
    chart = Parsed(histogram_chart(Histogram("n", 0, 1, 0.5, (1, 2)), "<n>", "image"))
    assert chart.text == "0 to 0.5: 1 image0.5 to 1: 2 images"
    assert chart.all("svg")[0]["aria-label"] == "Histogram of <n>. 0 to 0.5: 1 image; 0.5 to 1: 2 images"


def test_heights_are_shares_of_the_tallest():
    chart = Parsed(histogram_chart(Histogram("n", 0, 1, 0.5, (1, 2)), "n", "image", apart=4))
    assert [rect["height"] for rect in chart.all("rect")[1:]] == ["64.00", "16.00", "32.00"]


@pytest.mark.parametrize(
    ("histogram", "place", "name"),
    [
        (Histogram("n", 3, 5, 4, (1, 1, 1), whole=True), 2, "5"),
        (Histogram("n", 0.25, 0.25, 0.25, (9,)), 0, "0.25"),
        (Histogram("n", 0, 1, 0.5, (1,) * 20), 17, "0.85 to 0.9"),
        (Histogram("n", 0, 100, 50, (1,) * 24), 23, "95.83 to 100"),
    ],
)
def test_bins_are_named_by_what_they_hold(histogram, place, name):
    assert bin_name(histogram, place) == name


def test_smallest_share_of_the_files_is_seen():
    drawn = columns(reconciliation_bar(Counts(1_000_000, 0, 999_999, 1, 0)))
    assert [name for name, _, _ in drawn] == ["processed", "failed"]
    assert drawn[1][2] - drawn[1][1] > 3


def test_bars_are_as_long_as_their_share():
    assert columns(share_bar(1, 4, "c3")) == [("c3", 0, 250)]
    assert columns(change_bars(0.5, 0.25)) == [("quiet", 0, 500), ("fill", 0, 250)]
