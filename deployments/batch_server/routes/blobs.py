"""The blobs behind signed URLs: archives come in, files go out."""

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from deployments.batch_server.blobs import BodyCut
from deployments.batch_server.refusals import BadRequest, NotFound
from deployments.batch_server.routes.bodies import limited_pieces
from deployments.batch_server.routes.common import ServicesOf
from deployments.batch_server.services import Services
from tasks.roboflow_api.models import MAX_IMAGE_BYTES, MAX_IMAGES_PER_SHARD

PIECE = 1 << 18
BYTES = "application/octet-stream"
MEMBER_OVERHEAD = 16 * 1024
"""More than the headers and the padding of an image in an archive."""
MAX_ARCHIVE_BYTES = MAX_IMAGES_PER_SHARD * (MAX_IMAGE_BYTES + MEMBER_OVERHEAD)
"""Largest archive that is taken; an upload without an announced length would else fill the disk."""
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


async def require_signature(request: Request, services: ServicesOf, expires: str = "", signature: str = "") -> None:
    """Let only requests with a signature of ours, still good, pass."""
    _check(request, services, expires, signature)


router = APIRouter(prefix="/blobs", dependencies=[Depends(require_signature)])


@dataclass(frozen=True)
class _Served:
    """A run of bytes in a file."""

    path: Path
    offset: int
    size: int
    etag: str
    headers: dict[str, str] = field(default_factory=dict)
    """Whatever else is said of it."""


@router.put("/shards/{shard_id}")
async def put_archive(shard_id: str, request: Request, services: ServicesOf) -> Response:
    """A shard's archive, written while it arrives and taken once all of it is on disk."""
    length = request.headers.get("content-length")
    pieces = limited_pieces(request, MAX_ARCHIVE_BYTES, "the archive")
    try:
        blob = await services.blobs.write_stream(".tar", pieces, int(length) if length is not None else None)
    except BodyCut as error:
        raise BadRequest(f"the archive did not arrive whole: {error}") from None
    await run_in_threadpool(services.uploads.put_archive, shard_id, blob)
    services.indexer.add(shard_id)
    return JSONResponse({"size": blob.size, "sha256": blob.sha256}, headers={"ETag": f'"{blob.sha256}"'})


@router.get("/images/{seq}")
def get_image(seq: int, request: Request, services: ServicesOf) -> Response:
    """An ingested image."""
    row = services.uploads.image(seq)
    etag = row.sha256 or f"{Path(row.path).stem}-{row.offset}"
    return _serve(request, _Served(services.blobs.locate(row.path), row.offset, row.size, etag))


class _FileDownload:
    """A file that a job made.

    There may be hundreds of thousands of them, each small: it is an ASGI application of its own, as FastAPI would take
    more time for each than everything else together.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await run_in_threadpool(_get_file, Request(scope))
        await response(scope, receive, send)


files = Route(f"{router.prefix}/files/{{seq:int}}", _FileDownload(), methods=["GET"])


def _get_file(request: Request) -> Response:
    services: Services = request.app.state.services
    _check(request, services, request.query_params.get("expires", ""), request.query_params.get("signature", ""))
    row = services.outputs.file(request.path_params["seq"])
    # RFC 9530; it speaks of the whole file, whatever range of it is sent.
    digest = {"Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(row.sha256)).decode()}:"}
    return _serve(request, _Served(services.settings.data / row.path, 0, row.size, row.sha256, digest))


def _check(request: Request, services: Services, expires: str, signature: str) -> None:
    services.signer.check(request.method, request.url.path, expires, signature)


def _serve(request: Request, served: _Served) -> Response:
    headers = {"ETag": f'"{served.etag}"', "Accept-Ranges": "bytes", **served.headers}
    wanted = _wanted_range(request, served)
    if wanted is None:
        start, stop, status = 0, served.size, 200
    else:
        start, stop = wanted
        status = 206
        if start >= stop:
            headers["Content-Range"] = f"bytes */{served.size}"
            return JSONResponse({"error": "the range lies outside the file"}, 416, headers)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{served.size}"
    if not served.path.is_file():
        raise NotFound("this file is not here any more: list the batch again")
    if stop - start <= PIECE:
        # In one piece, by the thread that is at it: each further step would cost more than the whole.
        return Response(_piece(served.path, served.offset + start, stop - start), status, headers, BYTES)
    headers["Content-Length"] = str(stop - start)
    pieces = _pieces(served.path, served.offset + start, stop - start)
    return StreamingResponse(pieces, status, headers, BYTES)


def _wanted_range(request: Request, served: _Served) -> tuple[int, int] | None:
    """The range asked for as start and end (exclusive), or `None` for all; empty when there is none such."""
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    condition = request.headers.get("if-range")
    if match is None or match.group(0) == "bytes=-" or condition not in (None, f'"{served.etag}"'):
        return None
    first, last = match.groups()
    if not first:
        return max(0, served.size - int(last)), served.size
    return int(first), min(served.size, int(last) + 1) if last else served.size


def _piece(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) < size:
        raise OSError(f"{path.name} is shorter than its record")
    return content


async def _pieces(path: Path, offset: int, size: int) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb") as file:
        await file.seek(offset)
        while size > 0:
            piece = await file.read(min(PIECE, size))
            if not piece:
                raise OSError(f"{path.name} is shorter than its record")
            size -= len(piece)
            yield piece
