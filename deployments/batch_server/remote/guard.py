"""Which addresses the server may connect to: the rules against request forgery.

Public hosts are reached over https on port 443. What the administrator opened, a host by its name or a network by
its addresses, is reached over plain http and on other ports too. A host with several addresses must have every one of
them allowed, and a connection is made to an address that was checked, never to the name again.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from deployments.batch_server.remote.failures import UnknownHost, UnsafeUrl
from deployments.batch_server.remote.hosts import AllowedHosts, is_public, parse_address
from deployments.batch_server.remote.targets import Target

Lookup = Callable[[str], list[str]]
"""Gives the addresses of a name, or raises OSError; may block."""


def system_lookup(host: str) -> list[str]:
    """The addresses that the operating system knows for a name, in its order of preference."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class AddressGuard:
    """Resolves hosts and lets only allowed addresses pass."""

    def __init__(self, allowed: AllowedHosts, lookup: Lookup, timeout: float) -> None:
        self._allowed = allowed
        self._lookup = lookup
        self._timeout = timeout

    async def addresses(self, target: Target) -> list[str]:
        """The addresses that a target may be reached at, all of them checked.

        Raises:
            UnsafeUrl: One of them, the port or the scheme is not allowed.
            UnknownHost: The host cannot be resolved.
        """
        found = [target.host] if parse_address(target.host) else await self._resolve(target)
        self._check(target, found)
        return found

    def check_early(self, target: Target) -> None:
        """Refuse what needs no name service to be told; what passes may still be refused by `addresses`.

        Raises:
            UnsafeUrl: The address, the port or the scheme is not allowed.
        """
        if parse_address(target.host):
            self._check(target, [target.host])
        elif not self._allowed.networks and not self._allowed.has_name(target.host):
            _check_port(target)

    def _check(self, target: Target, found: list[str]) -> None:
        if self._allowed.has_name(target.host):
            return
        addresses = [parse_address(text) for text in found]
        opened = [address is not None and self._allowed.has_address(address) for address in addresses]
        if all(opened):
            return
        for address, is_open in zip(addresses, opened, strict=True):
            if address is None or not (is_open or is_public(address)):
                raise UnsafeUrl(target.shown, "its address is not public: the server's --allow-host opens a host")
        _check_port(target)

    async def _resolve(self, target: Target) -> list[str]:
        try:
            async with asyncio.timeout(self._timeout):
                found = await _in_thread(self._lookup, target.host)
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise UnknownHost(target.shown, target.host)
        return found


def _check_port(target: Target) -> None:
    if target.scheme != "https":
        raise UnsafeUrl(target.shown, "plain http is for hosts that the server's --allow-host opens")
    if target.port != 443:
        raise UnsafeUrl(target.shown, "ports other than 443 are for hosts that the server's --allow-host opens")


async def _in_thread(lookup: Lookup, host: str) -> list[str]:
    """Look a name up in a thread that nobody waits for when it hangs, not even the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[str]] = loop.create_future()

    def tell(found: list[str] | Exception) -> None:
        if future.done():
            return
        if isinstance(found, Exception):
            future.set_exception(found)
        else:
            future.set_result(found)

    def look() -> None:
        try:
            found: list[str] | Exception = lookup(host)
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiting task must hear of it
            found = error
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(tell, found)

    Thread(target=look, name=f"lookup {host}", daemon=True).start()
    return await future
