"""What is checked of commands and variables of containers, where no container can be started."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prefect.cli import _app as prefect_cli
from prefect.settings.legacy import _get_valid_setting_names
from prefect.settings.models.root import Settings as PrefectSettings

from deployments.batch_server.__main__ import _parser as server_parser
from deployments.stack.__main__ import _parser as stack_parser
from deployments.webhooks.__main__ import _parser as webhooks_parser
from tasks.core.settings import Settings

PARSERS: dict[tuple[str, ...], Callable[[list[str]], object]] = {
    ("darkroom", "server"): lambda words: server_parser().parse_args(words),
    ("darkroom", "webhooks"): lambda words: webhooks_parser().parse_args(words),
    ("python", "-m", "deployments.stack"): lambda words: stack_parser().parse_args(words),
    ("prefect",): lambda words: prefect_cli._app.parse_args(words, print_error=False, exit_on_error=False),
}
OUTSIDE = {"PATH", "HOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "DO_NOT_TRACK"}


def check_command(words: list[str]) -> None:
    """Sees that a container's command is one of ours or Prefect's, and that its parser takes the arguments."""
    (start,) = [start for start in PARSERS if tuple(words[: len(start)]) == start]
    PARSERS[start](words[len(start) :])


def unknown_variables(names: Iterable[str]) -> set[str]:
    """Variables that are settings of neither the project nor Prefect."""
    ours = {str(field.validation_alias) for field in Settings.model_fields.values()}
    return set(names) - ours - _get_valid_setting_names(PrefectSettings) - OUTSIDE
