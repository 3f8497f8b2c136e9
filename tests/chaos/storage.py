"""A bucket behind a proxy: what the server fetches from it and a command stores in it can be watched and broken."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tests.chaos.calls import fetches_photo
from tests.chaos.proxy import FaultProxy
from tests.emulators.places import Place

ENDPOINT = "AWS_ENDPOINT_URL"

SMALL_CHUNKS = ("--constant", "tasks.steps.referencing:MAX_REFERENCES=5")
"""For :mod:`tests.chaos.launch`: so few references go in one request that a handful of photographs makes several."""


@dataclass(frozen=True)
class Storage:
    """A bucket of the S3 emulator."""

    place: Place
    proxy: FaultProxy

    @property
    def photos(self) -> str:
        """URL of the folder that :meth:`fill` fills."""
        return f"{self.place.url}/in"

    @property
    def run(self) -> dict[str, Any]:
        """Arguments of :meth:`House.run` for a run on them by reference."""
        return {"source": self.photos, "options": ("--transfer", "reference"), **self.environment}

    @property
    def environment(self) -> dict[str, str]:
        """What leads a command here, through the proxy; the URLs that it signs lead through it as well."""
        return self.place.environment | {ENDPOINT: self.proxy.url}

    def fill(self, photos: Path, count: int) -> None:
        """Puts the first of these photographs there."""
        for path in islice(sorted(photos.iterdir()), count):
            self.place.put(f"in/{path.name}", path.read_bytes())

    def stored(self) -> list[str]:
        """What lies in the bucket but for the photographs."""
        return [key for key in self.place.stored() if not key.startswith("in/")]

    def fetched(self) -> Counter[str]:
        """How often each photograph was served whole, by its key."""
        return self.proxy.completed("GET", fetches_photo)
