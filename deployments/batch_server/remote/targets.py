"""URLs, taken apart once, so that what is checked is what is used."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from deployments.batch_server.remote.failures import UnsafeUrl
from deployments.batch_server.remote.hosts import normal_host

PORTS = {"http": 80, "https": 443}
LONGEST_SHOWN = 300
NO_URL = "it is no URL that can be read"
"""In place of the library's words, which repeat what may be a password."""
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")
_USER = re.compile(r"^((?:[A-Za-z][A-Za-z0-9+.-]*:(?=/))?/*).*@", re.DOTALL)
"""Everything up to the last `@`, wherever the host should have begun."""
_KEPT = "%/:=&?~+!$,;'@()*[]|"


@dataclass(frozen=True)
class Target:
    """Where a request goes."""

    scheme: str
    host: str
    """In normal form; an IPv6 address without brackets."""
    port: int
    path: str
    """With the query, percent-encoded."""

    @property
    def origin(self) -> tuple[str, str, int]:
        """What connections are shared by."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """The `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL without its query, for messages."""
        return f"{self.root}{self.path.partition('?')[0]}"[:LONGEST_SHOWN]

    @property
    def root(self) -> str:
        """Scheme and host alone, for messages about URLs whose path may be a secret."""
        return f"{self.scheme}://{self.authority}"

    def follow(self, location: str) -> "Target":
        """Where a redirect leads; errors as for `parse_target`."""
        try:
            url = urljoin(f"{self.root}{self.path}", location)
        except ValueError:
            raise UnsafeUrl(shown_url(location), NO_URL) from None
        return parse_target(url)


def parse_target(url: str) -> Target:
    """Take a URL apart.

    Raises:
        UnsafeUrl: It is no http or https URL, holds a user name, or its host can be read in more than one way.
    """
    try:
        return _parse(url)
    except ValueError as error:
        raise UnsafeUrl(shown_url(url), str(error)) from None


def shown_url(url: str) -> str:
    """Any text that should be a URL, without query, user name and characters that do not print."""
    bare = re.split(r"[?#]", url, maxsplit=1)[0]
    return "".join(c for c in _USER.sub(r"\1", bare) if c.isprintable())[:LONGEST_SHOWN]


def _parse(url: str) -> Target:
    if _FORBIDDEN.search(url):
        raise ValueError("it holds characters that a URL cannot have")
    parts, port = _split(url)
    if parts.scheme not in PORTS:
        raise ValueError("only https is fetched")
    if "@" in parts.netloc:
        raise ValueError("it holds a user name")
    if not parts.hostname:
        raise ValueError("it has no host")
    path = parts.path or "/"
    query = f"?{parts.query}" if parts.query else ""
    host = normal_host(parts.hostname)
    return Target(parts.scheme, host, PORTS[parts.scheme] if port is None else port, quote(path + query, safe=_KEPT))


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:
        raise ValueError(NO_URL) from None
