"""The store of one file, and a client for it."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
import pytest

from tasks.roboflow_api.streaming import Streams, leave
from tasks.transfer.download import Fetch, Response
from tests.tasks.transfer.file_store import Server, Store, make_handler


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    server = Server(("127.0.0.1", 0), make_handler(store))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    store.url = f"http://127.0.0.1:{server.server_address[1]}/file?signature=s3cret"
    yield store
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def fetch() -> Fetch:
    """Each request on a connection of its own: servers here end connections without a word, and nobody tries again."""
    context = httpx.create_ssl_context(trust_env=False)

    @contextmanager
    def fetch(url: str, headers: Mapping[str, str]) -> Iterator[Response]:
        streams = Streams(connect=5, read=5, connections=2, context=context, trust_env=False)
        answer = streams.open(url, headers)
        try:
            yield answer
        finally:
            leave(answer)
            streams.close()

    return fetch
