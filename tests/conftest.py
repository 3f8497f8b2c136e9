"""Servers that many tests share: each is started once in a test process."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.chaos.house import IMAGES, House, open_house
from tests.chaos.plan import NO_FAULTS
from tests.chaos.proxy import FaultProxy
from tests.chaos.storage import ENDPOINT, Storage
from tests.emulators.fixtures import pool, s3
from tests.home import Home, warm_home
from tests.known_services import know_services_once
from tests.one_authority import trust_one_authority
from tests.prefect_server import WITH_SLOW_EVENTS, PrefectServer, prefect_server
from tests.scheduling import pytest_collection_modifyitems, pytest_xdist_make_scheduler

__all__ = ["pool", "pytest_collection_modifyitems", "pytest_xdist_make_scheduler", "s3"]

trust_one_authority()
know_services_once()


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """The Prefect server of all tests that need none of their own."""
    with prefect_server(tmp_path_factory.mktemp("prefect"), **WITH_SLOW_EVENTS) as server:
        yield server


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, prefect_api: PrefectServer) -> Iterator[Home]:
    """A warm home with the real engine, likewise."""
    with warm_home(tmp_path_factory.mktemp("home"), prefect_api) as opened:
        yield opened


@pytest.fixture(scope="session")
def whole_house(tmp_path_factory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("house"), IMAGES) as opened:
        yield opened


@pytest.fixture
def house(whole_house: House) -> Iterator[House]:
    """The house with a proxy that remembers nothing and breaks nothing yet."""
    with fresh(whole_house.proxy):
        yield whole_house


@pytest.fixture(scope="session")
def whole_storage(pool) -> Iterator[Storage]:
    place = pool.place("s3")
    with FaultProxy(place.environment[ENDPOINT]) as proxy:
        yield Storage(place, proxy)
        assert proxy.problems == []


@pytest.fixture
def storage(whole_storage: Storage, s3) -> Iterator[Storage]:
    """An empty bucket behind such a proxy."""
    with fresh(whole_storage.proxy):
        yield whole_storage


@contextmanager
def fresh(proxy: FaultProxy) -> Iterator[None]:
    """The proxy without a record or a fault, before and after."""
    proxy.forget()
    try:
        yield
    finally:
        proxy.plan = NO_FAULTS
        proxy.arm(None)
