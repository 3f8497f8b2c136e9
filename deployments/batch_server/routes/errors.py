"""Every error in one shape: `{"error": "<one line>"}`."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from deployments.batch_server.blobs import NO_SPACE
from deployments.batch_server.names import printable
from deployments.batch_server.refusals import Refusal
from deployments.batch_server.signing import SignatureRefused

DISK_FULL = "the server's disk is full: free some space in its data folder and try again"


class Unauthorized(Exception):
    """The API key is missing or wrong."""


def add_error_handlers(app: FastAPI) -> None:
    """Have the application answer every failure in the one shape."""

    @app.exception_handler(Refusal)
    def refused(_: Request, error: Refusal) -> JSONResponse:
        return _answer(error.status, str(error), error.retry_after)

    @app.exception_handler(Unauthorized)
    def unauthorized(_: Request, error: Unauthorized) -> JSONResponse:
        return _answer(401, str(error))

    @app.exception_handler(SignatureRefused)
    def forbidden(_: Request, error: SignatureRefused) -> JSONResponse:
        return _answer(403, str(error))

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return _answer(404, f"there is no such call: {request.method} {request.url.path}")
        return _answer(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _answer(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

    @app.exception_handler(OSError)
    def disk_error(_: Request, error: OSError) -> JSONResponse:
        if error.errno in NO_SPACE:
            return _answer(507, DISK_FULL)
        return _answer(500, f"the server cannot use its data folder: {error.strerror}")

    @app.exception_handler(OperationalError)
    def database_error(_: Request, error: OperationalError) -> JSONResponse:
        if "disk is full" in str(error.orig):
            return _answer(507, DISK_FULL)
        return _answer(503, f"the server's database does not answer ({error.orig}): try again")

    @app.exception_handler(Exception)
    def failed(_: Request, error: Exception) -> JSONResponse:
        return _answer(500, f"internal error ({type(error).__name__}): see the server's log")


def _answer(status: int, message: str, retry_after: int | None = None) -> JSONResponse:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return JSONResponse({"error": printable(message)}, status, headers)
