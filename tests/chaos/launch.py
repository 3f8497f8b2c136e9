"""Runs a command line in this process and kills the process at a chosen touch of the disk.

``python -m tests.chaos.launch --under RUNS --count-to points.json -- run PHOTOS --workflow minimal`` counts
the points where a file below ``RUNS`` appears or is made durable (rename, replace, link, fsync) or grows by a
line (append); with ``--kill-at-fs N`` the process gets SIGKILL at the N-th of them, counted from 0, just before or
just after it; "just after" an append leaves the first half of what was to be appended. With ``--only PATTERN`` only
points that match count, as in ``--only 'replace */results.parquet'`` or ``--only 'append *"step":"launch"*'``.

``--constant MODULE:NAME=NUMBER`` gives a constant another value before the command runs, so that a limit made
for tens of thousands is met by a handful.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Self

WRAPPED = ("replace", "rename", "fsync", "link")


class KillPoints:
    """Counts the calls that touch the folder, and ends the process at one of them.

    Args:
        under: the folder that is watched.
        kill_at: the number of the fatal call, counted from 0; ``None`` only counts.
        after: whether the call is carried out before the end.
        only: which points count, as a shell pattern on ``<call> <path below the folder>``; the content follows where
            something is appended.
    """

    def __init__(self, under: Path, kill_at: int | None = None, *, after: bool = False, only: str = "*") -> None:
        self._under = under.resolve()
        self._kill_at = kill_at
        self.after = after
        """Whether the fatal call is carried out first."""
        self._only = only
        self._lock = threading.Lock()
        self.points: list[str] = []
        """What was touched, in this order."""

    def install(self) -> None:
        """Wraps the functions of ``os``, and opening for appending, for the rest of this process's life."""
        for name in WRAPPED:
            setattr(os, name, self._wrap(name, getattr(os, name)))
        opened = Path.open

        def watched(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            file = opened(path, mode, *args, **kwargs)
            return AppendedFile(file, path.absolute(), self) if {"a", "b"} <= set(mode) else file

        Path.open = watched  # type: ignore[method-assign, assignment]

    def _wrap(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            fatal = self.is_fatal(name, target_of(name, args))
            if fatal and not self.after:
                die()
            result = original(*args, **kwargs)
            if fatal:
                die()
            return result

        return counted

    def is_fatal(self, name: str, path: Path | None, content: str = "") -> bool:
        """Counts a touch of ``path`` and says whether it is the one to die at."""
        if path is None or not path.is_relative_to(self._under):
            return False
        point = f"{name} {path.relative_to(self._under)} {content}".rstrip()
        if not fnmatch.fnmatchcase(point, self._only):
            return False
        with self._lock:
            self.points.append(point)
            return len(self.points) - 1 == self._kill_at


class AppendedFile:
    """A binary file opened for appending, each of whose writes is a point."""

    def __init__(self, file: IO[bytes], path: Path, points: KillPoints) -> None:
        self._file = file
        self._path = path
        self._points = points

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        """Appends, unless this is where the process ends; then half of ``data`` may be left."""
        if self._points.is_fatal("append", self._path, data.decode(errors="replace")):
            if self._points.after:
                self._file.write(data[: len(data) // 2])
                self._file.flush()
            die()
        return self._file.write(data)


def target_of(name: str, args: tuple[Any, ...]) -> Path | None:
    """The file that a call brings about or makes durable; ``None`` when it cannot be told."""
    subject = args[0] if name == "fsync" else args[1]
    if hasattr(subject, "fileno"):
        subject = subject.fileno()
    if isinstance(subject, int):
        try:
            subject = Path(f"/proc/self/fd/{subject}").readlink()
        except OSError:
            return None
    return Path(os.fsdecode(subject)).absolute()


def die() -> None:
    """Ends this process as ``kill -9`` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def set_constant(text: str) -> None:
    """Carries out ``MODULE:NAME=NUMBER``.

    Raises:
        AttributeError: the module has no such constant.
    """
    module_name, _, rest = text.partition(":")
    name, _, value = rest.partition("=")
    module = importlib.import_module(module_name)
    getattr(module, name)  # else a constant that was renamed would go unnoticed
    setattr(module, name, int(value))


def main(argv: list[str]) -> int:
    """Runs the entry under watch; its exit status is this one's."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.launch")
    parser.add_argument("--under", type=Path, required=True, help="the folder that is watched")
    parser.add_argument("--kill-at-fs", type=int, metavar="N", help="die at the N-th touch, counted from 0")
    parser.add_argument("--only", metavar="PATTERN", default="*", help="count only points that match")
    parser.add_argument("--after", action="store_true", help="die just after the call instead of just before")
    parser.add_argument("--count-to", type=Path, metavar="FILE", help="write the list of points there at the end")
    parser.add_argument(
        "--constant", action="append", default=[], metavar="MODULE:NAME=NUMBER", help="give a constant another value"
    )
    parser.add_argument("--entry", default="flows.cli:main", help="what to run, as module:function")
    parser.add_argument("arguments", nargs="+", help="the command line for the entry, after --")
    options = parser.parse_args(argv)
    points = KillPoints(options.under, options.kill_at_fs, after=options.after, only=options.only)
    points.install()
    for constant in options.constant:
        set_constant(constant)
    module, _, function = options.entry.partition(":")
    sys.argv = ["darkroom", *options.arguments]
    try:
        return getattr(importlib.import_module(module), function)() or 0
    finally:
        if options.count_to:
            options.count_to.write_text(json.dumps(points.points))
            sys.stderr.write(f"fs points: {len(points.points)}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
