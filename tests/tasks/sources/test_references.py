import json
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tasks.core.errors import BadInput, ConnectionFailed, ServiceBusy
from tasks.sources.base import MediaObject, ReferenceSource, SourceChanged
from tasks.sources.references import References, open_references
from tests.scripted import Reply, Scripted, scripted_server

SIGNED = "https://photos.example/{}?X-Amz-Date=20260915T120000Z&X-Amz-Expires=3600&X-Amz-Signature=abc"
SIGNED_AT = 1_789_473_600.0


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as running:
        yield running


def lines(*names: str, url: str = SIGNED) -> str:
    return "".join(json.dumps({"name": name, "url": url.format(quote(name))}) + "\n" for name in names)


def listed(folder: Path, text: str | bytes) -> References:
    path = folder / "refs.jsonl"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return open_references(str(path), now=lambda: SIGNED_AT)


def fetched(url: str, pauses: list[float] | None = None) -> References:
    return open_references(url, sleep=(pauses if pauses is not None else []).append)


def keys(source: References) -> list[str]:
    return [item.key for item in source.list()]


def count_parsed(source: References, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Grows by one for each line that the source reads from now on."""
    parsed: list[bytes] = []
    parse = source._parse

    def counted(text: bytes, end: Any) -> Any:
        parsed.append(text)
        return parse(text, end)

    monkeypatch.setattr(source, "_parse", counted)
    return parsed


def test_list_gives_what_the_lines_name(tmp_path: Path) -> None:
    source = listed(tmp_path, lines("b.jpg", "day 1/ä.jpg", "a.jpg"))
    found = list(source.list())
    assert [item.key for item in found] == ["b.jpg", "day 1/ä.jpg", "a.jpg"]
    assert {(item.size, item.modified, item.checksum) for item in found} == {(None, None, None)}
    assert isinstance(source, ReferenceSource)
    assert source.url == str(tmp_path / "refs.jsonl")


def test_list_tolerates_what_editors_and_exports_leave(tmp_path: Path) -> None:
    text = '\ufeff{"name": "a", "url": "HTTPS://h/a", "width": 3}\r\n\n  \r\n\t{"url":"http://h/b","name":"b"} \n'
    assert keys(listed(tmp_path, text.rstrip())) == ["a", "b"]


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_empty_list_lists_nothing(tmp_path: Path, text: str) -> None:
    source = listed(tmp_path, text)
    assert keys(source) == []
    with pytest.raises(BadInput, match="holds no references"):
        source.endpoint()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"name": "a", "url"', "no JSON in UTF-8"),
        (b'{"name": "\xff", "url": "https://h/secret"}', "no JSON in UTF-8"),
        ("[" * 30_000, "no JSON in UTF-8"),
        ("[]", "no JSON object"),
        ('{"url": "https://h/secret"}', "has no name"),
        ('{"name": "", "url": "https://h/secret"}', "has no name"),
        ('{"name": 3, "url": "https://h/secret"}', "has no name"),
        ('{"name": "\\ud800", "url": "https://h/secret"}', "has no name"),
        ('{"name": "a"}', "has no http or https URL"),
        ('{"name": "a", "url": 3}', "has no http or https URL"),
        ('{"name": "a", "url": "s3://bucket/secret"}', "has no http or https URL"),
        ('{"name": "a", "url": "https:///secret"}', "has no http or https URL"),
        ('{"name": "a", "url": "https://h/a b?secret"}', "without spaces"),
        ('{"name": "a", "url": "https://h/a\\nb?secret"}', "without spaces"),
        ('{"name": "a", "url": "https://h/' + "secret" * 20_000 + '"}', "is longer than 65536 bytes"),
    ],
)
def test_line_that_is_no_reference_is_bad_input_with_its_number(tmp_path: Path, line: str | bytes, says: str) -> None:
    source = listed(tmp_path, lines("1.jpg").encode() + b"\n" + (line.encode() if isinstance(line, str) else line))
    found = source.list()
    assert next(found).key == "1.jpg"
    with pytest.raises(BadInput, match=f"line 3, .*{says}") as caught:
        next(found)
    assert "secret" not in str(caught.value)


def test_name_that_occurs_twice_is_bad_input_with_both_lines(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"name a twice, in lines 2 and 4") as caught:
        keys(listed(tmp_path, lines("b", "a", "c", "a")))
    assert "Signature" not in str(caught.value)


def test_names_of_one_hash_are_two(tmp_path: Path) -> None:
    class Name(str):
        def __hash__(self) -> int:
            return 7

    source = listed(tmp_path, lines("a", "b"))
    parse = source._parse
    source._parse = lambda text, end: (line := parse(text, end))._replace(name=Name(line.name))  # type: ignore[method-assign]
    assert keys(source) == ["a", "b"]


def test_etag_is_the_same_when_an_object_is_signed_anew(tmp_path: Path) -> None:
    def etag(url: str) -> str | None:
        (item,) = listed(tmp_path, json.dumps({"name": "a", "url": url})).list()
        return item.etag

    plain = etag("https://h/a.jpg")
    assert plain
    assert len(plain) == len("url:") + 32
    assert etag("https://h/a.jpg?X-Amz-Signature=1") == etag("HTTPS://user:pw@H/a.jpg?X-Amz-Signature=2#x") == plain
    assert etag("https://h/b.jpg") != plain
    versions = [etag(f"https://h/a.jpg?{query}&sig=1") for query in ("versionId=1", "versionId=2", "generation=1")]
    assert len({plain, *versions}) == 4
    assert etag("https://h/a.jpg?sig=9&versionId=2") == versions[1]


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("X-Amz-Date=20260915T120000Z&X-Amz-Expires=3600", 3600),
        ("X-Goog-Expires=60&X-Goog-Date=20260915T120000Z", 60),
        ("se=2026-09-15T13%3A00%3A00Z&sig=x", 3600),
        ("se=2026-09-15&sig=x", 0),
        ("Signature=x&Expires=1789473700", 100),
        ("X-Amz-Date=20260915T120000Z&X-Amz-Expires=99999999999999", None),
        ("Expires=tomorrow", None),
        ("versionId=1", None),
    ],
)
def test_lifetime_is_what_the_urls_say(tmp_path: Path, query: str, seconds: float | None) -> None:
    source = listed(tmp_path, lines("a", url=f"https://h/{{}}?{query}"))
    assert source.longest_lifetime() is None
    keys(source)
    assert source.longest_lifetime() == seconds


def test_lifetime_is_that_of_the_first_url_to_expire(tmp_path: Path) -> None:
    later = lines("b", url=SIGNED.replace("3600", "7200"))
    source = listed(tmp_path, later + lines("a") + later.replace('"b"', '"c"'))
    keys(source)
    assert source.longest_lifetime() == 3600


def test_endpoint_is_that_of_the_first_line(tmp_path: Path) -> None:
    source = listed(tmp_path, '{"name": "a", "url": "https://user:pw@h:8443/x?sig=1"}\n' + lines("b"))
    assert source.endpoint() == "https://h:8443"


def test_presign_gives_the_urls_as_they_stand(tmp_path: Path) -> None:
    source = listed(tmp_path, lines("a", "b", "c"))
    a, _, c = source.list()
    assert list(source.presign([a, c], 60)) == [SIGNED.format("a"), SIGNED.format("c")]


def test_presign_reads_the_list_once_for_all_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = listed(tmp_path, lines(*(str(number) for number in range(100))))
    items = list(source.list())
    parsed = count_parsed(source, monkeypatch)
    urls = [url for start in range(0, 100, 10) for url in source.presign(items[start : start + 10], 60)]
    assert urls == [SIGNED.format(number) for number in range(100)]
    assert len(parsed) == 100


def test_presign_goes_round_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = listed(tmp_path, lines("a", "b", "c", "d"))
    items = list(source.list())
    assert len(list(source.presign(items[:3], 60))) == 3
    assert list(source.presign(items[1:2], 60)) == [SIGNED.format("b")]
    parsed = count_parsed(source, monkeypatch)
    with pytest.raises(BadInput, match=r"has changed since it was listed: e is missing"):
        list(source.presign([replace(items[0], key="e")], 60))
    assert len(parsed) <= 5


def test_presign_refuses_a_name_that_got_another_url(tmp_path: Path) -> None:
    items = list(listed(tmp_path, lines("a", "b")).list())
    edited = listed(tmp_path, lines("a", "b").replace("photos.example/b", "photos.example/x"))
    with pytest.raises(BadInput, match=r"b in line 2 has another URL") as caught:
        list(edited.presign(items, 60))
    assert "Signature" not in str(caught.value)
    assert list(edited.presign([MediaObject("b", None, None, None)], 60)) == [SIGNED.format("x")]


def test_presign_works_in_several_threads_at_once(tmp_path: Path) -> None:
    source = listed(tmp_path, lines(*(str(number) for number in range(2000))))
    items = list(source.list())
    found: dict[int, list[str]] = {}

    def work(start: int) -> None:
        found[start] = list(source.presign(items[start : start + 500], 60))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 2000, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [url for start in sorted(found) for url in found[start]] == [SIGNED.format(number) for number in range(2000)]


def test_memory_stays_flat(tmp_path: Path) -> None:
    count = 20_000
    source = listed(tmp_path, lines(*(f"{number:0500d}.jpg" for number in range(count))))
    tracemalloc.start()
    try:
        assert sum(1 for _ in source.list()) == count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < count * 250


def test_list_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    source = open_references(str(tmp_path / "none.jsonl"))
    with pytest.raises(BadInput, match=r"none.jsonl cannot be read: No such file"):
        keys(source)


def test_list_is_fetched_once_and_shown_without_its_secret(server: Scripted) -> None:
    server.script = [Reply(body=lines("a", "b").encode())]
    source = fetched(f"{server.url}/d/refs.jsonl?sig=secret")
    assert source.url == f"{server.url}/d/refs.jsonl"
    items = list(source.list())
    assert list(source.presign(items, 60)) == [SIGNED.format("a"), SIGNED.format("b")]
    assert [(seen.path, seen.query) for seen in server.seen] == [("/d/refs.jsonl", {"sig": "secret"})]


def test_list_is_asked_for_again_when_that_may_help(server: Scripted) -> None:
    whole = lines("a", "b").encode()
    server.script = [Reply(503), Reply(reset=True), Reply(body=whole, cut=len(whole) // 2 + 10), Reply(body=whole)]
    pauses: list[float] = []
    assert keys(fetched(server.url, pauses)) == ["a", "b"]
    assert pauses == [1.0, 2.0, 4.0]


def test_list_that_stays_away_is_transient(server: Scripted) -> None:
    for reply, error in ((Reply(503), ServiceBusy), (Reply(reset=True), ConnectionFailed)):
        server.script = [reply] * 4
        with pytest.raises(error) as caught:
            keys(fetched(f"{server.url}/refs.jsonl?sig=secret"))
        assert "secret" not in str(caught.value)
        assert server.script == []


@pytest.mark.parametrize(
    ("status", "says"), [(404, "no references file"), (410, "no references file"), (403, "expired")]
)
def test_list_that_is_refused_is_bad_input(server: Scripted, status: int, says: str) -> None:
    server.script = [Reply(status)]
    with pytest.raises(BadInput, match=says) as caught:
        keys(fetched(f"{server.url}/refs.jsonl?sig=secret"))
    assert "secret" not in str(caught.value)
    assert len(server.seen) == 1


def test_list_follows_redirects_but_not_off_https(server: Scripted) -> None:
    server.script = [Reply(302, headers={"Location": "/there"}), Reply(body=lines("a").encode())]
    assert keys(fetched(server.url)) == ["a"]
    server.script = [Reply(302, headers={"Location": "http://photos.example/refs.jsonl?sig=secret"})]
    with pytest.raises(BadInput, match=r"http://photos.example/refs.jsonl is not https"):
        keys(fetched(server.url))


@pytest.mark.parametrize(
    "url", ["http://photos.example/refs.jsonl?sig=secret", "https://h:secret/", "ftp://h/secret?secret"]
)
def test_list_is_not_fetched_from_unsafe_urls(url: str) -> None:
    with pytest.raises(BadInput, match=r"https|understood"):
        open_references(url)


def at(server: Scripted, tmp_path: Path) -> tuple[References, MediaObject]:
    source = listed(tmp_path, lines("a", url=server.url + "/{}?sig=secret"))
    (item,) = source.list()
    return source, item


def test_open_fetches_from_the_url(server: Scripted, tmp_path: Path) -> None:
    source, item = at(server, tmp_path)
    photo = bytes(range(256)) * 4000
    server.script = [
        Reply(body=photo),
        Reply(206, body=photo[1000:]),
        Reply(body=photo),
        Reply(302, headers={"Location": "/b"}),
        Reply(body=photo),
    ]
    with source.open(item) as whole, source.open(item, 1000) as rest, source.open(item, 1000) as ranges_unknown:
        assert (whole.read(10), whole.read(), rest.read()) == (photo[:10], photo[10:], photo[1000:])
        assert ranges_unknown.read() == photo[1000:]
    with source.open(item) as redirected:
        assert redirected.read() == photo
    assert [seen.headers.get("range") for seen in server.seen[:3]] == [None, "bytes=1000-", "bytes=1000-"]


def test_open_outlives_its_source(server: Scripted, tmp_path: Path) -> None:
    source, item = at(server, tmp_path)
    server.script = [Reply(body=b"photo" * 100_000)]
    with source.open(item) as file:
        del source
        assert file.read() == b"photo" * 100_000


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (Reply(404), SourceChanged, "not at its URL any more"),
        (Reply(410), SourceChanged, "not at its URL any more"),
        (Reply(403), SourceChanged, "expired"),
        (Reply(400), SourceChanged, "refused"),
        (Reply(302, headers={"Location": "ftp://h/?sig=secret"}), SourceChanged, "cannot be fetched"),
        (Reply(503), ServiceBusy, "status 503"),
        (Reply(reset=True), ConnectionFailed, "failed"),
        (Reply(body=b"photo", cut=2), ConnectionFailed, "failed"),
    ],
)
def test_open_tells_why_not(server: Scripted, tmp_path: Path, reply: Reply, error: type[Exception], says: str) -> None:
    source, item = at(server, tmp_path)
    server.script = [reply]
    with pytest.raises(error, match=says) as caught:
        source.open(item).read()
    assert "secret" not in str(caught.value)
