import pytest

from deployments.batch_server.remote.failures import UnsafeUrl
from deployments.batch_server.remote.targets import parse_target, shown_url


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("https://Example.com", "example.com", "/"),
        ("HTTPS://example.com:443/a", "example.com", "/a"),
        ("http://127.0.0.1:9000/b/c?x=1&y=%2F", "127.0.0.1:9000", "/b/c?x=1&y=%2F"),
        ("https://[2606:4700::1111]:8443/a#part", "[2606:4700::1111]:8443", "/a"),
        ("https://example.com/é b+c%20d/~(1).jpg?sig=a/b+c==", "example.com", "/%C3%A9%20b+c%20d/~(1).jpg?sig=a/b+c=="),
        ("https://example.com?sig=a", "example.com", "/?sig=a"),
    ],
)
def test_url_is_taken_apart(url: str, authority: str, path: str) -> None:
    target = parse_target(url)
    assert (target.authority, target.path) == (authority, path)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/a",
        "file:///etc/passwd",
        "//example.com/a",
        "example.com/a",
        "https:///a",
        "https://user@example.com/a",
        "https://user:pass@example.com/a",
        "https://example.com@127.0.0.1/a",
        "https://example.com\\@127.0.0.1/a",
        "https://127.0.0.1\t.example.com/a",
        "https://example.com/a\r\nX: y",
        "https://0x7f000001/a",
        "https://2130706433/a",
        "https://[fe80::1%25eth0]/a",
        "https://[::1/a",
        "https://example.com:port/a",
        "https://example.com:70000/a",
        "https://example.com/\ud800",
        "",
    ],
)
def test_url_that_is_none_or_can_be_read_in_two_ways_is_unsafe(url: str) -> None:
    with pytest.raises(UnsafeUrl, match="Untrusted domain found: "):
        parse_target(url)


def test_url_is_shown_without_query_user_and_unprintable_characters() -> None:
    assert parse_target("https://example.com/a.jpg?sig=secret#x").shown == "https://example.com/a.jpg"
    assert shown_url("https://user:secret@example.com/a\n.jpg?sig=secret") == "https://example.com/a.jpg"
    assert shown_url("https://example.com/a#secret?b") == "https://example.com/a"
    assert shown_url("http:/user:secret@example.com/a") == "http:/example.com/a"
    assert shown_url("https://user:se/cret@example.com/a") == "https://example.com/a"
    assert shown_url("user:secret@example.com/a@b") == "b"
    assert len(shown_url("https://" + "a" * 1000)) == 300


@pytest.mark.parametrize(
    "url", ["https://user:SECRET/x@example.com/", "https://user:SECRET@exa\u2100mple.com/", "http:/user:SECRET@h/"]
)
def test_password_in_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(UnsafeUrl) as raised:
        parse_target(url)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("/b", "https://example.com/b"),
        ("b?sig=1", "https://example.com/x/b"),
        ("//other.example/b", "https://other.example/b"),
        ("http://127.0.0.1/b", "http://127.0.0.1/b"),
    ],
)
def test_redirect_leads_on_from_where_it_was_met(location: str, shown: str) -> None:
    assert parse_target("https://example.com/x/a?sig=secret").follow(location).shown == shown


@pytest.mark.parametrize("location", ["https://[bad", "ftp://example.com/", "https://user@example.com/"])
def test_redirect_to_what_is_no_good_url_is_unsafe(location: str) -> None:
    with pytest.raises(UnsafeUrl):
        parse_target("https://example.com/x/a").follow(location)
