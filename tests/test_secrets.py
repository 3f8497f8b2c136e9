"""What must stay out of sight: the API key, the keys of cloud accounts, and the signatures of signed URLs."""

from __future__ import annotations

import json
import re
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from tests.chaos.calls import creates_job, downloads, sends_shard
from tests.chaos.house import API_KEY, EMBEDDED, House, make_photos
from tests.chaos.plan import NO_FAULTS, Fault, FaultPlan, Matching, Moment
from tests.chaos.secrets import account_key, signatures
from tests.chaos.storage import Storage
from tests.commands import Outcome, darkroom
from tests.emulators.places import Place
from tests.emulators.pool import CLOUDS, Pool, cannot_run, foreign_variables

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

MANAGED = {"PREFECT_API_URL": ""}
"""Without a configured API a command uses the managed server of the house, and waits until it has all logs."""
TALKATIVE = {
    "PREFECT_LOGGING_LEVEL": "DEBUG",
    "PREFECT_LOGGING_ROOT_LEVEL": "DEBUG",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "boto3,botocore,s3transfer,urllib3,google,azure",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
"""Everything that is ever logged goes to the console, and what the clouds' libraries log to Prefect's API as well."""
WRONG_KEY = "not-the-key-of-this-platform"
WRONG_ACCOUNT_KEY = "bm90IHRoZSBrZXkgb2YgdGhpcyBhY2NvdW50"
UNSAFE_SIGNATURE = "0123456789abcdef" * 4
ARTIFACTS_A_PAGE = 200
PHOTOS = 3
REFERENCES = "references.jsonl"


@dataclass(frozen=True)
class Traced:
    """The house after all the runs that might leave a secret behind."""

    house: House
    outcomes: dict[str, Outcome]
    secrets: dict[str, bytes]


@pytest.fixture(scope="module")
def traced(whole_house: House, whole_storage: Storage, pool: Pool) -> Traced:
    house = whole_house
    house.proxy.forget()
    with pytest.MonkeyPatch.context() as environment:
        for name in foreign_variables():
            environment.delenv(name)
        clouds = [pool.place(kind) for kind in CLOUDS if not cannot_run(kind)]
        outcomes = runs_from_here(house) | runs_from_clouds(house, whole_storage, clouds)
    for place in clouds:
        keep_contents(place, house.folder / "clouds" / place.kind)
    kept = {name: (house.home / "server" / name).read_bytes().strip() for name in ("api-key", "url-secret")}
    secrets = {"key": API_KEY.encode(), "wrong key": WRONG_KEY.encode(), **kept}
    secrets |= {f"account of {place.kind}": account_key(place).encode() for place in clouds}
    secrets |= {"wrong account": WRONG_ACCOUNT_KEY.encode(), "unsafe": UNSAFE_SIGNATURE.encode()}
    signed = house.proxy.signatures
    assert len(signed) > 10
    references = (house.folder / REFERENCES).read_bytes()
    of_references = signatures([*map(bytes, house.proxy.bodies), references])
    assert len(of_references) > PHOTOS * (len(clouds) + 1)
    named = {f"signature {number}": text.encode() for number, text in enumerate(signed | of_references)}
    return Traced(house, outcomes, secrets | named)


def runs_from_here(house: House) -> dict[str, Outcome]:
    return {
        "good": house.run("secrets", **MANAGED, **TALKATIVE),
        "shard refused": refused(house, sends_shard),
        "job refused": refused(house, creates_job),
        "killed": house.run_and_kill("secrets killed", Moment.MID_RESPONSE, downloads),
        "key refused": house.run("secrets", **MANAGED, ROBOFLOW_API_KEY=WRONG_KEY),
        "embedded": house.run("secrets", source=make_photos(house.folder / "few", 5), options=EMBEDDED, **MANAGED),
    }


def runs_from_clouds(house: House, storage: Storage, clouds: list[Place]) -> dict[str, Outcome]:
    """From each of them and back, then from a list of references; last what is refused."""
    outcomes = {}
    for place in clouds:
        for photo in sorted(house.photos.iterdir())[:PHOTOS]:
            place.put(f"in/{photo.name}", photo.read_bytes())
        places = ("--runs", f"{place.url}/runs", "--destination", f"{place.url}/results")
        outcomes[place.kind] = run_from(house, place, "--transfer", "reference", *places)
    s3, *_ = clouds
    outcomes |= runs_from_references(house, s3)
    if "azure" in outcomes:
        wrong = {"AZURE_STORAGE_ACCOUNT_KEY": WRONG_ACCOUNT_KEY}
        outcomes["azure refused"] = run_from(house, clouds[-1], **wrong)
    storage.proxy.plan = FaultPlan(share=1.0, kinds=(Fault.REFUSED,), max_in_a_row=1000)
    try:
        outcomes["s3 refused"] = run_from(house, s3, **storage.environment)
    finally:
        storage.proxy.plan = NO_FAULTS
    return outcomes


def run_from(house: House, place: Place, *options: str, **variables: str) -> Outcome:
    environment = place.environment | variables
    return house.run("secrets", source=f"{place.url}/in", options=options, **MANAGED, **TALKATIVE, **environment)


def runs_from_references(house: House, place: Any) -> dict[str, Outcome]:
    """The list is made by a command; then a file goes missing, and another list leads where the server does not go."""
    words = ("stage", f"{place.url}/in", "--references", REFERENCES, "--runs", str(house.runs))
    variables = {**house.environment, **MANAGED, **TALKATIVE}
    staged = darkroom(*words, cwd=house.folder, **variables, **place.environment)
    place.delete("in/photo-0000.png")
    unsafe = house.folder / f"unsafe-{REFERENCES}"
    url = f"http://127.1.2.3/photo.png?X-Amz-Signature={UNSAFE_SIGNATURE}"
    unsafe.write_text(json.dumps({"name": "photo.png", "url": url}) + "\n")
    return {
        "staged": staged,
        "references": house.run("secrets", source=house.folder / REFERENCES, **MANAGED, **TALKATIVE),
        "unsafe": house.run("secrets", source=unsafe, **MANAGED, **TALKATIVE),
    }


def keep_contents(place: Place, folder: Path) -> None:
    """Copies all that runs have left in a cloud to where files are searched."""
    for key in place.stored():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(place.get(key))


def refused(house: House, matching: Matching) -> Outcome:
    """A run that the platform stops for good, with an answer that gives away whatever it was sent."""
    house.proxy.plan = FaultPlan(share=1.0, kinds=(Fault.REFUSED,), matching=matching)
    try:
        return house.run(f"secrets {matching.__name__}", **MANAGED)
    finally:
        house.proxy.plan = NO_FAULTS


def contents(path: Path) -> Iterator[bytes]:
    """A file as it is and, where something is packed in it, that too."""
    yield path.read_bytes()
    if path.suffix == ".parquet":
        yield str(pq.read_table(path).to_pylist()).encode()
    elif path.suffix == ".db":
        yield from cells(path)
    elif path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                yield file.read() if file else b""


def cells(database: Path) -> Iterator[bytes]:
    """All rows of all tables: a long text may be scattered over the file."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                yield b"\n".join(cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)


def found(secrets: dict[str, bytes], path: Path) -> set[str]:
    """Names of the secrets in a file."""
    pattern = re.compile(b"|".join(re.escape(secret) for secret in secrets.values()))
    names = {secret: name for name, secret in secrets.items()}
    return {names[hit] for content in contents(path) for hit in pattern.findall(content)}


def test_runs_end_as_they_should(traced):
    outcomes = traced.outcomes
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "good": 0,
        "shard refused": 1,
        "job refused": 1,
        "killed": -9,
        "key refused": 2,
        "embedded": 0,
    }
    assert not any("Traceback" in outcome.errors for outcome in outcomes.values())
    for name in ("shard refused", "job refused", "key refused"):
        assert len([line for line in outcomes[name].errors.splitlines() if line.startswith("darkroom: ")]) == 1


def test_output_of_commands_holds_no_secret(traced):
    for name, outcome in traced.outcomes.items():
        for secret_name, secret in traced.secrets.items():
            assert secret.decode() not in outcome.output + outcome.errors, f"{secret_name} in the output of {name}"


@pytest.mark.parametrize("place", ["runs", "home", "server", "server.log"])
def test_files_hold_no_secret(traced, place):
    root = traced.house.folder / place
    paths = [path for path in (root, *root.rglob("*")) if path.is_file()]
    where = {path: names for path in paths if (names := found(traced.secrets, path))}
    own = {"api-key", "url-secret"}
    assert {path: names for path, names in where.items() if path.name not in own} == {}
    for path, names in where.items():
        assert names == {path.name}


def test_search_sees_what_the_prefect_database_holds(traced):
    database = traced.house.home / "prefect" / "prefect.db"
    key = traced.outcomes["good"].last_line[1]
    log_line, artifact, refusal = f"job dr-{key}".encode(), b"Staged from", b"was refused with 400"
    assert found({"log": log_line, "artifact": artifact, "error": refusal}, database) == {"log", "artifact", "error"}


def test_artifacts_hold_no_secret(traced):
    url, artifacts = f"{traced.house.prefect_url}/artifacts", ""
    with httpx.Client(timeout=30, trust_env=False) as api:
        count = api.post(f"{url}/count", json={}).raise_for_status().json()
        for offset in range(0, count, ARTIFACTS_A_PAGE):
            page = {"limit": ARTIFACTS_A_PAGE, "offset": offset}
            artifacts += api.post(f"{url}/filter", json=page).raise_for_status().text
    assert f"dr-{traced.outcomes['good'].last_line[1]}" in artifacts
    assert [name for name, secret in traced.secrets.items() if secret.decode() in artifacts] == []
