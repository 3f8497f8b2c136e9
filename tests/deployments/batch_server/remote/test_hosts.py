from ipaddress import ip_address

import pytest

from deployments.batch_server.remote.hosts import AllowedHosts, is_public, normal_host


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("my_bucket.s3-eu.example", "my_bucket.s3-eu.example"),
        ("93.184.216.34", "93.184.216.34"),
        ("\uff11\uff12\uff17.0.0.1", "127.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:127.0.0.1", "::ffff:7f00:1"),
    ],
)
def test_host_has_one_form(text: str, normal: str) -> None:
    assert normal_host(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "0x7f000001",
        "2130706433",
        "017700000001",
        "127.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "127.0.0.0x1",
        "1.2.3.4.5",
        "256.0.0.1",
        "a..b",
        "",
        "-a.example",
        "a b",
        "a@b",
        "a/b",
        "127.0.0.1%0a",
        "fe80::1%eth0",
        "::1%1",
        "x" * 64 + ".example",
        "a." * 130 + "example",
    ],
)
def test_host_that_can_be_read_in_two_ways_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normal_host(text)


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.9",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:127.0.0.1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "4000::1",
    ],
)
def test_address_that_is_not_one_public_machine_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "93.184.216.34", "52.216.0.1", "2606:4700::1111", "2a00:1450::1"])
def test_address_of_a_public_machine_is_public(text: str) -> None:
    assert is_public(ip_address(text))


def test_allowed_hosts_hold_exactly_what_was_named() -> None:
    allowed = AllowedHosts.parse(["MinIO.local", "127.0.0.1", "10.0.0.0/8", "[::1]", "fd00::/8"])
    assert allowed.has_name("minio.local")
    assert not allowed.has_name("a.minio.local")
    assert not allowed.has_name("127.0.0.1")
    inside = ["127.0.0.1", "10.255.0.1", "::1", "fd12::1"]
    outside = ["127.0.0.2", "11.0.0.1", "::2", "fe80::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1"]
    assert [allowed.has_address(ip_address(text)) for text in inside] == [True] * len(inside)
    assert [allowed.has_address(ip_address(text)) for text in outside] == [False] * len(outside)


@pytest.mark.parametrize(
    "value",
    ["http://minio.local", "minio.local:9000", "10.0.0.1/8", "10", "", "a b", "*.example", "::1%1", "fe80::%1/10"],
)
def test_allowed_host_that_is_none_of_these_is_said(value: str) -> None:
    with pytest.raises(ValueError, match="no host name, IP address or network"):
        AllowedHosts.parse([value])
