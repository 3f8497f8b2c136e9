"""Prefect's UI as a person uses it."""

from __future__ import annotations

import json

from tests.browser.page import Page
from tests.browser.protocol import NothingCame
from tests.commands import ROOT
from tests.waiting import PATIENTLY, wait_for

TRIES = 3
SCREENSHOTS = ROOT / ".darkroom" / "screenshots"
_FIELD = """
(name => {
  const names = [name, name + " (Optional)"];
  let at = [...document.querySelectorAll("label, span")].find(element => names.includes(element.textContent.trim()));
  while (at && !at.querySelector("textarea")) at = at.parentElement;
  return at && at.querySelector("textarea");
})
"""
_BUTTONS = "[...document.querySelectorAll('button')]"


class PrefectUi:
    """The pages of a Prefect server.

    Args:
        page: to open them in.
        url: the server's.
        topic: what the names of the pictures begin with.
    """

    def __init__(self, page: Page, url: str, topic: str) -> None:
        self.page = page
        self._url = url
        self._topic = topic
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def start(self, deployment: str, **values: str) -> None:
        """Fills in a deployment's form and sends it.

        Args:
            deployment: its id.
            values: what goes into the fields of these names; the others stay as they are.
        """
        self.page.open(f"{self._url}/deployments/deployment/{deployment}/run")
        self.page.wait_for("textarea")
        for name, value in values.items():
            self._fill(name, value)
        self._keep("form")
        for _ in range(TRIES - 1):  # a form that its server has not taken stays, and another press sends it
            try:
                return self._submit()
            except NothingCame:
                self._keep("form-not-taken")
        self._submit()

    def _submit(self) -> None:
        self.page.evaluate(f"{_BUTTONS}.find(button => button.textContent.trim() === 'Submit')?.click()")
        self.page.wait_for("#runs")

    def _fill(self, name: str, value: str) -> None:
        field = f"{_FIELD}({json.dumps(name)})"
        wait_for(lambda: self.page.evaluate(f"!!{field}"), f"the field {name}")
        self.page.evaluate(f"(field => {{ field.focus(); field.select(); }})({field})")
        self.page.write(value)
        self.page.settle()

    def flow_run(self, flow_run: str, *wanted: str) -> None:
        """Opens a flow run with the list of its artifacts, and waits for lines that it must show."""
        self.page.open(f"{self._url}/runs/flow-run/{flow_run}")
        self._shows("flow-run", wanted, tab="#artifacts")

    def artifact(self, artifact: str, name: str, *wanted: str) -> None:
        """Opens an artifact, and waits for lines that it must show.

        Args:
            artifact: its id.
            name: what the picture is called.
            wanted: the lines.
        """
        self.page.open(f"{self._url}/artifacts/artifact/{artifact}")
        self._shows(name, wanted)

    def _shows(self, name: str, wanted: tuple[str, ...], tab: str = "") -> None:
        """Waits for lines, and opens a tab until they are there: one that is drawn anew forgets that it was opened."""

        def missing() -> set[str]:
            if tab:
                self.page.evaluate(f"document.querySelector('{tab}')?.click()")
            return set(wanted) - set(str(self.page.evaluate("document.body.innerText")).splitlines())

        try:
            wait_for(lambda: not missing(), f"{', '.join(wanted)} to be shown", timeout=30, pause=PATIENTLY)
        finally:
            self._keep(name)

    def _keep(self, name: str) -> None:
        self.page.screenshot(SCREENSHOTS / f"{self._topic}-{name}.png")
