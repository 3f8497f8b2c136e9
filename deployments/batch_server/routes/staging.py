"""Data staging: batches are filled, looked into and listed.

Source: the vendor's OpenAPI document "Data Staging", and what the official command line sends.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from deployments.batch_server.database import BatchRow, PartRow, ShardRow
from deployments.batch_server.names import check_batch_id, file_name_problem
from deployments.batch_server.refusals import BadRequest
from deployments.batch_server.routes.blobs import MAX_ARCHIVE_BYTES
from deployments.batch_server.routes.common import GUARDS, PageOf, ServicesOf, base_url, moment
from deployments.batch_server.routes.forms import read_single_file
from deployments.batch_server.services import Services
from deployments.batch_server.store.batches import BatchFile
from deployments.batch_server.store.uploads import FAILED, PENDING
from tasks.roboflow_api.models import (
    MAX_IMAGES_PER_SHARD,
    BatchAnswer,
    BatchesPage,
    BatchMetadata,
    BatchPart,
    CountAnswer,
    FileMetadata,
    FilesPage,
    PartsAnswer,
    ShardDetails,
    ShardsPage,
    SignedUrlAnswer,
    SignedUrlDetails,
)

router = APIRouter(prefix="/data-staging/v1/external/{workspace}/batches", dependencies=GUARDS)
DisplayName = Annotated[str | None, Query(alias="displayName")]
PartName = Annotated[str | None, Query(alias="partName")]


@router.get("")
def list_batches(services: ServicesOf, page: PageOf) -> dict[str, Any]:
    """Batches, newest first."""
    return page.answer(BatchesPage, "batches", services.batches.page(page.last, page.limit), _batch)


@router.get("/{batch_id}")
def get_batch(batch_id: str, services: ServicesOf) -> dict[str, Any]:
    """What a batch is."""
    return BatchAnswer(batch=_batch(services.batches.get(batch_id))).wire()


@router.post("/{batch_id}/upload/image")
async def upload_image(
    batch_id: str,
    request: Request,
    services: ServicesOf,
    file_name: Annotated[str, Query(alias="fileName")],
    display_name: DisplayName = None,
) -> dict[str, Any]:
    """One image, taken at once."""
    check_batch_id(batch_id)
    problem = file_name_problem(file_name)
    if problem is not None:
        raise BadRequest(f"fileName: {problem}")
    content = await read_single_file(request)
    await run_in_threadpool(_keep_image, services, batch_id, file_name, content, display_name)
    return {}


@router.post("/{batch_id}/bulk-upload/image-files")
def allocate_shard(
    batch_id: str, request: Request, services: ServicesOf, display_name: DisplayName = None
) -> dict[str, Any]:
    """A signed URL to PUT an archive of images to."""
    check_batch_id(batch_id)
    shard_id = services.uploads.allocate_shard(batch_id, display_name)
    url = services.signer.sign("PUT", base_url(request, services), f"/blobs/shards/{shard_id}")
    details = SignedUrlDetails(
        upload_url=url,
        method="PUT",
        extension_headers={"Content-Type": "application/x-tar"},
        max_archive_images=MAX_IMAGES_PER_SHARD,
        max_archive_bytes=MAX_ARCHIVE_BYTES,
    )
    return SignedUrlAnswer(signed_url_details=details).wire()


@router.get("/{batch_id}/count")
def count(batch_id: str, services: ServicesOf, part: PartName = None) -> dict[str, Any]:
    """How many files are ingested so far."""
    return CountAnswer(count=services.batches.count(batch_id, part)).wire()


@router.get("/{batch_id}/shards")
def list_shards(batch_id: str, services: ServicesOf, page: PageOf) -> dict[str, Any]:
    """The shards that have arrived, and what became of them."""
    rows = services.uploads.shards(batch_id, page.last or 0, page.limit)
    return page.answer(ShardsPage, "shards", rows, _shard)


@router.get("/{batch_id}/parts")
def list_parts(batch_id: str, services: ServicesOf) -> dict[str, Any]:
    """The parts of a multipart batch."""
    parts = [_part(row) for row in services.batches.parts(batch_id)]
    return {**PartsAnswer(batch_parts=parts).wire(), "nextPageToken": None}


@router.get("/{batch_id}/list")
def list_files(
    batch_id: str, request: Request, services: ServicesOf, page: PageOf, part: PartName = None
) -> dict[str, Any]:
    """The files of a batch with signed URLs to download them."""
    rows = services.batches.files(batch_id, part, page.last or 0, page.limit)
    base = base_url(request, services)

    def convert(file: BatchFile) -> FileMetadata:
        return FileMetadata(
            download_url=services.signer.sign("GET", base, f"/blobs/{file.blob}"),
            file_name=file.name,
            part_name=file.part,
            shard_id=file.shard_id,
            content_type=file.content_type,
            nested_content_type=file.nested_content_type,
        )

    return page.answer(FilesPage, "files_metadata", rows, convert)


def _keep_image(services: Services, batch_id: str, name: str, content: bytes, display_name: str | None) -> None:
    services.uploads.put_image(batch_id, name, services.blobs.write(".img", content), display_name)


def _batch(row: BatchRow) -> BatchMetadata:
    return BatchMetadata(
        display_name=row.display_name,
        batch_id=row.batch_id,
        batch_type=row.batch_type,
        batch_content_type=row.content_type,
        created_date=moment(row.created_at),
        expiry_date=moment(row.expires_at),
    )


def _shard(row: ShardRow) -> ShardDetails:
    return ShardDetails(
        shard_id=row.shard_id,
        status_name=row.state,
        status_type={**dict.fromkeys(PENDING, "info"), FAILED: "error"}.get(row.state, "success"),
        event_timestamp=moment(row.event_at),
        shard_objects_count=row.images,
        status_metadata=row.outcome,
    )


def _part(row: PartRow) -> BatchPart:
    return BatchPart(
        part_name=row.name,
        part_type="sharded-batch",
        content_type=row.content_type,
        part_description=row.description,
        nested_content_type=row.nested_content_type,
    )
