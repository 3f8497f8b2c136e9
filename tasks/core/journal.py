"""The run's own record of what it did to the outside world.

A line is appended and flushed to disk (``fsync``) before every remote write (an *intent*) and after it (a
*confirmation*). After ``kill -9`` the next process reads it: what is confirmed is skipped, what is only intended is
uncertain and is settled by asking the service. Prefect's result cache cannot do this: a kill between a side effect and
the result's write repeats the step.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.core.errors import damaged
from tasks.core.files import sync_folder

Entry = dict[str, Any]


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
        """Records that a remote write is about to happen."""
        self._append({"event": "intent", "step": step, "part": part, **facts})

    def confirm(self, step: str, part: str, **facts: Any) -> None:
        """Records that it has happened, with what a later process needs to know of it."""
        self._append({"event": "done", "step": step, "part": part, **facts})

    def confirmed(self, step: str, part: str) -> Entry | None:
        """The confirmation of that part, or ``None``."""
        return self._confirmed.get((step, part))

    def uncertain(self, step: str) -> list[str]:
        """Parts of ``step`` that were intended and never confirmed."""
        pending = self._intended.keys() - self._confirmed.keys()
        return sorted(part for found, part in pending if found == step)

    def _append(self, entry: Entry) -> None:
        line = json.dumps(entry, ensure_ascii=True, separators=(",", ":")) + "\n"
        with self._lock:
            self._file.write(line.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
            self._remember(entry)

    def _remember(self, entry: Entry) -> None:
        place = self._intended if entry["event"] == "intent" else self._confirmed
        place[entry["step"], entry["part"]] = entry

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
