"""The house that the pipeline's chaos tests share: its servers are started once."""

from collections.abc import Iterator

import pytest

from tests.chaos.house import IMAGES, House, open_house
from tests.chaos.plan import NO_FAULTS


@pytest.fixture(scope="session")
def whole_house(tmp_path_factory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("house"), IMAGES) as opened:
        yield opened


@pytest.fixture
def house(whole_house: House) -> Iterator[House]:
    """The house with a proxy that remembers nothing and breaks nothing yet."""
    whole_house.proxy.forget()
    yield whole_house
    whole_house.proxy.plan = NO_FAULTS
    whole_house.proxy.arm(None)
