"""How far steps are: what bars and lines say, under a clock that a test turns."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

import pytest
from rich.console import Console

from flows.command_line.bars import Bars, Lines
from tests.commands import ROOT, clean_environment
from tests.fake_time import FakeTime

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")
STEPS = """
import logging, sys
from flows.command_line.terminal import starting, watched_run, watched_step
from tasks.core.progress import ambient

logging.basicConfig(stream=sys.stderr, format="LOG %(message)s", level=logging.INFO)
with starting() as started:
    started()
with watched_run():
    told = ambient()
    told.advance("stage", 1200)
    told.advance("stage", 0, 1200)
    logging.getLogger("x").info("stage: told")
    told.advance("ingest", 300, 1200)
    logging.getLogger("x").warning("beware [red] of " + "long " * 30 + "lines")
    told.advance("wait", 45, 100)
"""


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


def drawn(bars: Bars, width: int) -> list[str]:
    written = io.StringIO()
    Console(file=written, width=width, force_terminal=False).print(bars)
    return [line.rstrip() for line in written.getvalue().splitlines()]


def test_bar_tells_count_time_left_and_rate(time: FakeTime) -> None:
    bars = Bars(clock=lambda: time.seconds)
    bars.advance("ingest", 0, 4000)
    time.sleep(10)
    bars.advance("ingest", 1000)
    (row,) = drawn(bars, 100)
    assert row.startswith("ingest ")
    assert "━" in row
    assert row.endswith(" 1,000 of 4,000, 0:30 left, 100/s")


def test_bar_of_a_step_without_a_total_tells_count_time_and_rate(time: FakeTime) -> None:
    bars = Bars(clock=lambda: time.seconds)
    bars.advance("stage", 0)
    for _ in range(5):
        time.sleep(1)
        bars.advance("stage", 3)
    assert drawn(bars, 100)[0].endswith(" 15, 0:05, 3/s")


def test_bar_of_a_job_tells_percent(time: FakeTime) -> None:
    bars = Bars(clock=lambda: time.seconds)
    time.sleep(4)
    bars.advance("wait", 0, 100)
    time.sleep(60)
    bars.advance("wait", 40, 100)
    assert drawn(bars, 100)[0].endswith(" 40 %, 1:30 left")


def test_bar_of_a_step_that_is_over_tells_how_long_it_took(time: FakeTime) -> None:
    bars = Bars(clock=lambda: time.seconds)
    bars.advance("export", 0, 500)
    time.sleep(3700)
    bars.advance("export", 500)
    time.sleep(100)
    bars.advance("launch", 1, 1)
    export, launch = drawn(bars, 100)
    assert export.endswith(" 500 of 500, in 1:01:40, 0.14/s")
    assert launch.endswith(" 1 of 1, in 0:00")


def test_bar_tells_bytes_where_they_are_known(time: FakeTime) -> None:
    bars = Bars(clock=lambda: time.seconds)
    bars.advance("ingest", 0, 40)
    for _ in range(4):
        time.sleep(1)
        bars.advance("ingest", 5, None, 800_000)
    assert drawn(bars, 100)[0].endswith(" 20 of 40, 0:04 left, 5/s, 3.2 MB")
    assert drawn(bars, 40)[0].endswith(" 20 of 40, 0:04 left, 5/s")


def test_rate_is_that_of_late(time: FakeTime) -> None:
    bars = Bars(clock=lambda: time.seconds)
    bars.advance("ingest", 100_000, 1_000_000)  # sent by an earlier process
    for _ in range(60):
        time.sleep(1)
        bars.advance("ingest", 20)
    assert drawn(bars, 100)[0].endswith("20/s")


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 200])
def test_no_row_is_wider_than_the_terminal_and_the_count_stays(time: FakeTime, width: int) -> None:
    bars = Bars(clock=lambda: time.seconds)
    bars.advance("ingest", 0, 400)
    bars.advance("summarize", 0, 1)
    time.sleep(10)
    bars.advance("ingest", 100)
    rows = drawn(bars, width)
    assert len(rows) == 2
    assert max(map(len, rows)) <= width
    assert ("━" in rows[0]) == (width >= 60)
    assert ("left" in rows[0]) == (width >= 40)
    assert "100 of" in rows[0]


def test_lines_are_seconds_apart_and_one_tells_the_end(time: FakeTime) -> None:
    said: list[str] = []
    lines = Lines(said.append, interval=5.0, clock=lambda: time.seconds)
    for _ in range(24):
        lines.advance("ingest", 10, 240)
        time.sleep(0.5)
    assert said == [
        "ingest: 110 of 240, 0:06 left, 20/s",
        "ingest: 210 of 240, 0:01 left, 20/s",
        "ingest: 240 of 240, in 0:11, 20/s",
    ]
    lines.advance("ingest", 0, 240)
    assert len(said) == 3


def test_lines_of_a_long_step_become_rare(time: FakeTime) -> None:
    said: list[str] = []
    lines = Lines(said.append, interval=5.0, clock=lambda: time.seconds)
    for minute in range(10 * 60):
        lines.advance("wait", minute % 6 == 5, 100)
        time.sleep(60)
    assert 60 < len(said) < 100
    assert said[-1] == "wait: 100 %, in 9:59:00"


def test_step_that_is_soon_over_says_nothing(time: FakeTime) -> None:
    said: list[str] = []
    lines = Lines(said.append, interval=5.0, clock=lambda: time.seconds)
    lines.advance("stage", 6)
    time.sleep(4)
    lines.advance("stage", 0, 6)
    time.sleep(60)
    lines.advance("stage", 0, 6)
    lines.advance("launch", 1, 1)
    assert said == []


def seen_in_terminal(width: int, **environment: str) -> str:
    """What the steps above write to a terminal of that width."""
    leader, follower = pty.openpty()
    ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    settings = clean_environment(**{"TERM": "xterm-256color"} | environment)
    for name in ("COLUMNS", "LINES", *({"NO_COLOR"} - environment.keys())):
        settings.pop(name, None)
    with subprocess.Popen([sys.executable, "-c", STEPS], cwd=ROOT, env=settings, stdin=follower, stdout=follower,
                          stderr=follower) as child:  # fmt: skip
        os.close(follower)
        seen = _read_all(leader)
    assert child.returncode == 0, seen
    return seen


def _read_all(leader: int) -> str:
    content = b""
    with os.fdopen(leader, "rb", buffering=0) as file:
        while select.select([file], [], [], 60)[0]:
            try:
                block = file.read(65536)
            except OSError:  # the last one on the other side has gone
                break
            if not block:
                break
            content += block
    return content.decode()


def screen(written: str) -> list[str]:
    """What is to be seen after control sequences are obeyed: lines are gone back to, and written anew."""
    lines, at = [""], 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", written):
        if up := re.fullmatch(r"\x1b\[(\d+)A", piece):
            at -= int(up[1])
        elif piece == "\x1b[2K":
            lines[at] = ""
        elif piece == "\n":
            at += 1
            lines += [""] * (at == len(lines))
        elif not piece.startswith(("\x1b", "\r")):
            lines[at] += piece
    return [line.rstrip() for line in lines]


def test_terminal_has_a_live_bar_for_each_step_and_warnings_above() -> None:
    seen = seen_in_terminal(100)
    assert COLOUR.search(seen)
    warning, *wrapped, stage, ingest, wait = [line for line in screen(seen) if line]
    assert warning.startswith("LOG beware [red] of long")
    assert "stage: told" not in seen
    assert re.fullmatch(r"stage +━+ 1,200 of 1,200, in 0:00", stage), stage
    assert re.fullmatch(r"ingest +━+[╸╺]?━+ 300 of 1,200, 0:00", ingest), ingest
    assert re.fullmatch(r"wait +━+[╸╺]?━+ 45 %, 0:00", wait), wait
    assert all(line.startswith(("long", " long", "lines")) for line in wrapped), wrapped


@pytest.mark.parametrize("width", [24, 40])
def test_terminal_of_any_width_is_never_written_past(width: int) -> None:
    rows = [line for line in screen(seen_in_terminal(width)) if line.startswith(("stage ", "ingest ", "wait "))]
    assert len(rows) == 3
    assert max(map(len, rows)) <= width


def test_terminal_without_colour_has_bars_all_the_same() -> None:
    seen = seen_in_terminal(100, NO_COLOR="1")
    assert not COLOUR.search(seen)
    assert "━" in seen


def test_dumb_terminal_gets_lines_and_no_control_sequence() -> None:
    seen = seen_in_terminal(100, TERM="dumb")
    assert "\x1b" not in seen
    said = screen(seen)
    assert said[:2] == ["starting the servers …", "LOG stage: told"]
    assert said[2].startswith("LOG beware [red]")


def test_output_that_is_no_terminal_gets_lines_and_no_control_sequence() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STEPS], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    assert [line[:15] for line in done.stderr.splitlines()] == ["LOG stage: told", "LOG beware [red"]
