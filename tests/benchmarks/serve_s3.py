"""moto's S3 server with objects in it, run by the python of ``.venv-emulators``: ``serve_s3.py PORT BUCKET OBJECTS``.

The objects are put in from inside, which takes half a second; through HTTP it would take minutes.
"""

from __future__ import annotations

import sys

from moto.core import DEFAULT_ACCOUNT_ID  # type: ignore[import-not-found]
from moto.s3.models import s3_backends  # type: ignore[import-not-found]
from moto.server import main  # type: ignore[import-not-found]

REGION = "eu-central-1"
FOLDER = 1000
"""Objects in a folder, which is also S3's page."""


def fill(bucket: str, count: int) -> None:
    """Makes the bucket with ``count`` small objects in folders of a thousand, below one folder."""
    store = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    store.create_bucket(bucket, REGION)
    for number in range(count):
        store.put_object(bucket, f"2026-09/line-{number // FOLDER:03d}/image-{number:06d}.jpg", b"x" * 100)


if __name__ == "__main__":
    port, name, objects = sys.argv[1:]
    fill(name, int(objects))
    main(["-H", "127.0.0.1", "-p", port])
