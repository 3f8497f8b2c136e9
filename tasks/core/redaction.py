"""Keeping secrets out of everything that is printed or stored."""

from __future__ import annotations

import logging
import re

from tasks.core.tokens import PATH

_SECRET_PARAMETER = re.compile(r"(?i)\b(api_key|key|token|sig|signature|x-[a-z]+-signature)=[^&\s\"'<>]+")
_URL_QUERY = re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]+")
_URL_PASSWORD = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s@]*:[^/\s@]*@|(https?://)[^/\s@]+@", re.IGNORECASE)
_RUN_TOKEN = re.compile(rf"(/{PATH}/[0-9a-f]{{16}}/)\w+")


def redact(text: str) -> str:
    """``text`` without URL queries, passwords in URLs, secret parameters and the tokens of notification URLs.

    Signed URLs are secrets as a whole, so a URL keeps its path and loses its query; only where notifications go, the
    path holds the secret.
    """
    text = _URL_QUERY.sub(r"\1?…", text)
    text = _URL_PASSWORD.sub(r"\1\2…@", text)
    text = _RUN_TOKEN.sub(r"\1…", text)
    return _SECRET_PARAMETER.sub(r"\1=…", text)


class RedactingFilter(logging.Filter):
    """Rewrites log records so that no secret passes; put it on loggers of libraries that log URLs."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true; the record's message is redacted in place."""
        record.msg, record.args = redact(record.getMessage()), ()
        return True


class WithoutDetails(logging.Filter):
    """Drops what is said at level DEBUG; put it on loggers of libraries that show whole requests or answers there."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record says something above level DEBUG."""
        return record.levelno > logging.DEBUG
