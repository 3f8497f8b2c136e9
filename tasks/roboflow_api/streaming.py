"""Streamed GETs over connections that are kept.

They have a library of their own: many small files cost httpx five times the CPU time that they cost urllib3.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import LocationValueError
from urllib3.util import make_headers, parse_url

from tasks.core.redaction import RedactingFilter

logging.getLogger("urllib3.connectionpool").addFilter(RedactingFilter())  # it logs whole URLs at level DEBUG


class Streams:
    """GETs of which the body is read as it comes; safe to use from several threads.

    Args:
        connect: seconds to connect.
        read: seconds for each read.
        connections: most connections to a host; who wants one more waits.
        context: what servers and proxies have to prove.
        trust_env: whether proxies of the environment are used.
    """

    def __init__(
        self, *, connect: float, read: float, connections: int, context: ssl.SSLContext, trust_env: bool
    ) -> None:
        self._timeout = urllib3.Timeout(connect=connect, read=read)
        self._options: dict[str, Any] = {"maxsize": connections, "block": True, "ssl_context": context}
        self._routes: dict[tuple[str, str], urllib3.ProxyManager | urllib3.HTTPConnectionPool] = {}
        self._direct = urllib3.PoolManager(**self._options)
        proxies = getproxies() if trust_env else {}
        self._proxied = {
            scheme: self._through(url, context)
            for scheme in ("http", "https")
            if (url := proxies.get(scheme) or proxies.get("all"))
        }

    def open(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """The answer, its body unread; give it to :func:`leave` in the end.

        Raises:
            urllib3.exceptions.HTTPError: there is none.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            raise LocationValueError("not a URL") from None
        where = parts.scheme, parts.netloc
        if where not in self._routes:
            self._routes[where] = self._route(url)
        pools = self._routes[where]
        target = url if isinstance(pools, urllib3.ProxyManager) else f"{parts.path or '/'}?{parts.query}"
        return pools.urlopen(
            "GET", target, headers=headers, timeout=self._timeout, retries=False, redirect=False, preload_content=False
        )

    def _route(self, url: str) -> urllib3.ProxyManager | urllib3.HTTPConnectionPool:
        """What leads to a host; found once for each, as that takes as long as the request itself."""
        target = parse_url(url)
        if target.scheme not in ("http", "https") or not target.host:
            raise LocationValueError("not an http(s) URL")
        proxy = self._proxied.get(target.scheme)
        if proxy is None or proxy_bypass(target.netloc or ""):
            return self._direct.connection_from_host(target.host, target.port, target.scheme)
        return proxy

    def close(self) -> None:
        """Closes the connections."""
        for pools in (self._direct, *self._proxied.values()):
            pools.clear()

    def _through(self, url: str, context: ssl.SSLContext) -> urllib3.ProxyManager:
        proxy = parse_url(url if "://" in url else f"http://{url}")
        login = make_headers(proxy_basic_auth=unquote(proxy.auth)) if proxy.auth else None
        return urllib3.ProxyManager(proxy.url, proxy_headers=login, proxy_ssl_context=context, **self._options)


def leave(answer: urllib3.BaseHTTPResponse) -> None:
    """Gives the connection back: as it is where the body was read to its end, else closed."""
    answer.close()
    answer.release_conn()
