import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import pytest

from tests.deployments.batch_server.media_host import Answer, media_host
from tests.deployments.batch_server.running import KEY, ROOT, ServerClient, archive, job_body, process_server
from tests.waiting import wait_for

NO_ENGINE = ("--engine", "missing/python")


def start_and_fail(*arguments: str) -> str:
    command = [sys.executable, "-m", "deployments.batch_server", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    return ended.stderr


def test_server_says_when_it_is_ready_and_warns_once_without_an_engine(tmp_path: Path) -> None:
    with process_server(tmp_path / "data", *NO_ENGINE) as server:
        assert server.ready == (
            f"batch server ready on {server.client.url} (workspace local, data {tmp_path / 'data'})\n"
        )
        server.client.upload("b", "a.jpg", b"one")
        kept = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
        assert not any(path.stat().st_mode & 0o077 for path in kept)
        server.client.jobs("POST", "/j", json=job_body("b"))
        found = server.client.finished("j")
        assert found["error"]
        assert "missing/python is missing" in found["lastNotification"]
        (warning,) = server.terminate().splitlines()
    assert server.process.returncode == 0
    assert "missing/python is missing" in warning


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_quietly_though_an_upload_is_under_way(tmp_path: Path, number: signal.Signals) -> None:
    with process_server(tmp_path / "data", *NO_ENGINE) as server:
        url = urlsplit(server.client.allocate("b"))
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n"
        with socket.create_connection((url.hostname, url.port)) as connection:
            connection.sendall(head.encode() + bytes(2_000_000))
            wait_for(lambda: list((tmp_path / "data/blobs").glob("*/*")), "the first bytes")
            server.process.send_signal(number)
            # The upload never ends: a server that waited for it would never do so either.
            errors = server.process.communicate(timeout=30)[1]
    assert server.process.returncode == 0
    assert len(errors.splitlines()) == 1, errors
    assert not list((tmp_path / "data/blobs").glob("*/*"))


def test_upload_and_download_that_clients_break_off_leave_no_noise(tmp_path: Path) -> None:
    with process_server(tmp_path, *NO_ENGINE) as server:
        server.client.upload("simple", "a.jpg", bytes(20_000_000))
        (listed,) = server.client.staging("GET", "/simple/list").json()["filesMetadata"]
        put, get = urlsplit(server.client.allocate("b")), urlsplit(listed["downloadURL"])
        path = "/data-staging/v1/external/local/batches/simple/upload/image"
        post = urlsplit(f"{server.client.url}{path}?fileName=b.jpg&api_key={KEY}")
        for method, url, body in (("PUT", put, bytes(2_000_000)), ("POST", post, b"--x"), ("GET", get, b"")):
            length = 3_000_000 if body else 0
            head = (
                f"{method} {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
                "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            )
            with socket.create_connection((url.hostname, url.port)) as connection:
                connection.sendall(head.encode() + body)
                if not body:
                    connection.recv(1000)
        wait_for(lambda: len(list((tmp_path / "blobs").glob("*/*"))) == 1, "the end of the cut file")
        (warning,) = server.terminate().splitlines()
    assert "missing/python" in warning


def test_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        errors = start_and_fail("--port", port, "--data", str(tmp_path))
    assert errors == f"error: port {port} is in use: choose another with --port, or 0 for a free one\n"


def test_host_of_another_machine_is_said(tmp_path: Path) -> None:
    errors = start_and_fail("--host", "203.0.113.1", "--port", "0", "--data", str(tmp_path))
    assert "change --host or --port" in errors
    assert len(errors.splitlines()) == 1


def test_data_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    errors = start_and_fail("--port", "0", "--data", str(tmp_path / "file" / "data"))
    assert "choose another with --data" in errors
    assert len(errors.splitlines()) == 1


def test_data_folder_of_another_server_is_said(tmp_path: Path) -> None:
    with process_server(tmp_path, *NO_ENGINE) as server:
        errors = start_and_fail("--port", "0", "--data", str(tmp_path))
        assert f"process {server.process.pid}" in errors
        assert len(errors.splitlines()) == 1
        assert server.client.http.get("/").status_code == 200


def test_database_that_is_damaged_is_said(tmp_path: Path) -> None:
    (tmp_path / "server.sqlite3").write_text("no database, and long enough not to be taken for an empty one")
    errors = start_and_fail("--port", "0", "--data", str(tmp_path), *NO_ENGINE)
    assert "the database in" in errors.splitlines()[-1]
    assert "Traceback" not in errors


def test_key_is_made_up_and_kept_for_the_owner_alone(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ROBOFLOW_API_KEY"}
    command = [sys.executable, "-m", "deployments.batch_server", "--port", "0", "--data", str(tmp_path), *NO_ENGINE]
    keys = []
    for _ in range(2):
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            client = ServerClient(process.stdout.readline().split()[4])
            key_file = tmp_path / "api-key"
            assert key_file.stat().st_mode & 0o777 == 0o600
            keys.append(key_file.read_text().strip())
            answer = client.bare.get(client.url, params={"api_key": keys[-1]})
            assert answer.json() == {"workspace": "local"}
            client.http.close()
            client.bare.close()
            process.terminate()
            _, errors = process.communicate()
            assert keys[-1] not in errors
    assert keys[0] == keys[1]
    assert len(keys[0]) >= 32


def test_server_killed_while_archives_arrive_has_those_it_confirmed_and_no_rest(tmp_path: Path) -> None:
    with process_server(tmp_path, *NO_ENGINE) as first:
        confirmed = first.client.allocate("b")
        assert first.client.put(confirmed, archive({"a.jpg": b"one"})).status_code == 200
        url = urlsplit(first.client.allocate("b"))
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n"
        with socket.create_connection((url.hostname, url.port)) as connection:
            connection.sendall(head.encode() + bytes(2_000_000))
            wait_for(lambda: len(list((tmp_path / "blobs").glob("*/*"))) == 2, "the first bytes")
            first.kill()
    with process_server(tmp_path, *NO_ENGINE) as second:
        assert len(list((tmp_path / "blobs").glob("*/*"))) == 1
        assert len(second.client.shards("b")) == second.client.count("b") == 1
        again = url.geturl().replace(first.client.url, second.client.url)
        assert second.client.put(again, archive({"b.jpg": b"two"})).status_code == 200
        second.client.shards("b")
        assert second.client.count("b") == 2
        errors = second.terminate()
    assert KEY not in errors


def test_signal_while_the_server_starts_ends_it_quietly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deployments.batch_server", "--port", "0", "--data", str(tmp_path), *NO_ENGINE]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_for((tmp_path / "server.lock").exists, "the lock")
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=10)[1]
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_allowed_host_that_is_none_is_said_at_once(tmp_path: Path) -> None:
    errors = start_and_fail("--port", "0", "--data", str(tmp_path), "--allow-host", "http://minio.local:9000")
    assert "'http://minio.local:9000' is no host name, IP address or network" in errors.splitlines()[-1]
    assert not (tmp_path / "server.lock").exists()


def test_database_of_another_version_is_said(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "server.sqlite3") as connection:
        connection.execute("CREATE TABLE batches (seq INTEGER)")
    connection.close()
    errors = start_and_fail("--port", "0", "--data", str(tmp_path), *NO_ENGINE)
    assert errors.splitlines()[-1] == (
        f"error: the database in {tmp_path} cannot be used: it was made by another version of this server; "
        "choose another folder with --data, or move this one away"
    )
    assert "Traceback" not in errors


def test_plan_is_the_operators(tmp_path: Path) -> None:
    plan = ("--plan-without", "gpu", "--plan-without", "compilation")
    with process_server(tmp_path, *NO_ENGINE, *plan) as server:
        server.client.upload("b", "a.jpg", b"one")
        gpu = {"computeConfiguration": {"type": "compute-configuration-v2", "machineType": "gpu"}}
        assert server.client.jobs("POST", "/g", json=job_body("b", **gpu)).status_code == 402
        compilation = {"type": "trt-compilation-v1", "modelId": "m/1"}
        assert server.client.jobs("POST", "/c", json=compilation).status_code == 402
        assert server.client.refer("r", {"a.jpg": "https://127.0.0.1/a.jpg"}).status_code == 200
    errors = start_and_fail("--port", "0", "--data", str(tmp_path), "--plan-without", "tpu")
    assert "invalid choice: 'tpu' (choose from 'gpu', 'compilation', 'references')" in errors


def test_number_of_jobs_is_the_operators(tmp_path: Path) -> None:
    arguments = ("--most-jobs", "1", "--allow-host", "127.0.0.1")
    never = Event()
    with media_host() as media, process_server(tmp_path, *NO_ENGINE, *arguments) as server:
        media.answers["/a.jpg"] = Answer(hold=never)
        server.client.refer("b", {"a.jpg": media.url("/a.jpg")})
        assert server.client.jobs("POST", "/first", json=job_body("b")).status_code == 200
        refused = server.client.jobs("POST", "/second", json=job_body("b"))
        never.set()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
    errors = start_and_fail("--port", "0", "--data", str(tmp_path), "--most-jobs", "0")
    assert "--most-jobs: must be at least 1" in errors
