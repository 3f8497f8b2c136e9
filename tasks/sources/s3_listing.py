"""One page of a bucket's listing, read from S3's XML.

botocore's own parser takes five times the CPU for it, so a page is read before botocore looks at it; requests,
signatures, retries and errors stay botocore's.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from botocore.parsers import ResponseParserError

from tasks.sources.base import MediaObject

PAGE = "DarkroomPage"
"""Where an answer of the client holds its page."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one request listed.

    Attributes:
        objects: in the store's order.
        folders: common prefixes, each with the ``/`` it ends in.
        following: token of the next page, or ``None`` after the last one.
    """

    objects: list[MediaObject] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    following: str | None = None


def read_pages_early(client: Any) -> None:
    """Has ``client`` answer ``list_objects_v2`` with a :class:`Page` under :data:`PAGE`, and little else."""
    client.meta.events.register("before-parse.s3.ListObjectsV2", _read_early)


def _read_early(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    if response_dict["status_code"] != 200:
        return
    try:
        page = parse_page(response_dict["body"])
    except ValueError as error:
        raise ResponseParserError("a listing that is not S3's") from error
    if page is not None:
        customized_response_dict[PAGE] = page
        response_dict["body"] = b"<ListBucketResult/>"


def parse_page(body: bytes) -> Page | None:
    """The page in a ``ListBucketResult``; ``None`` if ``body`` is anything else.

    An object's etag is no checksum: it is the MD5 of the content only for what was uploaded in one piece and not
    encrypted with a key of the customer's, which a listing does not tell.

    Raises:
        ValueError: a field does not hold what S3 puts there.
    """
    try:
        root = ET.fromstring(body)  # noqa: S314 - from the store itself; expat bounds the growth of entities
    except ET.ParseError:
        return None
    if not root.tag.endswith("ListBucketResult"):
        return None
    space = root.tag.removesuffix("ListBucketResult")
    decoded: Callable[[str], str] = unquote_plus if root.findtext(f"{space}EncodingType") == "url" else str
    return Page(
        _objects(root, space, decoded),
        [decoded(prefix.text or "") for prefix in root.iterfind(f"{space}CommonPrefixes/{space}Prefix")],
        root.findtext(f"{space}NextContinuationToken") or None,
    )


def _objects(root: ET.Element, space: str, decoded: Callable[[str], str]) -> list[MediaObject]:
    key, size, etag, modified = (f"{space}{name}" for name in ("Key", "Size", "ETag", "LastModified"))
    objects = []
    for entry in root.iterfind(f"{space}Contents"):
        text = entry.findtext
        objects.append(
            MediaObject(
                decoded(text(key, "")),
                int(text(size, "")),
                text(etag, "").strip('"') or None,
                _moment(text(modified, "")),
            )
        )
    return objects


def _moment(text: str) -> datetime | None:
    """A time as S3 writes it (``2026-09-15T12:00:00.000Z``), in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
