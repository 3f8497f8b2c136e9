"""The browser as a pytest fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.chromium import MISSING, Browser, find_chromium, running_browser

__all__ = ["browser"]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests that ask for it."""
    program = find_chromium()
    if program is None:
        pytest.skip(MISSING)
    with running_browser(program, tmp_path_factory.mktemp("chromium") / "home") as started:
        yield started
