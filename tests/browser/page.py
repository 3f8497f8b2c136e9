"""One page of a headless Chromium."""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from tests.browser.protocol import LONGEST, CallFailed, Connection, Event, NothingCame

Scheme = Literal["light", "dark"]
MOST_CHARACTERS = 500
"""Of a URL that is remembered; a picture may be one."""
_DOMAINS = ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility")
_KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Space": (32, " "),
    "ArrowLeft": (37, ""),
    "ArrowUp": (38, ""),
    "ArrowRight": (39, ""),
    "ArrowDown": (40, ""),
}
_SHIFT = 8
_LEFT = ("context", "navigated")
"""In the words of a call that failed because the page was left for another one."""
_APPEARS = """
(selector => new Promise(resolve => {
  const look = () => {
    const found = [...document.querySelectorAll(selector)].some(element => element.checkVisibility());
    if (found) { observer.disconnect(); resolve(true); }
  };
  const observer = new MutationObserver(look);
  observer.observe(document, {attributes: true, childList: true, characterData: true, subtree: true});
  look();
}))
"""
_PLACE = """
(selector => {
  const element = document.querySelector(selector);
  if (!element) return null;
  const area = element.getBoundingClientRect();
  return [area.left, area.top, area.width, area.height];
})
"""


@dataclass(frozen=True)
class Area:
    """A rectangle of the window, in CSS pixels."""

    left: float
    top: float
    width: float
    height: float

    @property
    def middle(self) -> tuple[float, float]:
        """Across and down."""
        return self.left + self.width / 2, self.top + self.height / 2


@dataclass(frozen=True)
class Spoken:
    """What a screen reader is told of one element."""

    role: str
    name: str
    properties: dict[str, Any] = field(default_factory=dict)
    """Such as ``level`` of a heading."""


class Page:
    """A tab, used from one thread; what it complains about and asks for is remembered.

    Attributes:
        problems: errors and warnings on the console, uncaught exceptions, and what the browser logs as an error.
        requests: URLs of all that was asked for, also in vain.
    """

    def __init__(self, connection: Connection, session: str) -> None:
        self._connection = connection
        self._session = session
        self._loaded: set[str] = set()
        self.problems: list[str] = []
        self.requests: list[str] = []
        connection.listen(session, self._hear)
        for domain in _DOMAINS:
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def call(self, method: str, timeout: float = LONGEST, **parameters: Any) -> Event:
        """Any call of the protocol, for what has no method here."""
        return self._connection.call(method, self._session, timeout, **parameters)

    def open(self, url: str) -> None:
        """Goes to a page and waits until it and all it asks for is loaded.

        Raises:
            CallFailed: there is no such page.
        """
        gone = self.call("Page.navigate", url=url)
        if gone.get("errorText"):
            raise CallFailed(f"{url}: {gone['errorText']}")
        if loader := gone.get("loaderId"):  # none where only the fragment is another
            self._connection.wait_until(lambda: loader in self._loaded, f"{url} to load")

    def evaluate(self, expression: str, timeout: float = LONGEST) -> Any:
        """The value of a JavaScript expression, as JSON has it; a promise is waited for.

        Raises:
            AssertionError: it throws.
        """
        answer = self.call(
            "Runtime.evaluate", timeout, expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if thrown := answer.get("exceptionDetails"):
            raise AssertionError(f"{expression}: {thrown.get('exception', thrown).get('description', thrown)}")
        return answer["result"].get("value")

    def wait_for(self, selector: str, timeout: float = LONGEST) -> None:
        """Waits until an element is there and visible; a page that is left meanwhile is no hindrance."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.evaluate(f"{_APPEARS}({json.dumps(selector)})", max(deadline - time.monotonic(), 0))
                return
            except NothingCame:
                raise NothingCame(f"{selector} did not appear within {timeout:g} s") from None
            except CallFailed as error:
                if not any(word in str(error) for word in _LEFT):
                    raise

    def area(self, selector: str) -> Area:
        """Where the first element of a selector is in the window."""
        found = self.evaluate(f"{_PLACE}({json.dumps(selector)})")
        assert found, f"{selector} is not there"
        return Area(*found)

    def click(self, selector: str) -> None:
        """Waits for an element, scrolls to it, and clicks on its middle."""
        self.wait_for(selector)
        self.evaluate(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        x, y = self.area(selector).middle
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def press(self, key: str, *, shift: bool = False) -> None:
        """Presses a key: ``Tab``, ``Enter``, ``Escape``, ``Space`` or an arrow."""
        code, text = _KEYS[key]
        about: Event = {
            "key": text or key,
            "code": key,
            "windowsVirtualKeyCode": code,
            "modifiers": _SHIFT if shift else 0,
        }
        if text == "\r":
            about["key"] = key
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)
        self.settle()

    def write(self, text: str) -> None:
        """Puts text where the cursor is."""
        self.call("Input.insertText", text=text)

    def settle(self) -> None:
        """Waits until what was just done is drawn."""
        frame = "requestAnimationFrame"
        with suppress(CallFailed):  # the page was left: what comes next is waited for by its own means
            self.evaluate(f"new Promise(done => {frame}(() => {frame}(() => done())))")

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Gives the window another size, in CSS pixels; a phone has two dots a pixel, and touch."""
        dots = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=dots, mobile=phone
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.settle()

    def prefer(self, scheme: Scheme, *, still: bool = False) -> None:
        """Has the user prefer a colour scheme, and perhaps less motion."""
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce" if still else "no-preference"}
        listed = [{"name": name, "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=listed)
        self.settle()

    def screenshot(self, path: Path, *, whole: bool = False) -> Image.Image:
        """The window as it looks, or the whole page, as RGB.

        Args:
            path: where the PNG is kept, for people.
            whole: also what would have to be scrolled to.
        """
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))
        with Image.open(path) as image:
            return image.convert("RGB")

    def spoken(self) -> list[Spoken]:
        """What a screen reader is told, in the order of the page; what it leaves out is not in it."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [_spoken(node) for node in nodes if not node["ignored"]]

    def _hear(self, method: str, event: Event) -> None:
        match method:
            case "Page.lifecycleEvent" if event["name"] == "load":
                self._loaded.add(event["loaderId"])
            case "Network.requestWillBeSent":
                self.requests.append(event["request"]["url"][:MOST_CHARACTERS])
            case "Runtime.consoleAPICalled" if event["type"] in ("error", "warning", "assert"):
                said = " ".join(str(value.get("value", value.get("description"))) for value in event["args"])
                self.problems.append(f"console.{event['type']}: {said}")
            case "Runtime.exceptionThrown":
                thrown = event["exceptionDetails"]
                self.problems.append(f"exception: {thrown.get('exception', {}).get('description', thrown['text'])}")
            case "Log.entryAdded" if event["entry"]["level"] in ("error", "warning"):
                self.problems.append(f"{event['entry']['source']}: {event['entry']['text']}")


def _spoken(node: Event) -> Spoken:
    properties = {item["name"]: item["value"].get("value") for item in node.get("properties", ())}
    return Spoken(node["role"]["value"], str(node.get("name", {}).get("value", "")), properties)
