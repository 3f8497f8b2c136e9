"""Prefect's blocks by their names, read when they are needed, from Prefect's server."""

from __future__ import annotations

from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from pydantic import ValidationError

from tasks.blocks import RoboflowPlatform
from tasks.core.errors import BadInput, ConnectionFailed, DarkroomError, RequestRefused, ServiceBusy
from tasks.core.settings import PlatformLogin, Settings, load_settings


def flow_settings() -> Settings:
    """The settings of this process, which know what blocks hold.

    Raises:
        BadInput: a variable has a value that cannot be used.
    """
    return load_settings().with_blocks(platform_login)


def platform_login(name: str) -> PlatformLogin:
    """The login that the Roboflow Platform block of this name holds.

    Raises:
        BadInput: there is no such block, or it cannot be used.
        DarkroomError: Prefect's server does not answer, or refuses to tell.
    """
    document = read_block(RoboflowPlatform.get_block_type_slug(), name)
    if document is None:
        raise BadInput(
            f"Prefect has no Roboflow Platform block named {name!r}: make it with darkroom setup --block {name}, "
            "or in Prefect's UI, under Blocks"
        )
    try:
        return RoboflowPlatform.model_validate(document).login()
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        raise BadInput(f"block {name} cannot be used ({problem['loc'][0]}: {problem['msg']}): correct it") from None


def read_block(kind: str, name: str) -> dict[str, Any] | None:
    """The content of a block, secrets included, or ``None`` where there is none of that name.

    Args:
        kind: its type, as Prefect calls it.
        name: its name.

    Raises:
        DarkroomError: Prefect's server does not answer, or refuses to tell.
    """
    try:
        with get_client(sync_client=True) as client:
            return dict(client.read_block_document_by_name(name, kind, include_secrets=True).data)
    except ObjectNotFound:
        return None
    except PrefectHTTPStatusError as error:
        raise _refusal(f"{kind}/{name}", error.response.status_code) from None
    except httpx.HTTPError as error:
        raise ConnectionFailed(f"Prefect's server does not answer ({type(error).__name__})") from None


def _refusal(block: str, status: int) -> DarkroomError:
    """What it means that Prefect's server does not show a block."""
    said = f"Prefect's server does not show the block {block} (HTTP {status})"
    if status == httpx.codes.UNAUTHORIZED:
        advice = "set PREFECT_API_KEY, or PREFECT_API_AUTH_STRING where you host it yourself, to what it takes"
        return BadInput(f"{said}: {advice}", status=status)
    if status == httpx.codes.FORBIDDEN:
        return BadInput(f"{said}: use a key for Prefect that may read blocks and their secrets", status=status)
    if status in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS) or status >= 500:
        return ServiceBusy(f"{said}: try again later", status=status)
    return RequestRefused(f"{said}: check the name, and that the server is of this version of Prefect", status=status)
