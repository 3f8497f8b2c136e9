"""Errors of our own for whatever goes wrong with S3, and the region that a refusal tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import botocore.exceptions as lower

from tasks.core.errors import DarkroomError, local_fault
from tasks.core.redaction import redact
from tasks.sources import s3_outcomes as known

REGION_HEADER = "x-amz-bucket-region"
MOST_TEXT = 200
"""Characters of a library's or store's own text in a message."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where requests go, for messages.

    Attributes:
        bucket: its name.
        region: that requests are signed for.
        endpoint: URL of the store.
    """

    bucket: str
    region: str
    endpoint: str = "the store"


@contextmanager
def s3_errors(place: Place) -> Iterator[None]:
    """Turns whatever the libraries below raise in the block into an error of our own tree."""
    try:
        yield
    except lower.ClientError as error:
        raise from_answer(error, place) from error
    except tuple(known.EXCEPTIONS) as error:
        raise from_exception(error, place) from error
    except RuntimeError as error:
        if "still expired" not in str(error):  # all that botocore says when renewed credentials are no better
            raise
        raise _made(known.EXPIRED, place) from error
    except OSError as error:
        raise local_fault(error) from error


def from_answer(error: lower.ClientError, place: Place) -> DarkroomError:
    """The error for a refusal by the store, or by the service that was to give the credentials."""
    answer: dict[str, Any] = error.response
    told = answer.get("Error", {})
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code = str(told.get("Code", status))
    home = home_region(answer, place.region)
    return _made(
        _outcome(code, status, error.operation_name) if home is None else known.ELSEWHERE if home else known.SOMEWHERE,
        place,
        status=status,
        code=code,
        home=home,
        operation=error.operation_name,
        action=known.ACTIONS.get(error.operation_name),
        text=_one_line(str(told.get("Message", ""))),
    )


def from_exception(error: BaseException, place: Place) -> DarkroomError:
    """The error for what a library raised by itself; the closest base class in the table counts."""
    outcome = next(known.EXCEPTIONS[kind] for kind in type(error).__mro__ if kind in known.EXCEPTIONS)
    return _made(outcome, place, code=type(error).__name__, text=_one_line(str(error)))


def home_region(answer: Mapping[str, Any], region: str) -> str | None:
    """The region that a bucket lies in, where a refusal says that it is another than ``region``.

    Returns:
        ``""`` where the refusal does not say which; ``None`` for answers that are about something else.
    """
    error = answer.get("Error", {})
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    told: str = headers.get(REGION_HEADER) or error.get("Region") or ""
    code = error.get("Code")
    if code in known.REDIRECTS:
        return told
    return told if code in known.MISDIRECTED and told not in ("", region) else None


def refuse_redirects(client: Any) -> None:
    """Keeps ``client`` from following a bucket to its region: presigned URLs would still lead to the wrong one."""
    region = client.meta.region_name

    def refuse(response: tuple[Any, dict[str, Any]] | None, operation: Any, **_: Any) -> None:
        if response and home_region(response[1], region) is not None:
            raise lower.ClientError(response[1], operation.name)

    client.meta.events.register_first("needs-retry.s3", refuse)


def _outcome(code: str, status: int | None, operation: str) -> known.Outcome:
    outcome = known.ANSWERS.get(code)
    if operation not in known.ACTIONS and outcome in (None, known.NOT_ALLOWED):
        return known.NO_CREDENTIALS_GIVEN
    if code == "404":
        return known.GONE if operation == "GetObject" else known.NO_BUCKET
    if outcome is None:
        return known.BUSY if status in (408, 429) or (status or 0) >= 500 else known.REFUSED
    return outcome


def _made(outcome: known.Outcome, place: Place, status: int | None = None, **fields: str | None) -> DarkroomError:
    kind, message = outcome
    where = {"bucket": place.bucket, "region": place.region, "endpoint": place.endpoint}
    return kind(message.format_map({**where, **fields}), status=status)


def _one_line(text: str) -> str:
    line = " ".join(redact(text).split())
    return line if len(line) <= MOST_TEXT else f"{line[:MOST_TEXT]}…"
