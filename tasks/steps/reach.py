"""Whether the platform can fetch a source's files itself, or they have to be uploaded from here."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from tasks.core.errors import BadInput
from tasks.core.request import AskedTransfer
from tasks.sources.base import MediaObject, ReferenceSource, Source
from tasks.steps.context import Transfer

HTTPS = 443
PROBE = MediaObject("probe", 0, None, None)


class Way(NamedTuple):
    """How files get to the platform, and why, where that needs saying."""

    transfer: Transfer
    note: str = ""


def choose_transfer(asked: AskedTransfer, source: Source, allowed_hosts: Iterable[str] = ()) -> Way:
    """How the files of ``source`` get to the platform.

    Args:
        asked: what the user wants; ``auto`` takes references wherever the platform can be expected to reach them.
        source: where the files lie.
        allowed_hosts: hosts besides public ones that the platform is known to fetch from.

    Raises:
        BadInput: the source cannot be transferred in the way that is asked for.
    """
    if not isinstance(source, ReferenceSource):
        if asked == "reference":
            raise BadInput(f"no platform can fetch from {source.url} by itself: leave out --transfer reference")
        return Way("upload")
    if source.only_by_reference:
        if asked == "upload":
            raise BadInput(f"{source.url} holds references, which the platform fetches: leave out --transfer upload")
        return Way("reference")
    if asked != "auto":
        return Way(asked)
    hindrance = _hindrance(source, frozenset(allowed_hosts))
    if hindrance:
        return Way("upload", f"{hindrance}, so files go through this machine (--transfer reference insists)")
    return Way("reference")


def _hindrance(source: ReferenceSource, allowed_hosts: frozenset[str]) -> str:
    """Why the platform would not get the files, or nothing."""
    endpoint = source.endpoint()
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    public = parts.scheme == "https" and parts.port in (None, HTTPS) and _looks_public(host)
    if not public and not any(_allows(allowed, host) for allowed in allowed_hosts):
        return f"{endpoint} is no public https address"
    try:
        list(source.presign([PROBE], 60))
    except BadInput as error:
        return str(error)
    return ""


def _allows(allowed: str, host: str) -> bool:
    """Whether an entry, a name, an address or a network, stands for that host."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(allowed, strict=False)
    except ValueError:
        return allowed.lower().rstrip(".") == host.rstrip(".")


def _looks_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".internal", ".localhost"))
