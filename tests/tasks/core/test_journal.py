import json
import os
import threading
from pathlib import Path

import pytest

from tasks.core.errors import LocalFault
from tasks.core.journal import Journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_journal_knows_what_it_was_told(path: Path) -> None:
    with Journal(path) as journal:
        journal.intend("ingest", "shard-1")
        journal.confirm("ingest", "shard-1", files=3, names=["a\nb", "é"])
        assert journal.confirmed("ingest", "shard-1") == {
            "event": "done",
            "step": "ingest",
            "part": "shard-1",
            "files": 3,
            "names": ["a\nb", "é"],
        }
        assert journal.confirmed("export", "shard-1") is None


def test_journal_tells_intents_from_confirmations(path: Path) -> None:
    with Journal(path) as journal:
        for part in ("b", "a", "c"):
            journal.intend("ingest", part)
        journal.intend("launch", "job")
        journal.confirm("ingest", "a")
        journal.confirm("ingest", "never-intended")
        assert journal.uncertain("ingest") == ["b", "c"]
        assert journal.uncertain("launch") == ["job"]
        assert journal.uncertain("export") == []


def test_journal_remembers_when_it_is_opened_again(path: Path) -> None:
    with Journal(path) as journal:
        journal.intend("ingest", "a")
        journal.intend("ingest", "b")
        journal.confirm("ingest", "a", n=1)
        journal.confirm("ingest", "a", n=2)
    with Journal(path) as journal:
        entry = journal.confirmed("ingest", "a")
        assert entry is not None
        assert entry["n"] == 2
        assert journal.uncertain("ingest") == ["b"]
        journal.confirm("ingest", "b")
    assert len(lines(path)) == 5


def test_journal_forgets_the_confirmation_of_what_is_done_once_more(path: Path) -> None:
    with Journal(path) as journal:
        journal.confirm("export", "record", n=1)
        journal.intend("export", "record")
    with Journal(path) as journal:
        assert journal.confirmed("export", "record") is None
        assert journal.uncertain("export") == ["record"]
        journal.confirm("export", "record", n=2)
        assert journal.uncertain("export") == []
    with Journal(path) as journal:
        assert (journal.confirmed("export", "record") or {})["n"] == 2


def test_journal_drops_a_torn_last_line_at_every_place(path: Path) -> None:
    with Journal(path) as journal:
        journal.confirm("ingest", "a", name="日本")
        journal.confirm("ingest", "b")
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with Journal(path) as journal:
            assert (journal.confirmed("ingest", "a") is not None) == (length >= first)
            assert journal.confirmed("ingest", "b") is None
            journal.confirm("ingest", "c")
        assert [line["part"] for line in lines(path)] == (["a", "c"] if length >= first else ["c"])


def test_journal_cuts_the_torn_line_off_at_once(path: Path) -> None:
    path.write_bytes(b'{"event":"done","step":"s","part":"p"}\n{"event":"do')
    with Journal(path):
        pass
    assert path.read_bytes() == b'{"event":"done","step":"s","part":"p"}\n'


def test_journal_takes_entries_of_many_threads(path: Path) -> None:
    with Journal(path) as journal:

        def work(number: int) -> None:
            for part in range(50):
                journal.intend("ingest", f"{number}-{part}", text="x" * 200)
                journal.confirm("ingest", f"{number}-{part}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert journal.uncertain("ingest") == []
    assert len(lines(path)) == 200


def test_journal_is_on_disk_before_it_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk: list[bytes] = []
    sync = os.fsync

    def watching(handle: int) -> None:
        if os.fstat(handle).st_ino == path.stat().st_ino:
            on_disk.append(path.read_bytes())
        sync(handle)

    monkeypatch.setattr(os, "fsync", watching)
    with Journal(path) as journal:
        for number, write in enumerate((journal.intend, journal.confirm)):
            write("ingest", "a")
            assert len(on_disk) == number + 1
            assert on_disk[-1] == path.read_bytes()
    assert on_disk[0].count(b"\n") == 1


def test_journal_confirms_many_with_one_flush(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(path) as journal:
        flushed: list[int] = []
        sync = os.fsync

        def watching(handle: int) -> None:
            flushed.append(path.read_bytes().count(b"\n"))
            sync(handle)

        monkeypatch.setattr(os, "fsync", watching)
        journal.confirm_all("export", {"a": {"n": 1}, "b": {"n": 2}})
        assert flushed == [2]
    with Journal(path) as journal:
        assert [(journal.confirmed("export", part) or {}).get("n") for part in "ab"] == [1, 2]


def test_journal_s_own_name_is_made_durable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    sync = os.fsync

    def watching(handle: int) -> None:
        synced.append(os.fstat(handle).st_ino)
        sync(handle)

    monkeypatch.setattr(os, "fsync", watching)
    with Journal(path):
        assert path.parent.stat().st_ino in synced


@pytest.mark.parametrize("line", ["junk", "[]", '{"event":"done"}'])
def test_journal_with_a_damaged_line_is_refused(path: Path, line: str) -> None:
    path.write_text(line + '\n{"event":"done","step":"s","part":"p"}\n')
    with pytest.raises(LocalFault, match=r"journal.* is damaged: pass --rerun LABEL"):
        Journal(path)
