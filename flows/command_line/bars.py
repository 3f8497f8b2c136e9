"""How far the steps are: a live bar each in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.filesize import decimal
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

PERCENT = ("wait", "compile")
"""Steps that tell percent, and not things done."""
LINE_SECONDS = 5.0
"""Least seconds between two lines of one step."""
LEAST_SECONDS = 1.0
"""Before that a rate is chance."""
RARER = 0.05
"""Least share of a step's time between two of its lines."""
WINDOW = 30.0
"""Seconds over which a rate is measured."""
NAME_WIDTH = 10
BAR_WIDTHS = range(10, 41)
_SAMPLES = 31
Clock = Callable[[], float]


class Meter:
    """What one step has told of itself.

    Args:
        step: its name.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, step: str, clock: Clock) -> None:
        self.step = step
        self.done = 0
        self.total: int | None = None
        self.bytes = 0
        self._clock = clock
        self._begun = clock()
        self._ended: float | None = None
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)
        self._before = 0

    @property
    def finished(self) -> bool:
        """Whether all that was to be done is done."""
        return self.total is not None and self.done >= self.total

    def advance(self, n: int, total: int | None, size: int) -> None:
        """Counts."""
        now = self._clock()
        self.done += n
        self.bytes += size
        self.total = self.total if total is None else total
        if self.finished and self._ended is None:
            self._ended = now
        if not self._samples:
            self._before = n  # what an earlier process has done comes all at once
        if not self._samples or now - self._samples[-1][0] >= WINDOW / (_SAMPLES - 1):
            self._samples.append((now, self.done))

    def elapsed(self) -> float:
        """Seconds since it began, up to its end."""
        return (self._clock() if self._ended is None else self._ended) - self._begun

    def rate(self) -> float:
        """Units a second of late, and of the whole when it is over; 0 where that cannot be said yet."""
        over = self._ended is not None
        then, before = (self._begun, self._before) if over else self._samples[0]
        seconds = (self._clock() if self._ended is None else self._ended) - then
        return (self.done - before) / seconds if seconds >= LEAST_SECONDS else 0.0

    def words(self) -> list[str]:
        """How far it is, what matters most first: count, time, rate, bytes."""
        percent = self.step in PERCENT
        words = [self._percent() if percent else self._count(), *self._time()]
        rate = self.rate()
        if rate and not percent:
            words.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
        return [*words, decimal(self.bytes)] if self.bytes else words

    def _percent(self) -> str:
        return f"{100 * self.done // self.total if self.total else 0} %"

    def _count(self) -> str:
        return f"{self.done:,}" if self.total is None else f"{self.done:,} of {self.total:,}"

    def _time(self) -> Iterator[str]:
        if self._ended is not None:
            yield f"in {_clock_time(self.elapsed())}"
        elif self.total is not None and (rate := self.rate()):
            yield f"{_clock_time((self.total - self.done) / rate)} left"
        else:
            yield _clock_time(self.elapsed())


class Bars:
    """A bar for each step that reports, made when it first does; drawn by a live display as often as that likes."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._meters: dict[str, Meter] = {}

    def advance(self, name: str, n: int, total: int | None = None, size: int = 0) -> None:
        """Moves the step's bar."""
        with self._lock:
            self._meters.setdefault(name, Meter(name, self._clock)).advance(n, total, size)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A row a step, never wider than the terminal: what matters least is left out of a narrow one."""
        with self._lock:
            shown = [(meter.step, meter.done, meter.total, meter.words()) for meter in self._meters.values()]
        room = options.max_width - NAME_WIDTH - 2
        rows = [(name, done, total, _fitting(words, room)) for name, done, total, words in shown]
        longest = max((len(text) for *_, text in rows), default=0)
        width = min(room - longest - 1, BAR_WIDTHS.stop - 1)
        table = Table.grid(padding=(0, 1))
        for name, done, total, text in rows:
            bar = [ProgressBar(total=total, completed=done, width=width)] if width in BAR_WIDTHS else []
            table.add_row(Text(f"{name:<{NAME_WIDTH}}"), *bar, Text(text, no_wrap=True, overflow="crop"))
        yield table


class Lines:
    """A line for each step that takes long, not more often than every few seconds, and one at its end.

    The longer a step takes, the rarer its lines: a day does not fill a log. What is over before its first line is due
    says nothing, as a step tells its result itself.

    Args:
        say: takes a line.
        interval: least seconds between two lines of one step.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self, say: Callable[[str], None], interval: float = LINE_SECONDS, clock: Clock = time.monotonic
    ) -> None:
        self._say = say
        self._interval = interval
        self._clock = clock
        self._lock = threading.Lock()
        self._meters: dict[str, Meter] = {}
        self._last: dict[str, float] = {}
        self._told: set[str] = set()

    def advance(self, name: str, n: int, total: int | None = None, size: int = 0) -> None:
        """Counts, and says how far it is when it is time to."""
        with self._lock:
            now = self._clock()
            meter = self._meters.setdefault(name, Meter(name, self._clock))
            was_finished = meter.finished
            meter.advance(n, total, size)
            due = now - self._last.setdefault(name, now) >= max(self._interval, RARER * meter.elapsed())
            ended = meter.finished and not was_finished and name in self._told
            if ended or (due and not meter.finished):
                self._last[name] = now
                self._told.add(name)
                self._say(f"{name}: {', '.join(meter.words())}")


def _fitting(words: Sequence[str], room: int) -> str:
    """The first words, as many as there is room for."""
    text = words[0]
    for word in words[1:]:
        if len(text) + 2 + len(word) > room:
            break
        text += f", {word}"
    return text


def _clock_time(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
