"""moto's S3 server with objects in it, run by the python of ``.venv-emulators``: ``serve_s3.py PORT BUCKET OBJECTS``.

The objects are put in from inside, which takes half a second; through HTTP it would take minutes. A page of a listing
that was asked for before is answered from memory: to make one takes moto 0.1 s of the CPU that its clients run on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID  # type: ignore[import-not-found]
from moto.s3.models import s3_backends  # type: ignore[import-not-found]
from moto.server import DomainDispatcherApplication, create_backend_app  # type: ignore[import-not-found]
from werkzeug.serving import run_simple  # type: ignore[import-not-found]

REGION = "eu-central-1"
FOLDER = 1000
"""Objects in a folder, which is also S3's page."""

Begin = Callable[..., Any]
Application = Callable[[dict[str, Any], Begin], Iterable[bytes]]


def fill(bucket: str, count: int) -> None:
    """Makes the bucket with ``count`` small objects in folders of a thousand, below one folder."""
    store = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    store.create_bucket(bucket, REGION)
    for number in range(count):
        store.put_object(bucket, f"2026-09/line-{number // FOLDER:03d}/image-{number:06d}.jpg", b"x" * 100)


def remembering(application: Application) -> Application:
    """``application`` with its listings kept; a token of the next page stays good, as nothing changes."""
    pages: dict[str, tuple[tuple[Any, ...], bytes]] = {}

    def answer(environment: dict[str, Any], begin: Begin) -> Iterable[bytes]:
        query = environment["QUERY_STRING"]
        if environment["REQUEST_METHOD"] != "GET" or "list-type=2" not in query:
            return application(environment, begin)
        asked = f"{environment['PATH_INFO']}?{query}"
        if asked not in pages:
            started: list[tuple[Any, ...]] = []
            body = b"".join(application(environment, lambda *start: started.append(start)))
            pages[asked] = started[0], body
        start, body = pages[asked]
        begin(*start)
        return [body]

    return answer


if __name__ == "__main__":
    port, name, objects = sys.argv[1:]
    fill(name, int(objects))
    run_simple("127.0.0.1", int(port), remembering(DomainDispatcherApplication(create_backend_app)), threaded=True)
