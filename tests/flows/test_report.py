"""The report that a run of the sample photographs ends with, opened in a browser."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import ImageChops

from tests.browser.chromium import Browser
from tests.browser.fixtures import browser
from tests.browser.looks import contrasts, sticking_out
from tests.browser.page import Page, Scheme
from tests.commands import ENGINE_PYTHON, ROOT, clean_environment, darkroom
from tests.home import Home

__all__ = ["browser"]

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

CODED = {
    "things/coffee.jpg": "4006381333931",
    "things/coins.jpg": "lot 7: 24 coins",
    "things/motorcycle_left.jpg": "FRAME-0042",
    "space/rocket.jpg": "https://example.org/launch/39A",
}
"""What the samples' codes say; see ``deployments/samples.py``."""
SAMPLES = 12


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, home: Home) -> Path:
    """Of one run on the samples."""
    folder = tmp_path_factory.mktemp("place")
    drawn = [str(ENGINE_PYTHON), str(ROOT / "deployments" / "samples.py"), "samples"]
    subprocess.run(drawn, cwd=folder, env=clean_environment(), check=True, capture_output=True)
    outcome = darkroom("run", "samples", "--workflow", "photo-audit", cwd=folder, **home.environment)
    return folder / outcome.last_line[5]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.page(1200, 900) as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_shows_boxes_on_the_photographs(page: Page, report: Path, tmp_path: Path, scheme: Scheme) -> None:
    page.prefer(scheme)
    page.open(report.as_uri())
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("document.querySelectorAll('.shot').length") == SAMPLES
    assert boxed(page) == list(range(1, len(CODED) + 1))
    for name in page.evaluate("[...document.querySelectorAll('.shot:has(.boxes)')].map(shot => shot.id)"):
        assert changes(page, f"#{name}", tmp_path) > 50
    whole = page.screenshot(tmp_path / f"{scheme}.png", whole=True)
    assert len(whole.getcolors(whole.width * whole.height) or ()) > 1_000
    assert page.problems == []
    assert {url.partition(":")[0] for url in page.requests} == {"file", "data"}
    assert [text for text in contrasts(page) if not text["enough"]] == []


def boxed(page: Page) -> list[int]:
    """One number for each picture whose box lies within it."""
    page.evaluate("document.querySelector('.sheet').scrollIntoView()")
    inside = """[...document.querySelectorAll('.boxes')].map(boxes => {
      const [picture, box] = [boxes.parentElement, boxes.querySelector('path')]
        .map(part => part.getBoundingClientRect());
      return box.width > 10 && box.left >= picture.left && box.right <= picture.right && box.bottom <= picture.bottom;
    })"""
    return [place for place, found in enumerate(page.evaluate(inside), 1) if found]


def changes(page: Page, shot: str, folder: Path) -> int:
    """Pixels that look another way when a picture's boxes and labels are hidden."""
    page.evaluate(f"document.querySelector('{shot}').scrollIntoView({{block: 'center'}})")
    area = page.area(f"{shot} .picture")
    place = (int(area.left), int(area.top), int(area.left + area.width), int(area.top + area.height))
    drawn = page.screenshot(folder / "drawn.png").crop(place)
    hide = "document.querySelectorAll('.boxes, .labels').forEach(drawn => { drawn.style.visibility = %r })"
    page.evaluate(hide % "hidden")
    bare = page.screenshot(folder / "bare.png").crop(place)
    page.evaluate(hide % "")
    return drawn.width * drawn.height - ImageChops.difference(drawn, bare).convert("L").histogram()[0]


def test_larger_view_tells_what_the_codes_say(page: Page, report: Path) -> None:
    page.open(report.as_uri())
    shots = page.evaluate(
        "[...document.querySelectorAll('.shot:has(.boxes)')]"
        ".map(shot => [shot.querySelector('h3 span + span').textContent, shot.querySelector('code').textContent])"
    )
    assert dict(shots) == CODED
    page.click(".shot:has(.boxes) .open")
    page.wait_for(".shot:target .details")
    assert page.evaluate("document.querySelector('.shot:target .predicted').innerText").startswith("barcode 1.00")
    assert page.evaluate("document.querySelector('.shot:target figcaption').innerText") == "annotated"


def test_report_fits_a_phone(page: Page, report: Path) -> None:
    page.resize(360, 740, phone=True)
    page.open(report.as_uri())
    assert sticking_out(page) == []
    assert report.stat().st_size < 6_000_000
