"""Requests to fetch files: read, and refused where they contradict themselves."""

import json
from dataclasses import dataclass
from typing import IO, Any, get_args
from uuid import uuid4

from deployments.batch_server.names import printable
from deployments.batch_server.refusals import BadRequest
from deployments.batch_server.remote.failures import UnsafeUrl
from deployments.batch_server.remote.targets import parse_target
from tasks.roboflow_api.models import MAX_REFERENCES, NotificationCategory, Reference

INGEST_STATUS, FILES_STATUS = get_args(NotificationCategory)
LONGEST_ID, LONGEST_URL = 200, 16 * 1024
LONGEST_NAME = 4096
"""Longer than any that is ingested, which is a matter of its file alone."""
LONGEST_LINE = 32 * 1024
"""Bytes in a line of a list: what is parsed takes up to fifty times as much."""


@dataclass(frozen=True)
class IngestRequest:
    """What is to be fetched into a batch, and who wants to hear of it."""

    batch_id: str
    display_name: str | None
    ingest_id: str
    references: tuple[Reference, ...]
    """Empty where a list of them is to be fetched first."""
    list_url: str | None
    notifications_url: str | None
    categories: tuple[str, ...]


def read_request(batch_id: str, display_name: str | None, body: Any) -> IngestRequest:
    """Read the JSON body of `bulk-upload/image-references`.

    Raises:
        BadRequest: It is not one, or asks for what cannot be.
    """
    if not isinstance(body, dict):
        raise BadRequest("the body is a JSON object with imageReferences or imageReferencesURL")
    references, list_url = body.get("imageReferences"), body.get("imageReferencesURL")
    if (references is None) == (list_url is None):
        raise BadRequest("give either imageReferences or imageReferencesURL")
    return IngestRequest(
        batch_id,
        display_name,
        _ingest_id(body.get("ingestId")),
        check_references(references) if references is not None else (),
        _url(list_url, "imageReferencesURL") if list_url is not None else None,
        notifications_url(body.get("notificationsURL")),
        _categories(body.get("notificationCategories")),
    )


def check_references(entries: Any) -> tuple[Reference, ...]:
    """The references in a JSON value.

    Raises:
        BadRequest: It is no list of 1 to 20,000 objects with a name and a URL each.
    """
    if not isinstance(entries, list) or not entries:
        raise BadRequest("imageReferences is a list of objects with name and url, at least one")
    if len(entries) > MAX_REFERENCES:
        raise BadRequest(f"{len(entries)} references in one request and the limit is {MAX_REFERENCES}: send several")
    return tuple(_reference(f"imageReferences[{index}]", entry) for index, entry in enumerate(entries))


def parse_lines(file: IO[bytes]) -> tuple[Reference, ...]:
    """The references in a JSON Lines file, one `{"name", "url"}` a line.

    Raises:
        BadRequest: It does not hold 1 to 20,000 objects with a name and a URL each, or a line is over 32 KB.
    """
    references: list[Reference] = []
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise BadRequest(f"line {number} of the list is over {LONGEST_LINE} bytes")
        if not line.strip():
            continue
        if len(references) >= MAX_REFERENCES:
            raise BadRequest(f"the list holds more than {MAX_REFERENCES} references: make several lists")
        references.append(_reference(f"line {number} of the list", _parse_line(number, line)))
    if not references:
        raise BadRequest("the list holds no reference: at least one is needed")
    return tuple(references)


def _parse_line(number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise BadRequest(f"line {number} of the list is not JSON") from None


def notifications_url(value: Any) -> str | None:
    """The URL that wants to be told, if there is one.

    Raises:
        BadRequest: It is no URL that could be told anything; it is not repeated, for its path may be a secret.
    """
    if value is None:
        return None
    url = _url(value, "notificationsURL")
    try:
        parse_target(url)
    except UnsafeUrl as error:
        raise BadRequest(f"notificationsURL: {error.why}") from None
    return url


def _reference(where: str, entry: Any) -> Reference:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or len(entry["name"]) > LONGEST_NAME:
        raise BadRequest(f"{where} is no object with name and url")
    return Reference.model_construct(name=entry["name"], url=_url(entry.get("url"), f"{where}: url"))


def _url(value: Any, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_URL or printable(value) != value:
        raise BadRequest(f"{where} is no URL of 1 to {LONGEST_URL} characters")
    return value


def _ingest_id(value: Any) -> str:
    if value is None:
        return uuid4().hex
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID or printable(value) != value:
        raise BadRequest(f"ingestId is no text of 1 to {LONGEST_ID} characters")
    return value


def _categories(value: Any) -> tuple[str, ...]:
    if value is None or value == []:
        return (INGEST_STATUS,)
    if not isinstance(value, list) or not all(entry in (INGEST_STATUS, FILES_STATUS) for entry in value):
        raise BadRequest(f"notificationCategories is a list of {INGEST_STATUS} and {FILES_STATUS}")
    return tuple(dict.fromkeys(value))
