"""The batch server as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from deployments.batch_server.engine.interface import Engine
from deployments.batch_server.routes import blobs, ingests, jobs, staging, workflows
from deployments.batch_server.routes.common import ServicesOf, require_key
from deployments.batch_server.routes.errors import add_error_handlers
from deployments.batch_server.services import World, build_services
from deployments.batch_server.settings import ServerSettings
from tasks.roboflow_api.models import WorkspaceAnswer


def create_app(settings: ServerSettings, engine: Engine, world: World | None = None) -> FastAPI:
    """Build the application over a data folder that this process holds.

    Args:
        settings: What the server is set up with.
        engine: What runs workflows; started and stopped with the application.
        world: What the server meets outside; `None`: the real one.

    Returns:
        An application that serves the data-staging and batch-processing contract.
    """
    services = build_services(settings, engine, world or World())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(services.start)
        yield
        await run_in_threadpool(services.stop)

    # No documentation pages: their address would be an API route without a key.
    app = FastAPI(title="Darkroom batch server", openapi_url=None, lifespan=lifespan)
    app.state.services = services
    add_error_handlers(app)

    @app.get("/", dependencies=[Depends(require_key)])
    def whose_key(services: ServicesOf) -> dict[str, Any]:
        return WorkspaceAnswer(workspace=services.settings.workspace).wire()

    @app.get("/health")
    def health() -> dict[str, str]:
        """Whether requests are answered; for whoever started this server, who has no key yet."""
        return {"status": "ok"}

    # Routes are tried one after the other: those that are asked for most come first.
    app.router.routes.insert(0, blobs.files)
    for router in (blobs.router, staging.router, ingests.router, jobs.router, workflows.router):
        app.include_router(router)
    return app
