"""Reading request bodies: never more than a limit, and only once the guards have let the request pass.

FastAPI reads a declared body before it looks at the key, and holds all of it; so no route declares one.
"""

import json
from collections.abc import AsyncIterator
from contextlib import nullcontext
from threading import Lock
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from deployments.batch_server.refusals import BadRequest, TooLarge
from tasks.roboflow_api.models import MAX_REFERENCES

MAX_JSON_BYTES = 8 * 1024 * 1024
"""Far above any workflow's definition."""
LARGE_BYTES = 1024 * 1024
"""From here on one body is parsed at a time: what comes of it takes a multiple of its bytes."""
MOST_VALUES = 30 * MAX_REFERENCES
"""Brackets and commas in a JSON text: many times what its largest request has, in names and URLs too."""
_LARGE = Lock()


async def limited_pieces(request: Request, limit: int, what: str) -> AsyncIterator[bytes]:
    """The pieces of a body as they come.

    Args:
        request: Whose body.
        limit: Most bytes that are taken.
        what: What the body is, for messages: `the archive`.

    Raises:
        TooLarge: It is longer.
        BadRequest: The client went away before its end.
    """
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > limit:
                raise TooLarge(f"{what} is over {limit} bytes, the most that is taken: make it smaller")
            yield piece
    except ClientDisconnect:
        raise BadRequest(f"{what} did not arrive whole: the connection ended") from None


async def read_limited(request: Request, limit: int, what: str) -> bytes:
    """A whole body; arguments and errors as for `limited_pieces`."""
    body = bytearray()
    async for piece in limited_pieces(request, limit, what):
        body += piece
    return bytes(body)


async def read_json(request: Request) -> Any:
    """The value of a JSON body.

    Raises:
        BadRequest: It is no JSON, holds too many values or what could not be written back as JSON in UTF-8.
        TooLarge: It is over 8 MiB.
    """
    return await run_in_threadpool(_parse_strictly, await read_limited(request, MAX_JSON_BYTES, "the JSON body"))


async def read_json_if_any(request: Request) -> Any:
    """The value of a JSON body, or `None` where there is none or it is null; errors as for `read_json`."""
    body = await read_limited(request, MAX_JSON_BYTES, "the JSON body")
    return await run_in_threadpool(_parse_strictly, body) if body else None


def _parse_strictly(body: bytes) -> Any:
    content = parse_json(body)
    try:
        # Half a surrogate pair can be read as an escape, and would then spoil every answer that holds it.
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _unusable(error) from None
    return content


def parse_json(body: bytes) -> Any:
    """The value of a JSON text, whose strings may hold what is not UTF-8.

    Raises:
        BadRequest: It is no JSON, or holds too many values.
    """
    if sum(map(body.count, (b"[", b"{", b","))) > MOST_VALUES:
        raise BadRequest("the body holds more values than any request has")
    try:
        with _LARGE if len(body) > LARGE_BYTES else nullcontext():
            return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _unusable(error) from None


def _unusable(error: Exception) -> BadRequest:
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return BadRequest(f"the body is not JSON that can be used: {reason}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


JsonBody = Annotated[Any, Depends(read_json)]
"""The value of the request's JSON body."""
OptionalJsonBody = Annotated[Any, Depends(read_json_if_any)]
"""The value of the request's JSON body, `None` where it has none."""
