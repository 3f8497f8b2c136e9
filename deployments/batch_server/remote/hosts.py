"""Hosts and addresses: how they are written, which are public, which the administrator opened."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PUBLIC_V6 = IPv6Network("2000::/3")
_NEVER_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # protocol assignments, with Teredo, which holds an IPv4 address
        "2002::/16",  # 6to4, likewise
        "3fff::/20",  # documentation
    )
)


def normal_host(text: str) -> str:
    """A host in the one form that is compared, resolved and sent.

    Args:
        text: A name, perhaps international, or an address, without brackets.

    Raises:
        ValueError: It is neither, or an address in a form that programs read differently (`0x7f000001`, `127.1`).
    """
    if ":" in text:
        if "%" in text:
            raise ValueError("an address with a zone belongs to one network card")
        return str(IPv6Address(text))
    try:
        name = text.encode("idna").decode().lower().removesuffix(".")
    except UnicodeError:
        raise ValueError("its host is not a name") from None
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("its host is not a name")
    return str(IPv4Address(name)) if _NUMBER.fullmatch(labels[-1]) else name


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet and to one machine there.

    IPv6 addresses that carry an IPv4 address (mapped, 6to4, NAT64, Teredo) are not public, wherever they lead.
    """
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    if isinstance(address, IPv6Address) and address not in _PUBLIC_V6:
        return False
    return not any(address in network for network in _NEVER_PUBLIC)


@dataclass(frozen=True)
class AllowedHosts:
    """What the administrator opened beyond the public internet."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, values: Iterable[str]) -> "AllowedHosts":
        """Read names, addresses and networks, such as `minio.local`, `127.0.0.1`, `[::1]`, `10.0.0.0/8`.

        Raises:
            ValueError: One is none of these; the message says which.
        """
        names, networks = set(), []
        for value in values:
            network = _network(value.removeprefix("[").removesuffix("]"))
            if network is not None:
                networks.append(network)
            else:
                names.add(_name(value))
        return cls(frozenset(names), tuple(networks))

    def has_name(self, host: str) -> bool:
        """Whether this very name was given."""
        return host in self.names

    def has_address(self, address: Address) -> bool:
        """Whether an address, or a network it lies in, was given."""
        return any(address in network for network in self.networks)


def parse_address(text: str) -> Address | None:
    """The address, or `None` where the text is a name; an address with a zone is none."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> Network | None:
    try:
        return None if "%" in text else ip_network(text)
    except ValueError:
        return None


def _name(value: str) -> str:
    try:
        return normal_host(value)
    except ValueError:
        raise ValueError(
            f"{value!r} is no host name, IP address or network: give one like minio.local, 127.0.0.1 or 10.0.0.0/8, "
            "without scheme and port"
        ) from None
