"""The emulators themselves: whether they judge as the real services do, and end as they must."""

from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.emulators import opened
from tests.emulators.fixtures import *  # noqa: F403
from tests.emulators.process import PYTHON, running
from tests.waiting import is_alive

LOCK = Path(__file__).with_name("package-lock.json")
KEYS = ("a b/ä+%.jpg", "/a#?&=.jpg")


@pytest.mark.parametrize("key", KEYS)
def test_urls_of_the_vendor_s_library_are_served_and_pass_the_check(cloud, key):
    cloud.put(key, b"photo")
    url = cloud.sign(key)
    cloud.check_signature(url)
    assert httpx.get(url, trust_env=False).content == b"photo"
    assert cloud.lifetime(url) == pytest.approx(3600, abs=2)


@pytest.mark.parametrize("key", KEYS)
def test_urls_that_were_tampered_with_do_not_pass_the_check(cloud, key):
    cloud.put(key, b"photo")
    cloud.put("other.jpg", b"other")
    url, other = cloud.sign(key), cloud.sign("other.jpg")
    with pytest.raises(AssertionError):
        cloud.check_signature(url.replace(urlsplit(url).path, urlsplit(other).path))


def test_place_holds_what_was_put_there_until_it_is_cleared(place):
    place.put("a/b.jpg", b"photo")
    place.put("a/c.jpg", b"older")
    place.put("a/c.jpg", b"newer")
    place.put("d.jpg", b"")
    place.delete("d.jpg")
    assert {key: place.get(key) for key in place.stored()} == {"a/b.jpg": b"photo", "a/c.jpg": b"newer"}
    place.clear()
    assert place.stored() == []


def test_server_ends_with_its_block(tmp_path):
    command = (PYTHON, "-c", "import signal; signal.pause()")
    with running(command, lambda: True, tmp_path / "log") as pid:
        assert is_alive(pid)
    assert not is_alive(pid)


def test_server_that_ends_at_once_says_why(tmp_path):
    with (
        pytest.raises(AssertionError, match="status 3:\nno luck"),
        running((PYTHON, "-c", "print('no luck'); exit(3)"), lambda: False, tmp_path / "log"),
    ):
        raise AssertionError("it runs")


def test_two_of_a_kind_are_apart(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with opened("gcs", tmp_path / "one") as one, opened("gcs", tmp_path / "other") as other:
        one.put("a.jpg", b"one")
        other.put("a.jpg", b"other")
        assert [httpx.get(place.sign("a.jpg"), trust_env=False).content for place in (one, other)] == [b"one", b"other"]


def test_lock_of_the_azure_emulator_holds_hashes_and_no_address():
    text = LOCK.read_text(encoding="utf-8")
    assert "://" not in text
    assert text.count('"integrity": "sha512-') == text.count('"node_modules/')
