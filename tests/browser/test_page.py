"""The browser that other tests rely on tells what a page does, and is gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.browser.chromium import MISSING, Browser, find_chromium, running_browser
from tests.browser.page import Page, Spoken
from tests.browser.protocol import CallFailed, NothingCame
from tests.waiting import is_alive

QUIET = """<!doctype html><title>quiet</title><link rel="icon" href="data:,">
<style>body { margin: 0; background: #fff } @media (prefers-color-scheme: dark) { body { background: #000 } }
#square { width: 50px; height: 50px; background: #f00; margin-left: 100px }</style>
<div id="square"></div><h1>A heading</h1>"""
NOISY = """<!doctype html><title>noisy</title><link rel="icon" href="data:,"><img src="missing.png" alt="">
<script>console.log("harmless"); console.error("a complaint", 7); console.warn("a warning")</script>
<script>nothing.there</script>"""
BUSY = """<!doctype html><title>busy</title><link rel="icon" href="data:,">
<p style="height: 3000px"></p><button onclick="later()">go</button><input id="field">
<script>
  function later() { setTimeout(() => { document.body.insertAdjacentHTML("beforeend", "<b id=late>late</b>") }, 50) }
  field.onkeydown = event => { if (event.key === "Enter") location = "quiet.html" }
</script>"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    for name, text in {"quiet": QUIET, "noisy": NOISY, "busy": BUSY}.items():
        (folder / f"{name}.html").write_text(text)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.page(800, 600) as opened:
        yield opened


def test_quiet_page_has_no_problems(page: Page, site: str) -> None:
    page.open(f"{site}/quiet.html")
    assert page.evaluate("document.title") == "quiet"
    assert page.problems == []
    assert page.requests[0] == f"{site}/quiet.html"


def test_problems_of_a_page_are_heard(page: Page, site: str) -> None:
    page.open(f"{site}/noisy.html")
    page.settle()
    told = " | ".join(page.problems)
    for what in ("console.error: a complaint 7", "console.warning: a warning", "ReferenceError", "404"):
        assert what in told
    assert "harmless" not in told
    assert f"{site}/missing.png" in page.requests


def test_page_that_is_not_there_cannot_be_opened(page: Page, tmp_path: Path) -> None:
    with pytest.raises(CallFailed, match="ERR_FILE_NOT_FOUND"):
        page.open((tmp_path / "nothing.html").as_uri())


def test_page_is_used_with_mouse_and_keys(page: Page, site: str) -> None:
    page.open(f"{site}/busy.html")
    page.click("button")
    page.wait_for("#late")
    page.press("Tab")
    page.write("some words")
    assert page.evaluate("field.value") == "some words"
    page.press("Tab", shift=True)
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"
    page.press("Tab")
    page.press("Enter")
    page.wait_for("#square")
    assert page.evaluate("document.title") == "quiet"


def test_what_does_not_appear_is_told(page: Page, site: str) -> None:
    page.open(f"{site}/quiet.html")
    with pytest.raises(NothingCame, match=r"#nowhere did not appear within 0\.1 s"):
        page.wait_for("#nowhere", timeout=0.1)
    assert page.evaluate("1 + 1") == 2


def test_error_in_an_expression_is_told(page: Page) -> None:
    with pytest.raises(AssertionError, match="TypeError"):
        page.evaluate("null.field")


def test_picture_shows_the_page_in_the_scheme_that_is_preferred(page: Page, site: str, tmp_path: Path) -> None:
    page.open(f"{site}/quiet.html")
    for scheme, ground in (("light", (255, 255, 255)), ("dark", (0, 0, 0))):
        page.prefer("dark" if scheme == "dark" else "light")
        picture = page.screenshot(tmp_path / f"{scheme}.png")
        assert picture.size == (800, 600)
        assert (picture.getpixel((10, 10)), picture.getpixel((125, 25))) == (ground, (255, 0, 0))


def test_phone_has_two_dots_a_pixel(page: Page, site: str, tmp_path: Path) -> None:
    page.resize(360, 640, phone=True)
    page.open(f"{site}/busy.html")
    assert page.screenshot(tmp_path / "phone.png").size == (720, 1280)
    assert page.evaluate("matchMedia('(hover: none)').matches") is True


def test_screen_reader_is_told_of_headings(page: Page, site: str) -> None:
    page.open(f"{site}/quiet.html")
    headings = [node for node in page.spoken() if node.role == "heading"]
    assert headings == [Spoken("heading", "A heading", {"level": 1})]


def test_pages_share_nothing(browser: Browser, site: str) -> None:
    with browser.page() as first, browser.page() as second:
        for page in (first, second):
            page.open(f"{site}/quiet.html")
        first.evaluate("localStorage.setItem('a', 'b')")
        assert second.evaluate("localStorage.getItem('a')") is None


def test_browser_is_gone_afterwards(tmp_path: Path) -> None:
    program = find_chromium()
    if program is None:
        pytest.skip(MISSING)
    with running_browser(program, tmp_path / "home") as browser:
        assert is_alive(browser.pid)
    assert not is_alive(browser.pid)


def test_browser_is_gone_after_a_failure(tmp_path: Path) -> None:
    program = find_chromium()
    if program is None:
        pytest.skip(MISSING)
    with pytest.raises(ZeroDivisionError), running_browser(program, tmp_path / "home") as browser, browser.page():
        raise ZeroDivisionError
    assert not is_alive(browser.pid)
