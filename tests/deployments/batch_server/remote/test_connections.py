import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from deployments.batch_server.remote.failures import FetchFailed
from tests.deployments.batch_server.remote.fetch_client import Client

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"


@contextmanager
def raw_host(*answers: bytes) -> Iterator[tuple[str, list[socket.socket]]]:
    """Answers one request on each connection and leaves it open; gives its URL and the connections so far."""
    connections: list[socket.socket] = []

    def serve() -> None:
        for answer in answers:
            connections.append(listener.accept()[0])
            connections[-1].settimeout(10)
            connections[-1].recv(10_000)
            connections[-1].sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections
        finally:
            thread.join()
            for connection in connections:
                connection.close()


def test_connection_on_which_more_came_than_was_asked_for_is_not_used_again() -> None:
    with raw_host(GOOD + EVIL, GOOD) as (base, _):
        assert Client().get(f"{base}/a", f"{base}/b") == [b"hello", b"hello"]


def test_connection_on_which_something_came_while_nobody_used_it_is_not_used_again() -> None:
    client = Client()

    async def fetch_twice() -> list[bytes | FetchFailed]:
        try:
            first = await client.try_one(f"{base}/a")
            connections[0].sendall(EVIL)
            return [first, await client.try_one(f"{base}/b")]
        finally:
            client.pool.close_idle()

    with raw_host(GOOD, GOOD) as (base, connections):
        assert asyncio.run(fetch_twice()) == [b"hello", b"hello"]
