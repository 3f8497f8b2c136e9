import errno
import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from deployments.batch_server.troubles import Troubles, own_failure


def test_item_is_given_up_after_growing_pauses_and_stays_so() -> None:
    troubles = Troubles((5.0, 15.0))
    waits = []
    for _ in range(4):
        waits.append((troubles.given_up("a") is None, troubles.note("a", ValueError("secret"))))
    # What is left to be done then is to say so, which may fail as well.
    assert waits == [(True, 5.0), (True, 15.0), (True, 0.0), (False, 15.0)]
    assert troubles.given_up("b") is None
    troubles.forget("a")
    assert troubles.given_up("a") is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "server-disk-full"),
        (OperationalError("insert", {}, sqlite3.OperationalError("database or disk is full")), "server-disk-full"),
        (OSError(errno.EIO, "Input/output error"), "internal-error"),
        (ValueError("secret"), "internal-error"),
    ],
)
def test_full_disk_is_told_from_other_failures(error: Exception, kind: str) -> None:
    failure = own_failure(error)
    assert failure.kind == kind
    assert "secret" not in str(failure)
