"""From what Google's libraries raise to our errors: one table, the first row that fits."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb

import requests
import urllib3
from google.auth import exceptions as auth_errors

from tasks.core.errors import BadInput, ConnectionFailed, DarkroomError, RequestRefused, ServiceBusy
from tasks.core.redaction import redact
from tasks.sources.base import SourceChanged
from tasks.sources.gcs_library import DataCorruption, InvalidResponse, api_errors

CREDENTIALS = "GOOGLE_APPLICATION_CREDENTIALS"
_LOGIN = f"set {CREDENTIALS} to a service-account file, or run `gcloud auth application-default login`"
_PERMISSION = re.compile(r"storage\.[a-z]+\.[a-zA-Z]+")
_WRITING = frozenset({"storage.objects.create", "storage.objects.delete", "storage.objects.update"})
_SIGNING = re.compile(r"sign_?b", re.IGNORECASE)
_TIMEOUT_STATUS = 408
_EXCERPT = 200


@dataclass(frozen=True)
class Asked:
    """What was being done.

    Attributes:
        bucket: its name.
        one_object: whether one object that had been listed was asked for.
    """

    bucket: str
    one_object: bool = False


@contextmanager
def told(bucket: str, *, one_object: bool = False) -> Iterator[None]:
    """Raises what the libraries raise inside as an error of our tree."""
    try:
        yield
    except LIBRARY_ERRORS as error:
        # No chain: the causes' texts hold whole URLs.
        raise gcs_error(error, Asked(bucket, one_object)) from None
    except AttributeError as error:
        if not _begins_in_the_library(error):
            raise
        # An error whose JSON is not Google's, as gateways send it: the library trips over it and forgets its status.
        raise ServiceBusy(
            f"gs://{bucket} answers with an error that is not Google's: check STORAGE_EMULATOR_HOST and proxies, "
            "then run the same command again"
        ) from None


def _begins_in_the_library(error: BaseException) -> bool:
    *_, (frame, _line) = walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).startswith("google.")


def gcs_error(error: Exception, asked: Asked) -> DarkroomError:
    """The error of our tree for one of Google's libraries."""
    for kinds, tell in _TABLE:
        if isinstance(error, kinds):
            return tell(error, asked)
    return RequestRefused(f"gs://{asked.bucket} failed: {_first_line(error)}")


def _credentials_missing(_error: Exception, asked: Asked) -> DarkroomError:
    """The variable is looked at rather than the text, which differs from kind to kind of file."""
    file = os.environ.get(CREDENTIALS)
    if not file:
        return BadInput(f"no Google credentials for gs://{asked.bucket}: {_LOGIN}")
    if not Path(file).is_file():
        return BadInput(f"{CREDENTIALS} names {file}, which does not exist: {_LOGIN}")
    return BadInput(
        f"{CREDENTIALS} names {file}, which cannot be used as Google credentials: download the key file anew"
    )


def _credentials_refused(error: Exception, asked: Asked) -> DarkroomError:
    if getattr(error, "retryable", False):
        return ServiceBusy("Google's token service is busy: run the same command again")
    return BadInput(f"Google refused the credentials for gs://{asked.bucket} (expired or revoked): {_LOGIN}")


def _credentials_unusable(error: Exception, asked: Asked) -> DarkroomError:
    return BadInput(f"the Google credentials for gs://{asked.bucket} cannot be used ({type(error).__name__}): {_LOGIN}")


def _transport(error: Exception, asked: Asked) -> DarkroomError:
    """Google's authentication tells a lost connection and a refused signature by one class."""
    cause = error.args[0] if error.args else None
    text = str(cause)
    if isinstance(cause, Exception) or not _SIGNING.search(text):
        return _no_connection(error, asked)
    if "exhausted" in text:
        return ServiceBusy("Google's signing service is busy: run the same command again")
    return BadInput(
        "the service account may not sign URLs: grant it the role Service Account Token Creator "
        "(roles/iam.serviceAccountTokenCreator) on itself and enable the IAM Service Account Credentials API, "
        f"or set {CREDENTIALS} to a service-account file"
    )


def _gave_up(error: Exception, asked: Asked) -> DarkroomError:
    cause = getattr(error, "cause", None)
    return gcs_error(cause, asked) if isinstance(cause, Exception) else _no_connection(error, asked)


def _missing(error: Exception, asked: Asked) -> DarkroomError:
    if asked.one_object and "bucket does not exist" not in str(error):
        return SourceChanged("is not there any more")
    return BadInput(f"there is no bucket gs://{asked.bucket}: check its name")


def _changed(_error: Exception, _asked: Asked) -> DarkroomError:
    return SourceChanged("changed after it was staged")


def _unauthorized(_error: Exception, asked: Asked) -> DarkroomError:
    return BadInput(f"gs://{asked.bucket} may not be read with these Google credentials, or without any: {_LOGIN}")


def _forbidden(error: Exception, asked: Asked) -> DarkroomError:
    found = _PERMISSION.search(str(error))
    if found is None:
        return BadInput(f"gs://{asked.bucket} refuses the Google credentials: {_first_line(error)}")
    writing = found[0] in _WRITING
    role = "User (roles/storage.objectUser)" if writing else "Viewer (roles/storage.objectViewer)"
    return BadInput(
        f"no permission {found[0]} on gs://{asked.bucket}: grant the role Storage Object {role} on it, "
        f"or name another account's file in {CREDENTIALS}"
    )


def _busy(error: Exception, _asked: Asked) -> DarkroomError:
    status = getattr(error, "code", None)
    return ServiceBusy(
        f"Google Cloud Storage is busy ({status}): run the same command again",
        status=status,
        retry_after=_retry_after(getattr(error, "response", None)),
    )


def _other_status(error: Exception, asked: Asked) -> DarkroomError:
    status = getattr(error, "code", None)
    if status == _TIMEOUT_STATUS:
        return _busy(error, asked)
    return RequestRefused(f"gs://{asked.bucket} was refused ({status}): {_first_line(error)}", status=status)


def _bad_request(error: Exception, asked: Asked) -> DarkroomError:
    return BadInput(f"gs://{asked.bucket} cannot be used: {_first_line(error)}", status=400)


def _invalid_response(error: Exception, asked: Asked) -> DarkroomError:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status is None:
        return _no_connection(error, asked)
    return gcs_error(api_errors.from_http_status(status, str(error), response=response), asked)  # type: ignore[no-untyped-call]


def _not_google(_error: Exception, asked: Asked) -> DarkroomError:
    return BadInput(
        f"what answers for gs://{asked.bucket} is not Google Cloud Storage: check STORAGE_EMULATOR_HOST and proxies"
    )


def _no_connection(_error: Exception, asked: Asked) -> DarkroomError:
    return ConnectionFailed(f"no connection to Google Cloud Storage for gs://{asked.bucket}: check the network")


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", None) or error)
    return redact(text.strip().partition("\n")[0])[:_EXCERPT]


def _retry_after(response: object) -> float | None:
    value = getattr(response, "headers", {}).get("Retry-After", "")
    return float(value) if value.isdecimal() else None


_TABLE: tuple[
    tuple[type[Exception] | tuple[type[Exception], ...], Callable[[Exception, Asked], DarkroomError]], ...
] = (
    (auth_errors.DefaultCredentialsError, _credentials_missing),
    (auth_errors.RefreshError, _credentials_refused),
    (auth_errors.TransportError, _transport),
    ((auth_errors.ResponseError, auth_errors.TimeoutError), _no_connection),
    (auth_errors.GoogleAuthError, _credentials_unusable),
    (api_errors.RetryError, _gave_up),
    (api_errors.NotFound, _missing),
    ((api_errors.PreconditionFailed, api_errors.RequestRangeNotSatisfiable), _changed),
    (api_errors.Unauthorized, _unauthorized),
    (api_errors.Forbidden, _forbidden),
    (api_errors.BadRequest, _bad_request),
    ((api_errors.TooManyRequests, api_errors.ServerError), _busy),
    (api_errors.GoogleAPICallError, _other_status),
    (InvalidResponse, _invalid_response),
    (DataCorruption, _no_connection),
    (requests.exceptions.InvalidJSONError, _not_google),
    ((requests.RequestException, urllib3.exceptions.HTTPError, OSError), _no_connection),
)

LIBRARY_ERRORS = (
    auth_errors.GoogleAuthError,
    api_errors.GoogleAPIError,
    InvalidResponse,
    DataCorruption,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
)
"""What the libraries raise; the base classes of all they have."""
