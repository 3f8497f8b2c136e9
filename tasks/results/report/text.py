"""Text for the report: escaped, visible, and fit for reading."""

from __future__ import annotations

import html
import math
from datetime import UTC, datetime

MAX_CHARACTERS = 500


def safe(text: object, limit: int = MAX_CHARACTERS) -> str:
    """``text`` for HTML content and quoted attributes.

    Characters that would not show, such as newlines in file names or marks that turn the direction of writing, are
    spelled out; what is longer than ``limit`` characters is cut.
    """
    shown = str(text)
    if len(shown) > limit:
        shown = shown[: limit - 1] + "…"
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return html.escape(shown)


def number(value: float) -> str:
    """A number with separators, to about four digits where it is not whole: ``12,345`` or ``0.01234``."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    if digits > 8 or abs(value) >= 1e15:
        return f"{value:.3e}"
    shown = f"{value:,.{digits}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def duration(seconds: float) -> str:
    """``0.4 s``, ``3 min 04 s`` or ``1 h 02 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(time: datetime) -> str:
    """A moment in UTC as a ``time`` element: ``20 November 2026, 21:24:43 UTC``."""
    utc = time.astimezone(UTC)
    shown = f"{utc.day} {utc:%B %Y, %H:%M:%S} UTC"
    return f'<time datetime="{utc:%Y-%m-%dT%H:%M:%SZ}">{shown}</time>'


def plural(count: int, one: str, many: str | None = None) -> str:
    """``1 file`` or ``1,234 files``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """A share of 0 to 1: ``12 %``, ``0.4 %`` or ``0.03 %``."""
    shown = share * 100
    digits = 0 if shown >= 9.95 or shown == 0 else 1 if shown >= 0.095 else 2
    return f"{shown:.{digits}f} %"


def rate(amount: float, seconds: float) -> str:
    """``amount`` a second: ``0.42``, ``7.1`` or ``1,240``; nothing where there was no time or no amount."""
    if seconds <= 0 or amount <= 0:
        return ""
    each = amount / seconds
    return f"{each:,.{0 if each >= 99.5 else 1 if each >= 0.995 else 2}f}"
