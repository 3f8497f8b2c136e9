import asyncio
import socket
from threading import Event

import pytest

from deployments.batch_server.remote.failures import Transient, UnsafeUrl
from deployments.batch_server.remote.guard import AddressGuard, Lookup
from deployments.batch_server.remote.hosts import AllowedHosts
from deployments.batch_server.remote.targets import parse_target

PUBLIC, OTHER_PUBLIC = "93.184.216.34", "2606:4700::1111"


def addresses(url: str, lookup: Lookup, *allowed: str, timeout: float = 5) -> list[str]:
    guard = AddressGuard(AllowedHosts.parse(allowed), lookup, timeout)
    return asyncio.run(guard.addresses(parse_target(url)))


def gives(*found: str) -> Lookup:
    return lambda host: list(found)


def never(host: str) -> list[str]:
    raise AssertionError(f"{host} was looked up")


def test_public_host_gives_all_its_addresses() -> None:
    assert addresses("https://a.example/x", gives(PUBLIC, OTHER_PUBLIC)) == [PUBLIC, OTHER_PUBLIC]


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        [PUBLIC, "10.0.0.1"],
        ["::1", PUBLIC],
        ["::ffff:93.184.216.34"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["fe80::1%eth0"],
        ["nonsense"],
    ],
)
def test_host_with_one_address_that_is_not_public_is_unsafe(found: list[str]) -> None:
    with pytest.raises(UnsafeUrl, match=r"^Untrusted domain found: https://a.example/x \(its address is not public"):
        addresses("https://a.example/x?sig=secret", gives(*found))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "0.0.0.0"])
def test_address_in_a_url_is_judged_without_a_lookup(host: str) -> None:
    with pytest.raises(UnsafeUrl):
        addresses(f"https://{host}/x", never)


@pytest.mark.parametrize(
    ("url", "reason"), [("http://a.example/x", "plain http"), ("https://a.example:8443/x", "ports other than 443")]
)
def test_public_host_over_http_or_on_another_port_is_unsafe(url: str, reason: str) -> None:
    with pytest.raises(UnsafeUrl, match=reason):
        addresses(url, gives(PUBLIC))
    assert addresses(url, gives(PUBLIC), "a.example") == [PUBLIC]


def test_allowed_name_opens_its_addresses_and_no_other_name() -> None:
    url = "http://minio.local:9000/x"
    assert addresses(url, gives("10.0.0.7", "::1"), "minio.local") == ["10.0.0.7", "::1"]
    for other in ("http://other.local:9000/x", "http://10.0.0.7:9000/x", "http://a.minio.local:9000/x"):
        with pytest.raises(UnsafeUrl):
            addresses(other, gives("10.0.0.7"), "minio.local")


def test_allowed_network_opens_its_addresses_by_whatever_name() -> None:
    for url in ("http://any.example:9000/x", "http://10.0.0.7:9000/x"):
        assert addresses(url, gives("10.0.0.7"), "10.0.0.0/8") == ["10.0.0.7"]
    with pytest.raises(UnsafeUrl):
        addresses("http://any.example/x", gives("10.0.0.7", "192.168.0.1"), "10.0.0.0/8")
    with pytest.raises(UnsafeUrl, match="plain http"):
        addresses("http://any.example/x", gives("10.0.0.7", PUBLIC), "10.0.0.0/8")
    assert addresses("https://any.example/x", gives("10.0.0.7", PUBLIC), "10.0.0.0/8") == ["10.0.0.7", PUBLIC]


def early(url: str, *allowed: str) -> None:
    AddressGuard(AllowedHosts.parse(allowed), never, 1).check_early(parse_target(url))


@pytest.mark.parametrize("url", ["https://10.0.0.7/x", "http://a.example/x", "https://a.example:8443/x"])
def test_what_needs_no_lookup_is_refused_early(url: str) -> None:
    with pytest.raises(UnsafeUrl, match="--allow-host"):
        early(url)
    early(url, "10.0.0.0/8", "a.example")
    early("https://a.example/x")


def test_name_that_may_lie_in_an_opened_network_passes_early() -> None:
    early("http://a.example:9000/x", "10.0.0.0/8")


def unknown(host: str) -> list[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("lookup", [unknown, gives()])
def test_host_that_is_not_known_may_be_tried_again(lookup: Lookup) -> None:
    with pytest.raises(Transient, match=r"https://a.example/x: its host is not known"):
        addresses("https://a.example/x?sig=secret", lookup)


def test_lookup_that_hangs_holds_nobody_up() -> None:
    answered = Event()

    def hang(host: str) -> list[str]:
        answered.wait(20)
        return [PUBLIC]

    with pytest.raises(Transient):
        addresses("https://a.example/x", hang, timeout=0.05)
    answered.set()
