from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from tasks.roboflow_api.transport import Transport
from tests.fake_time import FakeTime
from tests.scripted import Scripted, scripted_server

KEY = "rf-secret-4711"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as scripted:
        yield scripted


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def transport(server: Scripted, time: FakeTime) -> Iterator[Transport]:
    with Transport(server.url, SecretStr(KEY), timing=time.timing()) as opened:
        yield opened
