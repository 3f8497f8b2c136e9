"""Google's emulator, run by the python of ``.venv-emulators``, with what it lacks of the real service.

These are pages of at most 1,000 objects, object versions (``generation``, ``ifGenerationMatch``), a place to get
access tokens, and connections side by side. Metadata, which it would write out anew after each change, stays in memory.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import Any

from gcp_storage_emulator import server  # type: ignore[import-not-found]
from gcp_storage_emulator.handlers import objects  # type: ignore[import-not-found]
from gcp_storage_emulator.storage import Storage  # type: ignore[import-not-found]

Handler = Callable[[Any, Any, Any], None]
PAGE = 1000


def paged(listing: Handler) -> Handler:
    """A page of what ``listing`` gives, beginning after the name that is the page's token."""

    def answer(request: Any, response: Any, storage: Any) -> None:
        listing(request, response, storage)
        if response.status != 200:
            return
        whole = json.loads(response._content)
        size = min(int(asked(request, "maxResults") or PAGE), PAGE)
        items = [item for item in whole["items"] if item["name"] > asked(request, "pageToken")]
        more = {"nextPageToken": items[size - 1]["name"]} if len(items) > size else {}
        response.json({**whole, "items": items[:size], **more})

    return answer


def versioned(get: Handler) -> Handler:
    """Refuses the versions of an object that are no more."""

    def answer(request: Any, response: Any, storage: Any) -> None:
        named = storage.objects.get(request.params["bucket_name"], {}).get(request.params["object_id"], {})
        now = named.get("generation", "")
        if asked(request, "generation") not in ("", now):
            response.status = server.HTTPStatus.NOT_FOUND
        elif asked(request, "ifGenerationMatch") not in ("", now):
            response.status = server.HTTPStatus.PRECONDITION_FAILED
        else:
            get(request, response, storage)
            response["X-Goog-Generation"] = now

    return answer


def asked(request: Any, name: str) -> str:
    """A parameter of the query, or nothing."""
    values: list[str] = request.query.get(name, [""])
    return values[0]


def token(request: Any, response: Any, _storage: Any) -> None:
    """An access token for whoever asks."""
    assert request.data
    response.json({"access_token": "emulated", "token_type": "Bearer", "expires_in": 3600})


def main(port: int) -> None:
    """Serves until it is killed."""
    wrapped = {
        objects.ls: paged(objects.ls),
        objects.get: versioned(objects.get),
        objects.download: versioned(objects.download),
    }
    known = [
        (path, {method: wrapped.get(handler, handler) for method, handler in methods.items()})
        for path, methods in server.HANDLERS
    ]
    server.HANDLERS = ((r"^/token$", {server.POST: token}), *known)
    Storage._write_config_to_file = lambda self: None
    storage = Storage(use_memory_fs=True)
    handler = server.partial(server.RequestHandler, storage)
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as serving:
        serving.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
