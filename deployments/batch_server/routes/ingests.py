"""Data staging by reference: the server fetches the files itself."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from deployments.batch_server.names import check_batch_id
from deployments.batch_server.plan import Feature
from deployments.batch_server.reference_requests import read_request
from deployments.batch_server.refusals import NotOffered
from deployments.batch_server.routes.bodies import parse_json, read_limited
from deployments.batch_server.routes.common import GUARDS, ServicesOf
from deployments.batch_server.services import Services
from tasks.roboflow_api.models import IngestAnswer

MAX_REFERENCES_BYTES = 64 * 1024 * 1024
"""20,000 references with long signed URLs."""

router = APIRouter(prefix="/data-staging/v1/external/{workspace}/batches/{batch_id}", dependencies=GUARDS)


@router.post("/bulk-upload/image-references")
async def ingest_references(
    batch_id: str,
    request: Request,
    services: ServicesOf,
    display_name: Annotated[str | None, Query(alias="displayName")] = None,
) -> dict[str, Any]:
    """Images to be fetched; answered as soon as that is on record."""
    check_batch_id(batch_id)
    services.settings.require(Feature.REFERENCES, "upload the files")
    body = await read_limited(request, MAX_REFERENCES_BYTES, "the JSON body")
    return await run_in_threadpool(_take, services, batch_id, display_name, body)


@router.post("/roboql-ingest")
def ingest_query(batch_id: str) -> None:
    """Images picked from the platform's library, which this server has not."""
    check_batch_id(batch_id)
    raise NotOffered(
        "this server has no image library of its own to query: stage the images from a folder, a bucket or a list of "
        "references, or run the query against Roboflow's cloud"
    )


@router.post("/bulk-upload/video-references")
@router.post("/upload/video")
def ingest_videos(batch_id: str) -> None:
    """Videos, which this server does not process."""
    check_batch_id(batch_id)
    raise NotOffered("this server takes images only: cut the videos into frames, or process them on Roboflow's cloud")


def _take(services: Services, batch_id: str, display_name: str | None, body: bytes) -> dict[str, Any]:
    accepted = services.ingester.take(read_request(batch_id, display_name, parse_json(body)))
    if not accepted.duplicated:
        services.background.call(services.ingester.add, accepted.seq)
    return IngestAnswer(
        ingest_id=accepted.ingest_id, shard_ids=accepted.shard_ids, duplicated=accepted.duplicated
    ).wire()
