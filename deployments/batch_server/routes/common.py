"""What all routes share: the services, the API key, the workspace, pages."""

import hmac
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request

from deployments.batch_server.refusals import BadRequest, NotFound
from deployments.batch_server.routes.errors import Unauthorized
from deployments.batch_server.services import Services
from tasks.roboflow_api.models import WireModel

MAX_PAGE = 1000
LARGEST_SEQ = 2**63 - 1
"""The largest integer that the database takes."""


async def get_services(request: Request) -> Services:
    """The services of the application that got the request."""
    services: Services = request.app.state.services
    return services


ServicesOf = Annotated[Services, Depends(get_services)]


async def require_key(services: ServicesOf, api_key: Annotated[str | None, Query()] = None) -> None:
    """Let only requests with the right `api_key` pass."""
    expected = services.settings.api_key.get_secret_value()
    if api_key is None or not hmac.compare_digest(api_key.encode(), expected.encode()):
        raise Unauthorized("the API key is missing or wrong: pass this server's key as api_key")


async def require_workspace(workspace: str, services: ServicesOf) -> None:
    """Let only requests for this server's workspace pass."""
    if workspace != services.settings.workspace:
        raise NotFound(f"workspace {workspace!r} is not known here; this server's is {services.settings.workspace!r}")


GUARDS = [Depends(require_key), Depends(require_workspace)]
"""Key first: who has none learns nothing about workspaces."""


class Page:
    """Which page of a listing is wanted; the token is the sequence number of the last row seen."""

    def __init__(
        self,
        size: Annotated[int | None, Query(alias="pageSize", ge=1)] = None,
        token: Annotated[str | None, Query(alias="nextPageToken", max_length=20)] = None,
    ) -> None:
        self.size = min(size or MAX_PAGE, MAX_PAGE)
        self.last: int | None = None
        if token is not None:
            if not (token.isascii() and token.isdigit() and int(token) <= LARGEST_SEQ):
                raise BadRequest("nextPageToken is not one that this server gave")
            self.last = int(token)

    @property
    def limit(self) -> int:
        """How many rows to look for: one more than the page holds tells whether another follows."""
        return self.size + 1

    def answer(self, page: type[WireModel], key: str, rows: list[Any], convert: Any) -> dict[str, Any]:
        """The page as JSON-ready values; the token is always there, `null` on the last page.

        Args:
            page: The wire model of the whole answer.
            key: Its field for the rows, in snake case.
            rows: What was found, with a `seq` each.
            convert: Makes a wire model of a row.
        """
        shown = rows[: self.size]
        token = str(shown[-1].seq) if len(rows) > self.size else None
        model = page(**{key: [convert(row) for row in shown]})
        return {**model.wire(), "nextPageToken": token}


PageOf = Annotated[Page, Depends()]


def moment(seconds: float) -> datetime:
    """A stored time as a time of the wire models."""
    return datetime.fromtimestamp(seconds, UTC)


def base_url(request: Request, services: Services) -> str:
    """Scheme and host under which the client reached this server."""
    return services.settings.public_url or str(request.base_url)
