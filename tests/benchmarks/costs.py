"""What a command costs, and how that is told.

This process stays small: the kernel counts the memory of the process that starts another into the other's peak.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What one command took.

    Attributes:
        seconds: wall time from its start to its end.
        cpu_seconds: user and system time of the process and of the children that it waited for.
        peak_mb: peak resident memory of the process, or of a child that it waited for if that is more.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Cost:
    """Runs a command to its end; its output is shown when it fails.

    Raises:
        SystemExit: it failed.
    """
    with tempfile.TemporaryFile() as output:
        begun = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command],
            env=as_usual(os.environ if environment is None else environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.stderr.write(output.read().decode(errors="replace"))
            raise SystemExit(f"{command[0]} ended with status {process.returncode}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def as_usual(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables without the one that keeps Python from storing the bytecode that it makes at a first start."""
    return {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process that runs, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def spread(values: Sequence[float]) -> str:
    """The median, with the least and the greatest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def print_table(*rows: Iterable[object]) -> None:
    """A markdown table, its head first."""
    head, *body = ([str(cell) for cell in row] for row in rows)
    print()
    for line in (head, ["---"] * len(head), *body):
        print("|" + "|".join(f" {cell} " if cell != "---" else cell for cell in line) + "|")
    sys.stdout.flush()


def note(text: str) -> None:
    """Says how far it is, beside the tables."""
    print(text, file=sys.stderr, flush=True)
