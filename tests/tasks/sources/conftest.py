"""The places that sources are tested against."""

from tests.emulators.fixtures import *  # noqa: F403
