import errno
import inspect
import os

import pytest

from tasks.core import errors
from tasks.core.errors import BadInput, DarkroomError, LocalFault, Terminal, Transient, is_transient, local_fault

TREE = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, DarkroomError)]


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_error_is_drawn_and_of_one_kind(kind: type[DarkroomError]) -> None:
    assert f" {kind.__name__} " in f" {str(errors.__doc__).replace(chr(10), ' ')} "
    if kind is not DarkroomError:
        assert issubclass(kind, Transient) != issubclass(kind, Terminal)
    assert is_transient(kind("x")) is issubclass(kind, Transient)
    assert kind("x").exit_status == (2 if issubclass(kind, BadInput) else 1)


def test_error_carries_what_the_service_said() -> None:
    error = DarkroomError("message", status=429, excerpt="slow down", retry_after=3.0)
    assert (str(error), error.status, error.excerpt, error.retry_after) == ("message", 429, "slow down", 3.0)


def test_other_errors_are_not_transient() -> None:
    assert not is_transient(ConnectionResetError())
    assert not is_transient(KeyboardInterrupt())


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "not permitted"),
        (errno.EROFS, "not permitted"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_local_fault_says_what_to_change(code: int, says: str) -> None:
    fault = local_fault(OSError(code, os.strerror(code), "/runs/x"))
    assert isinstance(fault, LocalFault)
    assert says in str(fault)
    assert "/runs/x" in str(fault)


def test_local_fault_needs_no_file_name() -> None:
    assert str(local_fault(OSError("odd"))) == "a file operation failed: odd"
