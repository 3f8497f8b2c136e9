from dataclasses import replace

import pytest

from tasks.results.report.gallery import gallery, words
from tasks.results.report.model import Box, ContactImage, ReportData, Tag
from tasks.results.report.overlay import LABELLED, LABELLED_SMALL, overlay
from tests.tasks.results.report.reports import Parsed, data

IMAGE = ContactImage("a.jpg", None, 100, 80)
BOX = Box(50, 40, 20, 10, "car", 0.87)


def drawn(*boxes: Box, image: ContactImage = IMAGE) -> Parsed:
    return Parsed(overlay(replace(image, boxes=boxes), {"car": 3}))


def test_box_is_drawn_at_its_place_in_its_colour():
    found = drawn(BOX)
    assert found.all("svg")[0]["viewbox"] == "0 0 100 80"
    assert found.all("g")[0]["class"] == "c3"
    assert found.all("path")[0]["d"] == "M40.0 35.0H60.0V45.0H40.0Z"
    assert found.text == "car 0.87" * 2


def test_outline_and_keypoints_are_drawn_too():
    found = drawn(replace(BOX, points=((1, 2), (3, 4), (5, 6)), keypoints=((7, 8), (9, 10))))
    frame, outline, dots = found.all("path")
    assert (frame["class"], outline["class"], dots["class"]) == ("faint", "outline", "dots")
    assert outline["d"] == "M1.0 2.0L3.0 4.0L5.0 6.0Z"
    assert dots["d"] == "M7.0 8.0h0M9.0 10.0h0"


@pytest.mark.parametrize(
    ("box", "style"),
    [
        (BOX, "top:43.75%;left:40.00%;max-width:60.00%"),
        (replace(BOX, x=90), "top:43.75%;right:0.00%;max-width:100.00%"),
        (replace(BOX, x=-500, y=4e300), "top:100.00%;left:0.00%;max-width:100.00%"),
    ],
    ids=["at its left edge", "at its right edge", "far outside"],
)
def test_label_lies_within_the_picture(box, style):
    assert drawn(box).all("span")[0]["style"] == style


def test_label_at_the_top_edge_is_inside_the_box():
    kinds = [drawn(replace(BOX, y=y)).all("span")[0]["class"] for y in (5, 40)]
    assert kinds == ["inside c3", "above c3"]


def test_numbers_from_elsewhere_do_not_blow_up_the_page():
    huge = replace(BOX, x=1e300, y=-1e300, width=1e300, height=1e300, points=((1e300, 1e300),) * 3)
    assert max(len(path["d"] or "") for path in drawn(huge).all("path")) < 80


def test_crowds_have_fewer_labels():
    assert [a["class"] for a in drawn(*[BOX] * LABELLED_SMALL).all("div")] == ["labels"]
    assert [a["class"] for a in drawn(*[BOX] * LABELLED).all("div")] == ["labels large-only"]
    assert drawn(*[BOX] * (LABELLED + 1)).all("div") == []


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (IMAGE, "nothing detected"),
        (replace(IMAGE, boxes=(BOX, BOX), tags=(Tag("bus", 0.5),), undrawn=3), "bus, 2 of car, 3 not drawn"),
        (replace(IMAGE, tags=tuple(Tag(str(n)) for n in range(9))), "0, 1, 2, 3, 4, 5, 3 more classes"),
    ],
    ids=["nothing", "some", "many"],
)
def test_findings_are_told_in_words(image, said):
    assert words(image) == said


def test_views_lead_to_each_other_in_a_ring():
    section = gallery(ReportData(images=(IMAGE, IMAGE, IMAGE)), {})
    assert section is not None
    links = [attributes["href"] for attributes in Parsed(section.html()).all("a")]
    assert links == [
        *("#thumb-1", "#image-3", "#image-2", "#image-1"),
        *("#thumb-2", "#image-1", "#image-3", "#image-2"),
        *("#thumb-3", "#image-2", "#image-1", "#image-3"),
    ]


def test_view_tells_all_of_an_image():
    section = gallery(data("thing"), {"thing": 4})
    assert section is not None
    found = Parsed(section.html())
    for said in (
        "thing 0.87 thing",
        "thing #12 0.50",
        "and 3 not drawn",
        "The whole imagething 0.93",
        "100 by 80 pixels",
    ):
        assert said in found.text
    assert [attributes["alt"] for attributes in found.all("img")] == [
        "thing: 3 of thing, 3 not drawn",
        "thing, made by the workflow of thing",
        "c.jpg: nothing detected",
    ]


def test_legend_names_the_classes_that_are_drawn():
    section = gallery(replace(data("a"), images=data("a").images), {"never": 0, "a": 1})
    assert section is not None
    legend = section.body[: section.body.index('<ul class="sheet">')]
    assert Parsed(legend + "</div>").text == "a"


def test_no_images_have_no_section():
    assert gallery(ReportData(), {}) is None
