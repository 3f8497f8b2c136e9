"""The end of a log, as it may be shown."""

from __future__ import annotations

import os
from pathlib import Path

from tasks.core.redaction import redact
from tasks.core.supervisor import ESCAPES

LINES = 15
_BYTES = 16_384


def last_lines(log: Path, number: int = LINES) -> str:
    """The last lines of a log, indented and without secrets; says so when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        text = ""
    lines = [line.rstrip() for line in ESCAPES.sub("", text).splitlines() if line.strip()]
    shown = lines[-number:] or ["(its log is empty)"]
    return redact("\n".join(f"  | {line}" for line in shown))
