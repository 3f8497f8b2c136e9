"""What platforms' notifications mean for the runs here; all that a receiver of them needs of the pipeline.

Prefect takes seconds to import, so nothing here imports it at the top: what is wrong is told before.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flows.prefect_config import check_api, configured_api_url
from tasks.core.errors import BadInput, DarkroomError
from tasks.core.identity import remote_id
from tasks.core.redaction import redact
from tasks.core.settings import Settings, load_settings
from tasks.core.tokens import RunTokens
from tasks.steps.reaping import Outcome as Outcome
from tasks.steps.runs import runs_folder

JOB_ENDED = "darkroom.job.ended"
INGEST_TOLD = "darkroom.ingest.told"


class NotConfigured(Exception):
    """What a receiver needs is missing; says in one line what to change."""


class TryAgain(Exception):
    """Nothing could be done yet; says why in one line, without secrets."""


class NotifiedRuns:
    """The runs that notifications are for, as the environment says.

    Args:
        runs: where they lie. Empty: DARKROOM_RUNS, or ./runs

    Raises:
        NotConfigured: the secret or Prefect's API is missing, or the place of the runs is none.
    """

    def __init__(self, runs: str = "") -> None:
        try:
            self._settings = load_settings()
            self._tokens = _tokens(self._settings)
            self._api = _prefect_api()
            self._place = runs or self._settings.runs
            runs_folder(self._place, self._settings)
        except DarkroomError as error:
            raise NotConfigured(redact(str(error))) from None

    @property
    def home(self) -> Path:
        """The folder for what is kept on this machine."""
        return self._settings.home

    def allows(self, key: str, token: str) -> bool:
        """Whether a token is the one for the run of that key; there need not be such a run."""
        return self._tokens.check(key, token)

    def job_of(self, key: str) -> str:
        """The id of a run's job."""
        return remote_id(key)

    def follow_up(self, key: str) -> Outcome:
        """Acts on the claim that a run's job has ended, after asking the platform whether it is true.

        Raises:
            TryAgain: it could not be asked, or the answer could not be acted on.
        """
        from flows.reaping import follow_up

        try:
            return follow_up(key, self._settings, self._place)
        except DarkroomError as error:
            raise TryAgain(redact(str(error))) from None

    def tell(self, event: str, key: str, payload: dict[str, Any]) -> None:
        """Emits one of Prefect's events about a run.

        Args:
            event: :data:`JOB_ENDED` or :data:`INGEST_TOLD`.
            key: the run's key.
            payload: what was notified.

        Raises:
            TryAgain: Prefect's server does not answer; it would have lost the event.
        """
        from flows.reaping import tell_prefect

        try:
            check_api(self._api)
        except BadInput as error:
            raise TryAgain(str(error)) from None
        tell_prefect(event, key, payload)


def _tokens(settings: Settings) -> RunTokens:
    if settings.webhook_secret is None:
        raise BadInput("DARKROOM_WEBHOOK_SECRET is not set: set it to what the workers have, 16 characters or more")
    return RunTokens(settings.webhook_secret)


def _prefect_api() -> str:
    api = configured_api_url(os.environ, Path.cwd())
    if not api:
        raise BadInput("no Prefect API is configured: set PREFECT_API_URL to the server whose flow runs are suspended")
    return api
