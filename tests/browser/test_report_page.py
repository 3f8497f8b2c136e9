"""The report as people meet it: in both colour schemes, on a phone, with keys, and read aloud."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tasks.results.report.model import ReportData
from tasks.results.report.pictures import Picture, Size, shrink
from tasks.results.report.writing import write_report
from tests.browser.chromium import Browser
from tests.browser.looks import contrasts, sticking_out
from tests.browser.page import Page, Scheme
from tests.tasks.results.pictures import encoded
from tests.tasks.results.report.reports import HOSTILE, report, with_pictures

AMBER = (255, 176, 46)
GREY = (110, 110, 110)
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
LONG = "averylongwordwithoutaplacetobreakit" * 5


@pytest.fixture(scope="module")
def picture() -> Picture:
    grey = encoded(Image.new("RGB", (400, 320), GREY), "JPEG")
    made = shrink(io.BytesIO(grey), Size(400, 100_000))
    assert made is not None
    return made


@pytest.fixture(params=["plain", HOSTILE, LONG], ids=["plain", "hostile", "long"])
def any_file(request: pytest.FixtureRequest, tmp_path: Path, picture: Picture) -> str:
    return written(tmp_path, request.param, picture)


@pytest.fixture
def file(tmp_path: Path, picture: Picture) -> str:
    return written(tmp_path, "plain", picture)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.page(1200, 900) as opened:
        yield opened


def written(folder: Path, text: str, picture: Picture) -> str:
    path = folder / "report.html"
    write_report(path, with_pictures(report(text), picture))
    return path.as_uri()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_report_opens_without_a_complaint_or_a_request(page: Page, any_file: str, scheme: Scheme) -> None:
    page.prefer(scheme)
    page.open(any_file)
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("document.images.length") == 3
    page.open(f"{any_file}#image-1")
    assert page.problems == []
    assert {url.partition(":")[0] for url in page.requests} == {"file", "data"}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("view", ["", "#image-1"], ids=["sheet", "larger view"])
def test_box_is_drawn_on_the_picture(page: Page, file: str, tmp_path: Path, scheme: Scheme, view: str) -> None:
    page.prefer(scheme)
    page.open(file + view)
    page.evaluate("document.querySelector('#image-1 .picture').scrollIntoView({block: 'center'})")
    area = page.area("#image-1 .picture")
    # The middle of the right edge of a box from 40 to 60 of 100 pixels across, at half of the height.
    place = round(area.left + area.width * 0.6), round(area.top + area.height * 0.5)
    inside = round(area.left + area.width * 0.55), place[1]
    drawn = page.screenshot(tmp_path / "drawn.png")
    assert near(drawn, place, AMBER)
    assert near(drawn, inside, GREY)
    page.evaluate("document.querySelectorAll('.boxes').forEach(boxes => { boxes.style.visibility = 'hidden' })")
    assert near(page.screenshot(tmp_path / "bare.png"), place, GREY)


def near(picture: Image.Image, place: tuple[int, int], colour: tuple[int, int, int]) -> bool:
    """Whether a pixel, or one beside it, has about that colour."""
    across, down = place
    seen = [picture.getpixel((x, down)) for x in range(across - 2, across + 3)]
    return any(
        max(abs(one - other) for one, other in zip(pixel, colour, strict=True)) < 30
        for pixel in seen
        if isinstance(pixel, tuple)
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("view", ["", "#image-1"], ids=["sheet", "larger view"])
def test_text_can_be_told_from_what_is_behind_it(page: Page, file: str, scheme: Scheme, view: str) -> None:
    page.prefer(scheme)
    page.open(file + view)
    found = contrasts(page)
    assert len(found) > (10 if view else 100)
    assert [text for text in found if not text["enough"]] == []


def test_schemes_look_different(page: Page, file: str, tmp_path: Path) -> None:
    grounds = []
    for scheme in SCHEMES:
        page.prefer(scheme)
        page.open(file)
        grounds.append(page.screenshot(tmp_path / f"{scheme}.png").getpixel((5, 5)))
    light, dark = grounds
    assert isinstance(light, tuple) and isinstance(dark, tuple)
    assert min(light) > 200 and max(dark) < 50


@pytest.mark.parametrize("view", ["", "#image-1"], ids=["sheet", "larger view"])
@pytest.mark.parametrize("width", [320, 360])
def test_nothing_sticks_out_on_a_phone(page: Page, any_file: str, view: str, width: int) -> None:
    page.resize(width, 740, phone=True)
    page.open(any_file + view)
    assert sticking_out(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_larger_view_is_used_with_keys(page: Page, file: str) -> None:
    page.open(file)
    small = page.area("#image-1 .picture")
    page.evaluate("document.querySelector('#thumb-1').focus({focusVisible: true})")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter")
    assert page.area("#image-1 .picture").width > 2 * small.width
    assert focused(page) == "image-1"
    for text in ("Back to the sheet", "Previous", "Next"):
        page.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == text
    page.press("Enter")
    assert focused(page) == "image-2"
    assert page.area("#image-2").width == 1200
    page.press("Tab")
    page.press("Enter")
    assert focused(page) == "thumb-2"
    assert page.area("#image-2").width < 600


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id"))


def test_larger_view_keeps_the_keys_and_hides_the_rest(page: Page, file: str) -> None:
    page.open(f"{file}#image-1")
    for _ in range(8):
        page.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('#image-1')")
    told = {(node.role, node.name) for node in page.spoken()}
    assert ("heading", "1 plain") in told
    assert not [name for role, name in told if role == "heading" and "Contact sheet" in name]
    assert not [role for role, _ in told if role == "table"]


def test_picture_is_opened_by_a_click(page: Page, file: str) -> None:
    page.open(file)
    page.click("#thumb-3")
    assert page.area("#image-3").width == 1200
    page.click("#image-3 .turn a")
    assert page.area("#image-3").width < 600


def test_report_can_be_read_aloud(page: Page, file: str) -> None:
    page.open(file)
    told = page.spoken()
    roles = {node.role for node in told}
    assert {"banner", "main", "contentinfo", "navigation", "table", "heading"} <= roles
    for role in ("image", "heading", "table", "link", "navigation", "columnheader", "rowheader"):
        named = [node.name.strip() for node in told if node.role == role]
        assert named and all(named), role
    names = [node.name for node in told if node.role == "image"]
    assert any(name.startswith("Histogram of confidence.") for name in names)
    assert "plain: 3 of plain, 3 not drawn" in names


def test_report_of_nothing_opens(page: Page, tmp_path: Path, picture: Picture) -> None:
    path = tmp_path / "report.html"
    write_report(path, with_pictures(report(), picture, ReportData()))
    page.open(path.as_uri())
    assert page.problems == []
    assert page.evaluate("document.querySelector('.film')") is None
