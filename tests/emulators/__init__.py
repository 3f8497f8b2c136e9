"""Real storage servers on loopback for tests, all with one face: S3, GCS, Azure, SFTP, and a local folder.

In a test folder's ``conftest.py``::

    from tests.emulators.fixtures import *  # noqa: F403

and then, as arguments of a test, ``place`` (all five, one after the other), ``cloud`` (the three that sign URLs) or
one of ``s3``, ``gcs``, ``azure``, ``sftp``, ``local``::

    def test_something(cloud, monkeypatch):
        cloud.put("day 1/a.jpg", photo)
        source = open_source(f"{cloud.url}/day 1")  # this process's environment leads there
        darkroom("run", cloud.url, cwd=folder, **cloud.environment)  # so does a command's

A server starts when the first test asks for it and ends with the session; each test finds it empty, and this
process's environment holds the variables of the place that was asked for last, and none of another's.

``put``, ``get``, ``delete``, ``stored`` and ``clear`` use the vendor's own client or the disk, never this project's
code, so that it is judged by somebody else's.
Without pytest: ``with opened("s3", folder) as place``.
"""

from __future__ import annotations

from tests.emulators.pool import CLOUDS, KINDS, foreign_variables, opened
from tests.emulators.process import HOME

__all__ = ["CLOUDS", "HOME", "KINDS", "foreign_variables", "opened"]
