"""Requests to fetch files: read, and refused where they contradict themselves."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args
from uuid import uuid4

from deployments.batch_server.names import file_name_problem, printable
from deployments.batch_server.refusals import BadRequest
from deployments.batch_server.remote.failures import UnsafeUrl
from deployments.batch_server.remote.targets import parse_target
from tasks.roboflow_api.models import MAX_REFERENCES, NotificationCategory, Reference

INGEST_STATUS, FILES_STATUS = get_args(NotificationCategory)
LONGEST_ID, LONGEST_URL = 200, 16 * 1024


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
        BadRequest: It is no list of 1 to 20,000 objects with a good name of its own and a URL each.
    """
    if not isinstance(entries, list) or not entries:
        raise BadRequest("imageReferences is a list of objects with name and url, at least one")
    if len(entries) > MAX_REFERENCES:
        raise BadRequest(f"{len(entries)} references in one request and the limit is {MAX_REFERENCES}: send several")
    references = tuple(_reference(index, entry) for index, entry in enumerate(entries))
    seen: set[str] = set()
    for reference in references:
        if reference.name in seen:
            raise BadRequest(f"the name {reference.name!r} is there twice: names are unique in a batch")
        seen.add(reference.name)
    return references


def parse_lines(lines: Iterable[bytes]) -> tuple[Reference, ...]:
    """The references in a JSON Lines file, one `{"name", "url"}` a line; errors as for `check_references`."""
    entries: list[Any] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if len(entries) >= MAX_REFERENCES:
            raise BadRequest(f"the list holds more than {MAX_REFERENCES} references: make several lists")
        try:
            entries.append(json.loads(line))
        except (ValueError, RecursionError):
            raise BadRequest(f"line {number} of the list is not JSON") from None
    return check_references(entries)


def notifications_url(value: Any) -> str | None:
    """The URL that wants to be told, if there is one.

    Raises:
        BadRequest: It is no URL that could be told anything.
    """
    if value is None:
        return None
    url = _url(value, "notificationsURL")
    try:
        parse_target(url)
    except UnsafeUrl as error:
        raise BadRequest(f"notificationsURL: {error}") from None
    return url


def _reference(index: int, entry: Any) -> Reference:
    where = f"imageReferences[{index}]"
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise BadRequest(f"{where} is no object with name and url")
    problem = file_name_problem(entry["name"])
    if problem is not None:
        raise BadRequest(f"{where}: {problem} ({printable(entry['name'])[:100]!r})")
    return Reference.model_construct(name=entry["name"], url=_url(entry.get("url"), f"{where}.url"))


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
