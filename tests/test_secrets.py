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

import httpx
import pyarrow.parquet as pq
import pytest

from flows.prefect_server import prefect_service
from tests.chaos.calls import creates_job, downloads, sends_shard
from tests.chaos.house import API_KEY, EMBEDDED, House, make_photos
from tests.chaos.plan import NO_FAULTS, Fault, FaultPlan, Matching, Moment
from tests.chaos.secrets import account_key, signatures
from tests.chaos.storage import Storage
from tests.commands import Outcome, darkroom
from tests.emulators.places import Place
from tests.emulators.pool import CLOUDS, Pool, cannot_run, foreign_variables
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

MANAGED = {"PREFECT_API_URL": "", "PREFECT_LOGGING_TO_API_ENABLED": "true"}
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
SESSION_TOKEN = "FwoGZXIvYXdzEBYaDHRlc3RzZXNzaW9udG9rZW4"
UNSAFE_SIGNATURE = "0123456789abcdef" * 4
ARTIFACTS_A_PAGE = 200
HEX_DIGITS = 64
HEX = re.compile(b"[0-9a-f]{%d,}" % HEX_DIGITS)
"""Most signatures are such: hundreds of them are looked for one by one, not each in all there is."""
PHOTOS = 3
REFERENCES = "references.jsonl"


@dataclass(frozen=True)
class Cloud:
    """A cloud with some photographs, and how a command gets there."""

    place: Place
    environment: dict[str, str]

    @property
    def photos(self) -> str:
        return f"{self.place.url}/in"


@dataclass(frozen=True)
class Traced:
    """The house after all the runs that might leave a secret behind, with its managed Prefect server."""

    house: House
    prefect: PrefectServer
    outcomes: dict[str, Outcome]
    secrets: dict[str, bytes]


@pytest.fixture(scope="module")
def traced(whole_house: House, whole_storage: Storage, pool: Pool) -> Iterator[Traced]:
    managed = prefect_service(whole_house.home)
    with managed.use() as url:
        yield trace(whole_house, PrefectServer(url, whole_house.home), whole_storage, pool)
    assert managed.wait_until_gone()


def trace(house: House, prefect: PrefectServer, whole_storage: Storage, pool: Pool) -> Traced:
    house.proxy.forget()
    with pytest.MonkeyPatch.context() as environment:
        for name in foreign_variables():
            environment.delenv(name)
        clouds = open_clouds(house, pool, whole_storage)
        outcomes = (
            runs_from_here(house) | runs_from_clouds(house, clouds) | refused_by_clouds(house, clouds, whole_storage)
        )
    for cloud in clouds:
        keep_contents(cloud.place, house.folder / "clouds" / cloud.place.kind)
    kept = {name: (house.home / "server" / name).read_bytes().strip() for name in ("api-key", "url-secret")}
    secrets = {"key": API_KEY.encode(), "wrong key": WRONG_KEY.encode(), **kept}
    secrets |= {f"account of {cloud.place.kind}": account_key(cloud.place).encode() for cloud in clouds}
    secrets |= {"wrong account": WRONG_ACCOUNT_KEY.encode(), "session": SESSION_TOKEN.encode()}
    references = (house.folder / REFERENCES).read_bytes()
    groups = {
        "signature": house.proxy.signatures,
        "storage": whole_storage.proxy.signatures,
        "reference": signatures([*map(bytes, house.proxy.bodies), references]),
    }
    assert all(len(group) >= 3 * PHOTOS for group in groups.values())
    for name, group in groups.items():
        secrets |= {f"{name} {number}": text.encode() for number, text in enumerate(group)}
    return Traced(house, prefect, outcomes, secrets)


def runs_from_here(house: House) -> dict[str, Outcome]:
    return {
        "good": house.run("secrets", **MANAGED, **TALKATIVE),
        "shard refused": refused(house, sends_shard),
        "job refused": refused(house, creates_job),
        "killed": house.run_and_kill("secrets killed", Moment.MID_RESPONSE, downloads),
        "key refused": house.run("secrets", **MANAGED, ROBOFLOW_API_KEY=WRONG_KEY),
        "embedded": house.run("secrets", source=make_photos(house.folder / "few", 5), options=EMBEDDED, **MANAGED),
    }


def open_clouds(house: House, pool: Pool, storage: Storage) -> list[Cloud]:
    """All that this machine can run, S3 first, behind a proxy and with credentials for a session."""
    found = []
    for kind in CLOUDS:
        if cannot_run(kind):
            continue
        place = pool.place(kind)
        for photo in sorted(house.photos.iterdir())[:PHOTOS]:
            place.put(f"in/{photo.name}", photo.read_bytes())
        by_session = {**storage.environment, "AWS_SESSION_TOKEN": SESSION_TOKEN}
        found.append(Cloud(place, by_session if kind == "s3" else place.environment))
    return found


def runs_from_clouds(house: House, clouds: list[Cloud]) -> dict[str, Outcome]:
    """From each of them and back, then from a list of references of which one leads nowhere by then."""
    outcomes = {}
    for cloud in clouds:
        places = ("--runs", f"{cloud.place.url}/runs", "--destination", f"{cloud.place.url}/results")
        outcomes[cloud.place.kind] = run_from(house, cloud, "--transfer", "reference", *places)
    s3 = clouds[0]
    words = ("stage", s3.photos, "--references", REFERENCES, "--runs", str(house.runs))
    variables = {**house.environment, **MANAGED, **TALKATIVE, **s3.environment}
    outcomes["staged"] = darkroom(*words, cwd=house.folder, **variables)
    s3.place.delete("in/photo-0000.png")
    outcomes["references"] = house.run("secrets", source=house.folder / REFERENCES, **MANAGED, **TALKATIVE)
    return outcomes


def refused_by_clouds(house: House, clouds: list[Cloud], storage: Storage) -> dict[str, Outcome]:
    """What a store refuses, and what the server does not fetch."""
    unsafe = house.folder / f"unsafe-{REFERENCES}"
    url = f"http://127.1.2.3/photo.png?X-Amz-Signature={UNSAFE_SIGNATURE}"
    unsafe.write_text(json.dumps({"name": "photo.png", "url": url}) + "\n")
    outcomes = {"unsafe": house.run("secrets", source=unsafe, **MANAGED, **TALKATIVE)}
    for cloud in clouds:
        if cloud.place.kind == "azure":
            outcomes["azure refused"] = run_from(house, cloud, AZURE_STORAGE_ACCOUNT_KEY=WRONG_ACCOUNT_KEY)
    storage.proxy.plan = FaultPlan(share=1.0, kinds=(Fault.REFUSED,), max_in_a_row=1000)
    try:
        outcomes["s3 refused"] = run_from(house, clouds[0])
    finally:
        storage.proxy.plan = NO_FAULTS
    return outcomes


def run_from(house: House, cloud: Cloud, *options: str, **variables: str) -> Outcome:
    environment = {**MANAGED, **TALKATIVE, **cloud.environment, **variables}
    return house.run("secrets", source=cloud.photos, options=options, **environment)


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
    names = {secret: name for name, secret in secrets.items()}
    hexadecimal = {secret[:HEX_DIGITS]: names[secret] for secret in names if HEX.fullmatch(secret)}
    others = re.compile(b"|".join(re.escape(secret) for secret in names if not HEX.fullmatch(secret)))
    seen: set[str] = set()
    for content in contents(path):
        seen |= {names[hit] for hit in others.findall(content)}
        seen |= {hexadecimal[part] for run in HEX.findall(content) for part in windows(run) if part in hexadecimal}
    return seen


def windows(run: bytes) -> Iterator[bytes]:
    """Every place in a row of hexadecimal digits where a signature may begin."""
    for start in range(len(run) - HEX_DIGITS + 1):
        yield run[start : start + HEX_DIGITS]


def test_runs_end_as_they_should(traced):
    outcomes, without = traced.outcomes, [kind for kind in CLOUDS if cannot_run(kind)]
    expected = {
        "good": 0,
        "shard refused": 1,
        "job refused": 1,
        "killed": -9,
        "key refused": 2,
        "embedded": 0,
        "s3": 0,
        "gcs": 0,
        "azure": 0,
        "staged": 0,
        "references": 0,
        "unsafe": 1,
        "azure refused": 2,
        "s3 refused": 2,
    }
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        name: status for name, status in expected.items() if name.partition(" ")[0] not in without
    }
    # Azure's library logs one of its own at level DEBUG.
    assert not any("Traceback" in outcome.errors for name, outcome in outcomes.items() if name != "azure")
    for name in ("shard refused", "job refused", "key refused", "unsafe", "s3 refused"):
        assert len([line for line in outcomes[name].errors.splitlines() if line.startswith("darkroom: ")]) == 1


def test_output_of_commands_holds_no_secret(traced):
    for name, outcome in traced.outcomes.items():
        for secret_name, secret in traced.secrets.items():
            assert secret.decode() not in outcome.output + outcome.errors, f"{secret_name} in the output of {name}"


@pytest.mark.parametrize("place", ["runs", "home", "server", "server.log", "prefect", "clouds"])
def test_files_hold_no_secret(traced, place):
    root = traced.house.folder / place
    paths = [path for path in (root, *root.rglob("*")) if path.is_file()]
    where = {path: names for path in paths if (names := found(traced.secrets, path))}
    own = {"api-key", "url-secret"}
    assert {path: names for path, names in where.items() if path.name not in own} == {}
    for path, names in where.items():
        assert names == {path.name}


def test_libraries_of_clouds_have_talked(traced):
    database = traced.house.home / "prefect" / "prefect.db"
    said = {"botocore": b"botocore.hooks", "urllib3": b"urllib3.connectionpool", "google": b"google.auth.transport"}
    assert found(said, database) == set(said)
    assert said["botocore"].decode() in traced.outcomes["s3"].errors


def test_search_sees_what_the_prefect_database_holds(traced):
    database = traced.house.home / "prefect" / "prefect.db"
    key = traced.outcomes["good"].last_line[1]
    log_line, artifact, refusal = f"job dr-{key}".encode(), b"Staged from", b"was refused with 400"
    assert found({"log": log_line, "artifact": artifact, "error": refusal}, database) == {"log", "artifact", "error"}


def test_artifacts_hold_no_secret(traced):
    url, artifacts = f"{traced.prefect.api_url}/artifacts", ""
    with httpx.Client(timeout=30, trust_env=False) as api:
        count = api.post(f"{url}/count", json={}).raise_for_status().json()
        for offset in range(0, count, ARTIFACTS_A_PAGE):
            page = {"limit": ARTIFACTS_A_PAGE, "offset": offset}
            artifacts += api.post(f"{url}/filter", json=page).raise_for_status().text
    assert f"dr-{traced.outcomes['good'].last_line[1]}" in artifacts
    assert [name for name, secret in traced.secrets.items() if secret.decode() in artifacts] == []
