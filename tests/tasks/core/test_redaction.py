import logging

import pytest
from pydantic import SecretStr

from tasks.core.redaction import RedactingFilter, WithoutDetails, redact
from tasks.core.tokens import RunTokens

RUN = "0123456789abcdef"
HOOK = RunTokens(SecretStr("a secret for these tests")).url("https://h.com/hooks/", RUN)
HIDDEN = f"https://h.com/hooks/notifications/{RUN}/…"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("GET https://h.com/a/b?api_key=S3CRET&x=1 failed", "GET https://h.com/a/b?… failed"),
        ('"http://h/a?X-Amz-Signature=S3CRET"', '"http://h/a?…"'),
        ("<http://h/a?sig=S3CRET>", "<http://h/a?…>"),
        ("https://user:S3CRET@h/a", "https://…@h/a"),
        ("https://user:S3CRET@h/a?token=S3CRET", "https://…@h/a?…"),
        ("path /x?api_key=S3CRET&y=2", "path /x?api_key=…&y=2"),
        ("API_KEY=S3CRET", "API_KEY=…"),
        ("key=S3CRET token=S3CRET sig=S3CRET x-goog-signature=S3CRET", "key=… token=… sig=… x-goog-signature=…"),
        ("monkey=banana, 3 > 2? yes", "monkey=banana, 3 > 2? yes"),
        ("https://h.com/plain", "https://h.com/plain"),
        (f"notificationsURL: {HOOK}: no", f"notificationsURL: {HIDDEN}: no"),
        (f'("{HOOK}")', f'("{HIDDEN}")'),
        (f"{HOOK}?x=1", f"{HIDDEN}?…"),
        (f"POST {HOOK[13:]} ({HOOK[:-20]}", f"POST {HIDDEN[13:]} ({HIDDEN}"),
        ("/notifications/of-others/7", "/notifications/of-others/7"),
        ("", ""),
    ],
)
def test_redact_takes_secrets_out_and_leaves_the_rest(text: str, clean: str) -> None:
    assert redact(text) == clean
    assert redact(clean) == clean


def test_filter_rewrites_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tests.redaction")
    redacting = RedactingFilter()
    logger.addFilter(redacting)
    try:
        with caplog.at_level(logging.INFO):
            logger.info("GET %s %d%%", "http://h/a?api_key=S3CRET", 100)
            logger.info("POST %s", HOOK)
    finally:
        logger.removeFilter(redacting)
    assert caplog.messages == ["GET http://h/a?… 100%", f"POST {HIDDEN}"]


def test_details_of_libraries_are_left_out() -> None:
    def record(level: int) -> logging.LogRecord:
        return logging.LogRecord("botocore.endpoint", level, __file__, 1, "headers", (), None)

    assert [WithoutDetails().filter(record(level)) for level in (logging.DEBUG, logging.INFO)] == [False, True]
