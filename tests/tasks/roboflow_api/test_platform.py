import json
import socket
from pathlib import Path

import pytest

from tasks.core.errors import BadInput, ConnectionFailed, KeyRefused
from tasks.core.settings import load_settings
from tasks.roboflow_api import platform as module
from tasks.roboflow_api.platform import CLOUD, embedded_server, open_platform
from tasks.roboflow_api.retrying import RetryPolicy
from tests.scripted import Reply, Scripted
from tests.tasks.roboflow_api.conftest import KEY
from tests.tasks.roboflow_api.test_workflows import DEFINITION


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_BASE_URL", "ROBOFLOW_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROBOFLOW_API_KEY", KEY)


def test_platform_is_known_by_its_url(server: Scripted) -> None:
    server.answers({"workspace": "my-space"})
    with open_platform(server.url, load_settings()) as platform:
        assert (platform.name, platform.url, platform.workspace) == (server.url, server.url, "my-space")
    assert (server.seen[0].path, server.seen[0].query) == ("/", {"api_key": KEY})


def test_cloud_takes_its_host_from_the_settings(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_BASE_URL", server.url)
    server.answers({"workspace": "w"})
    with open_platform(CLOUD, load_settings()) as platform:
        assert (platform.name, platform.url) == ("roboflow", server.url)
        cloud = platform.pace
    server.answers({"workspace": "w"})
    with open_platform(server.url, load_settings()) as platform:
        assert platform.pace.longest < cloud.longest


def test_platform_without_a_key_is_bad_input(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOFLOW_API_KEY")
    with pytest.raises(BadInput, match="set ROBOFLOW_API_KEY"), open_platform(server.url, load_settings()):
        pass
    assert server.seen == []


def test_platform_that_refuses_the_key_says_so(server: Scripted) -> None:
    server.replies([Reply(401, f'{{"error": "wrong key {KEY}"}}'.encode())])
    with pytest.raises(KeyRefused, match="ROBOFLOW_API_KEY") as caught, open_platform(server.url, load_settings()):
        pass
    assert KEY not in str(caught.value)


def test_platform_that_is_down_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_CALL", RetryPolicy(attempts=1))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"  # nobody listens there
    with pytest.raises(ConnectionFailed, match="is the server running"), open_platform(url, load_settings()):
        pass


def test_platform_that_is_another_server_says_so(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_CALL", RetryPolicy(attempts=1))
    server.replies([Reply(body=b"<html>It works!</html>")])
    with pytest.raises(ConnectionFailed, match="cannot be read"), open_platform(server.url, load_settings()):
        pass


@pytest.mark.parametrize("name", ["cloud", "ftp://host", "localhost:9001", "http://[::1"])
def test_platform_that_is_none_is_bad_input(name: str) -> None:
    with pytest.raises(BadInput, match="embedded, roboflow or a URL"), open_platform(name, load_settings()):
        pass


def test_workflow_is_found_or_registered(server: Scripted, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(DEFINITION))
    server.answers({"workspace": "w"}, {"workflow": {"config": "{}"}}, {})
    with open_platform(server.url, load_settings()) as platform:
        assert platform.workflow("photo-audit").id == "photo-audit"
        assert platform.workflow(str(file)).id.startswith("mine-")
    assert [seen.method for seen in server.seen] == ["GET", "GET", "POST"]


def test_embedded_server_gets_none_of_the_pipelines_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    clouds = ("AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_KEY", "GOOGLE_APPLICATION_CREDENTIALS")
    ours = ("DARKROOM_SFTP_PASSWORD", "DARKROOM_SOURCE", "DARKROOM_WEBHOOK_SECRET", "PREFECT_API_KEY")
    for name in (*clouds, *ours, "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "SECRET")
    given = embedded_server(load_settings())._env
    assert [name for name, value in given.items() if value == "SECRET"] == ["SSL_CERT_FILE"]
    assert KEY not in given.values()
