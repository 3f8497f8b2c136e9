"""The run's own record of what it did to the outside world.

A line is appended and flushed to disk (``fsync``) before every remote write (an *intent*) and after it (a
*confirmation*). After ``kill -9`` the next process reads it: what is confirmed is skipped, what is only intended is
uncertain and is settled by asking the service. Of one part, the last line counts. Prefect's result cache cannot do
this: a kill between a side effect and the result's write repeats the step.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.core.errors import damaged
from tasks.core.files import sync_folder

Entry = dict[str, Any]


def read_step(path: Path, step: str) -> dict[str, Entry]:
    """What is confirmed of a step, by part, in a journal that another process may be writing.

    Nothing of the file is changed, and a last line that is not whole yet is left aside.

    Raises:
        LocalFault: another line is damaged.
    """
    found: dict[str, Entry] = {}
    try:
        with path.open("rb") as file:
            for line in file:
                entry = json.loads(line) if line.endswith(b"\n") else {}
                if entry.get("step") != step:
                    continue
                found.pop(entry["part"], None)
                if entry["event"] == "done":
                    found[entry["part"]] = entry
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise damaged(path) from None
    return found


def read_confirmed(path: Path, step: str, part: str) -> Entry | None:
    """The confirmation of one part, or ``None``; as :func:`read_step`."""
    return read_step(path, step).get(part)


class Journal:
    """An append-only file of JSON lines; safe to use from several threads of one process.

    Args:
        path: where it lies; made when missing. A last line that was cut by a kill is dropped.

    Raises:
        LocalFault: another line is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._intended: dict[tuple[str, str], Entry] = {}
        self._confirmed: dict[tuple[str, str], Entry] = {}
        self._path = path
        self._file = path.open("ab+")
        sync_folder(path.parent)
        self._recover()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def intend(self, step: str, part: str, **facts: Any) -> None:
        """Records that something is about to be done; what is done once more is not confirmed any longer."""
        self._append([{"event": "intent", "step": step, "part": part, **facts}])

    def confirm(self, step: str, part: str, **facts: Any) -> None:
        """Records that it has happened, with what a later process needs to know of it."""
        self.confirm_all(step, {part: facts})

    def confirm_all(self, step: str, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Records that several have happened, with one flush for all; ``parts`` holds the facts of each."""
        self._append([{"event": "done", "step": step, "part": part, **facts} for part, facts in parts.items()])

    def confirmed(self, step: str, part: str) -> Entry | None:
        """The confirmation of that part, or ``None``."""
        return self._confirmed.get((step, part))

    def pending(self, step: str, part: str) -> Entry | None:
        """The intent of that part where it was not confirmed since, or ``None``."""
        return None if (step, part) in self._confirmed else self._intended.get((step, part))

    def uncertain(self, step: str) -> list[str]:
        """Parts of ``step`` that were intended and never confirmed."""
        pending = self._intended.keys() - self._confirmed.keys()
        return sorted(part for found, part in pending if found == step)

    def _append(self, entries: list[Entry]) -> None:
        lines = "".join(json.dumps(entry, ensure_ascii=True, separators=(",", ":")) + "\n" for entry in entries)
        with self._lock:
            self._file.write(lines.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
            for entry in entries:
                self._remember(entry)

    def _remember(self, entry: Entry) -> None:
        key = entry["step"], entry["part"]
        if entry["event"] == "intent":
            self._intended[key] = entry
            self._confirmed.pop(key, None)
        else:
            self._confirmed[key] = entry

    def _recover(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            self._file.truncate(whole)
        try:
            for line in content[:whole].splitlines():
                self._remember(json.loads(line))
        except (ValueError, KeyError, TypeError):
            self._file.close()
            raise damaged(self._path) from None
