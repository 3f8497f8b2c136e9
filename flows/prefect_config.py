"""Which Prefect API is configured, found without importing Prefect, which reads its settings at import."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from dotenv import dotenv_values

from tasks.core.errors import BadInput
from tasks.core.redaction import redact

CHECK_SECONDS = 10.0


def configured_api_url(environment: Mapping[str, str], folder: Path) -> str | None:
    """The API URL that Prefect, started in ``folder``, would use; found without importing Prefect.

    Follows Prefect's order: environment, ``.env``, ``prefect.toml``, ``pyproject.toml``, active profile.
    """
    local = {name: value for name, value in dotenv_values(folder / ".env").items() if value}
    settings = {**local, **environment}
    return (
        settings.get("PREFECT_API_URL")
        or _dig(_toml(folder / "prefect.toml"), "api", "url")
        or _dig(_toml(folder / "pyproject.toml"), "tool", "prefect", "api", "url")
        or _profile(settings, folder).get("PREFECT_API_URL")
        or None
    )


def _profile(settings: Mapping[str, str], folder: Path) -> Mapping[str, Any]:
    """The settings of the active profile."""
    profiles = _toml(_profiles_file(settings, folder))
    chosen = _dig(profiles, "profiles", settings.get("PREFECT_PROFILE") or profiles.get("active") or "")
    if isinstance(chosen, dict):
        return chosen
    templates = _toml(_profile_templates())
    default = _dig(templates, "profiles", str(templates.get("active")))
    return default if isinstance(default, dict) else {}


def _profiles_file(settings: Mapping[str, str], folder: Path) -> Path:
    if path := (
        settings.get("PREFECT_PROFILES_PATH")
        or _dig(_toml(folder / "prefect.toml"), "profiles_path")
        or _dig(_toml(folder / "pyproject.toml"), "tool", "prefect", "profiles_path")
    ):
        return Path(path)
    if prefect_home := settings.get("PREFECT_HOME"):
        return Path(prefect_home).expanduser() / "profiles.toml"
    own = Path("~/.prefect/profiles.toml").expanduser()
    return own if own.exists() else _profile_templates()


def _profile_templates() -> Path:
    """The profiles that come with Prefect."""
    package = importlib.util.find_spec("prefect")
    assert package is not None and package.origin is not None
    return Path(package.origin).parent / "settings" / "profiles.toml"


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BadInput(f"{file} is not valid TOML ({error}): correct it") from None


def _dig(table: Any, *keys: str) -> Any:
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table


def check_api(url: str) -> None:
    """Makes sure that a Prefect API answers at ``url``.

    Raises:
        BadInput: it does not; the message names the URL without credentials.
    """
    shown = redact(url)
    advice = "correct PREFECT_API_URL, or unset it to use a managed server"
    try:
        answer = httpx.get(f"{url.rstrip('/')}/health", timeout=CHECK_SECONDS, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL):
        raise BadInput(f"the Prefect API at {shown} cannot be reached: start it, {advice}") from None
    # A server that wants credentials answers, and Prefect has its own words for wrong ones.
    if answer.status_code not in (401, 403) and (answer.status_code != 200 or answer.text.strip() != "true"):
        raise BadInput(
            f"no Prefect API at {shown} (HTTP {answer.status_code}; its URL ends in /api as a rule): {advice}"
        )
