"""From what Azure's library raises to our errors: by Azure's own code, then by the class or the status.

Azure's texts are never passed on: for a refused signature they hold what was signed.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import urllib3
from azure.core import exceptions as azure_errors

from tasks.core.errors import BadInput, ConnectionFailed, DarkroomError, RequestRefused, ServiceBusy
from tasks.sources.azure_settings import ACCOUNT, ENDPOINT, KEY, SAS, AzureLogin
from tasks.sources.base import SourceChanged

_BUSY_STATUS = (408, 429)
_REDIRECTION, _SERVER_ERROR = 300, 500


@dataclass(frozen=True)
class Asked:
    """What was being done.

    Attributes:
        container: its name.
        login: with what.
        one_object: whether one object that had been listed was asked for.
    """

    container: str
    login: AzureLogin
    one_object: bool = False

    @property
    def place(self) -> str:
        """The container, for a message."""
        return f"az://{self.container} in account {self.login.account}"


Teller = Callable[[Exception, Asked], DarkroomError]


@contextmanager
def told(asked: Asked) -> Iterator[None]:
    """Raises what the library raises inside as an error of our tree."""
    try:
        yield
    except LIBRARY_ERRORS as error:
        # No chain: the causes' texts hold whole URLs, SAS token and all.
        raise azure_error(error, asked) from None


def azure_error(error: Exception, asked: Asked) -> DarkroomError:
    """The error of our tree for one of Azure's library."""
    tell = _CODES.get(_code(error)) or next((row[1] for row in _CLASSES if isinstance(error, row[0])), _by_status)
    return tell(error, asked)


def _no_container(_error: Exception, asked: Asked) -> DarkroomError:
    return BadInput(f"there is no container {asked.place}: check its name, and {ACCOUNT}")


def _gone(_error: Exception, _asked: Asked) -> DarkroomError:
    return SourceChanged("is not there any more")


def _changed(_error: Exception, _asked: Asked) -> DarkroomError:
    return SourceChanged("changed or was deleted after it was staged")


def _archived(_error: Exception, _asked: Asked) -> DarkroomError:
    return SourceChanged("lies in the archive tier: rehydrate it first")


def _not_authentic(_error: Exception, asked: Asked) -> DarkroomError:
    sas = asked.login.sas
    if sas is None:
        return BadInput(f"Azure refused {KEY}: it is not a key of account {asked.login.account}, or the clock is wrong")
    if sas.ends and sas.ends <= datetime.now(UTC):
        return BadInput(f"{SAS} expired at {sas.ends:%Y-%m-%d %H:%M} UTC: make a new one")
    return BadInput(f"Azure refused {SAS} for {asked.place}: it is of another place, expired, revoked or not whole")


def _not_permitted(error: Exception, asked: Asked) -> DarkroomError:
    refused = f"Azure refused {asked.login.variable} for {asked.place} ({_code(error) or 'no reason given'})"
    if asked.login.sas is None:
        return BadInput(f"{refused}: it is no key of that account, or the account's network rules bar this machine")
    return BadInput(
        f"{refused}: the token must be of that place and allow r and l (w for results) on containers and objects, "
        "and the account's network rules must let this machine in"
    )


def _keys_switched_off(_error: Exception, asked: Asked) -> DarkroomError:
    return BadInput(f"account {asked.login.account} takes no keys: set {SAS} to a user delegation SAS token")


def _disabled(_error: Exception, asked: Asked) -> DarkroomError:
    return BadInput(f"Azure account {asked.login.account} is disabled: enable it, or name another in {ACCOUNT}")


def _bad_name(error: Exception, asked: Asked) -> DarkroomError:
    return BadInput(f"Azure takes no such name ({_code(error)}) in {asked.place}: check container and path")


def _bad_key(_error: Exception, asked: Asked) -> DarkroomError:
    return BadInput(f"{asked.login.variable} cannot be used to sign: copy the whole of it")


def _busy(error: Exception, _asked: Asked) -> DarkroomError:
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None)
    after = str(getattr(response, "headers", {}).get("Retry-After", ""))
    return ServiceBusy(
        f"Azure storage is busy ({status}): run the same command again",
        status=status,
        retry_after=float(after) if after.isdecimal() else None,
    )


def _not_azure(_error: Exception, asked: Asked) -> DarkroomError:
    return BadInput(f"what answers at {asked.login.endpoint} is not Azure storage: check {ENDPOINT} and proxies")


def _no_connection(error: Exception, asked: Asked) -> DarkroomError:
    if _unknown_host(error):
        return BadInput(f"{asked.login.endpoint} does not exist: check {ACCOUNT}, {ENDPOINT} and the network's DNS")
    return ConnectionFailed(f"no connection to {asked.login.endpoint}: check the network")


def _by_status(error: Exception, asked: Asked) -> DarkroomError:
    status = getattr(error, "status_code", None)
    if status is None and isinstance(error, azure_errors.ClientAuthenticationError):
        return _bad_key(error, asked)
    if status is None or status < _REDIRECTION:  # a body cut short, again and again
        return _no_connection(error, asked)
    if status in _BUSY_STATUS or status >= _SERVER_ERROR:
        return _busy(error, asked)
    tell = _STATUSES.get(status)
    if tell is not None:
        return tell(error, asked)
    return RequestRefused(f"Azure refused a request to {asked.place} ({status} {_code(error)})", status=status)


def _missing(error: Exception, asked: Asked) -> DarkroomError:
    return (_gone if asked.one_object else _no_container)(error, asked)


def _code(error: Exception) -> str:
    """Azure's own code, where an answer came; a bare HEAD has it in a header alone."""
    code = getattr(error, "error_code", None)
    headers = getattr(getattr(error, "response", None), "headers", {})
    return str(getattr(code, "value", code) or headers.get("x-ms-error-code") or "")


def _unknown_host(error: BaseException) -> bool:
    """Whether a name that no server knows lies at the bottom; one that may be known later does not count."""
    waiting, seen = [error], set[int]()
    while waiting:
        found = waiting.pop()
        if isinstance(found, socket.gaierror):
            return found.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        seen.add(id(found))
        held = (getattr(found, "inner_exception", None), getattr(found, "reason", None), found.__cause__, *found.args)
        waiting += [inner for inner in held if isinstance(inner, BaseException) and id(inner) not in seen]
    return False


_CODES: dict[str, Teller] = {
    **dict.fromkeys(("ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"), _no_container),
    **dict.fromkeys(("BlobNotFound", "ResourceNotFound"), _missing),
    **dict.fromkeys(("ConditionNotMet", "BlobOverwritten", "InvalidRange"), _changed),
    **dict.fromkeys(("BlobArchived", "BlobBeingRehydrated"), _archived),
    **dict.fromkeys(("AuthenticationFailed", "InvalidAuthenticationInfo"), _not_authentic),
    **dict.fromkeys(("NoAuthenticationInformation", "PublicAccessNotPermitted"), _not_permitted),
    "KeyBasedAuthenticationNotPermitted": _keys_switched_off,
    "AccountIsDisabled": _disabled,
    **dict.fromkeys(("InvalidResourceName", "InvalidUri", "OutOfRangeInput"), _bad_name),
}
"""By Azure's code; what is not named here goes by class and status."""

_CLASSES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Teller], ...] = (
    (azure_errors.IncompleteReadError, _no_connection),
    (azure_errors.DecodeError, _not_azure),
    ((azure_errors.ServiceRequestError, azure_errors.ServiceResponseError), _no_connection),
    ((azure_errors.SerializationError, azure_errors.DeserializationError), _not_azure),
    ((urllib3.exceptions.HTTPError, OSError), _no_connection),
)

_STATUSES: dict[int, Teller] = {401: _not_permitted, 403: _not_permitted, 404: _missing, 412: _changed, 416: _changed}

LIBRARY_ERRORS = (
    azure_errors.AzureError,
    azure_errors.SerializationError,
    azure_errors.DeserializationError,
    urllib3.exceptions.HTTPError,
    OSError,
)
"""What the library raises; the base classes of all it has."""
