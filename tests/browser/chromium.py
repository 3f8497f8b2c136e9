"""Starting and ending a headless Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.browser.page import Page
from tests.browser.protocol import BrowserGone, CallFailed, Connection, NothingCame
from tests.waiting import wait_for

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = f"no Chromium is installed (none of {', '.join(NAMES)} is on the PATH)"
_FLAGS = (
    "--headless",
    "--remote-debugging-port=0",
    # Only pages of ours are opened, and containers often forbid the sandbox.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    # Nothing but what the page itself asks for goes out.
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-quic",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    "--no-proxy-server",
)
_START_SECONDS = 60.0
_END_SECONDS = 15.0


def find_chromium() -> str | None:
    """The browser's program, or ``None`` where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """A running browser.

    Attributes:
        pid: of its first process.
    """

    def __init__(self, connection: Connection, pid: int) -> None:
        self._connection = connection
        self.pid = pid

    @contextmanager
    def page(self, width: int = 1200, height: int = 900) -> Iterator[Page]:
        """A fresh page with cookies and storage of its own, of that many CSS pixels, for as long as it is wanted."""
        context = self._connection.call("Target.createBrowserContext")["browserContextId"]
        try:
            target = self._connection.call("Target.createTarget", url="about:blank", browserContextId=context)
            found = self._connection.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            session = found["sessionId"]
            page = Page(self._connection, session)
            page.resize(width, height)
            yield page
            self._connection.forget(session)
        finally:
            self._connection.call("Target.disposeBrowserContext", browserContextId=context)


@contextmanager
def running_browser(program: str, folder: Path) -> Iterator[Browser]:
    """A browser for as long as it is wanted; it is gone afterwards, with all its processes.

    Args:
        program: what :func:`find_chromium` found.
        folder: where it keeps its profile; made.
    """
    folder.mkdir(parents=True)
    with (folder / "chromium.log").open("wb") as log:
        # A group of its own, so that what the browser starts can be ended with it.
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        connection = Connection(_address(folder / "profile" / "DevToolsActivePort", process))
        try:
            yield Browser(connection, process.pid)
        finally:
            _ask_to_end(connection)
    finally:
        _end(process)


def _address(file: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the browser listens; it writes the port and the path, a line each."""

    def look() -> list[str]:
        assert process.poll() is None, f"Chromium ended with {process.returncode}"
        lines = file.read_text().split() if file.exists() else []
        return lines if len(lines) == 2 else []

    port, path = wait_for(look, "Chromium to listen", _START_SECONDS)
    return f"ws://127.0.0.1:{port}{path}"


def _ask_to_end(connection: Connection) -> None:
    # It may have gone already, go before it answers, or be too ill to hear; what is left of it is killed.
    with suppress(BrowserGone, CallFailed, NothingCame):
        connection.call("Browser.close", timeout=_END_SECONDS)
    connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
