from __future__ import annotations

import http.server
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.prefect_config import check_api, configured_api_url
from flows.prefect_server import managed_prefect_api, prefect_service, prepare, server_environment
from tasks.core.errors import BadInput, ServiceFailed

ROOT = Path(__file__).parents[2]

RUN = """
import sys
from pathlib import Path
from flows.prefect_server import managed_prefect_api

assert "prefect" not in sys.modules
with managed_prefect_api(Path(sys.argv[1])):
    from prefect import flow, get_run_logger, task
    from prefect.artifacts import create_table_artifact

    @task
    def step(number):
        get_run_logger().info("step %d", number)
        if number % 10 == 0:
            create_table_artifact(table=[{"number": number}], key=f"step-{number}")
        return number

    @flow
    def thirty_steps():
        return sum(future.result() for future in [step.submit(number) for number in range(30)])

    assert thirty_steps() == 435
"""


def clean_environment(**extra: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | extra


def run_flow(home: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, str(home)],
        cwd=folder,
        env=clean_environment(PYTHONPATH=str(ROOT), HOME=str(folder)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def no_prefect_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PREFECT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    assert prepare(folder)
    yield folder
    assert prefect_service(folder).stop()


@pytest.fixture
def answering() -> Iterator[tuple[http.server.HTTPServer, str]]:
    """A server on loopback that answers every GET with its attribute ``answer``, and its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = self.server.answer  # type: ignore[attr-defined]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server, f"http://user:hush@127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


@pytest.mark.prefect_server
def test_preparing_again_is_skipped_at_once(home: Path) -> None:
    before = prefect_service(home).record()
    assert not prepare(home)
    assert prefect_service(home).record() == before


@pytest.mark.prefect_server
def test_flow_on_the_managed_server_is_recorded_whole_and_quietly(home: Path, tmp_path: Path) -> None:
    service = prefect_service(home)
    done = run_flow(home, tmp_path)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert service.wait_until_gone()
    for text in (output, service.log.read_text()):
        assert not any(word in text for word in ("Traceback", "WARNING", "ERROR", "CRITICAL"))
    with sqlite3.connect(service.state_dir / "prefect.db") as database:

        def ask(query: str) -> list[tuple[object, ...]]:
            return database.execute(query).fetchall()

        assert ask("select state_type, count(*) from flow_run group by 1") == [("COMPLETED", 1)]
        assert ask("select state_type, count(*) from task_run group by 1") == [("COMPLETED", 30)]
        states = ask("select type, count(*) from task_run_state group by 1 order by 1")
        assert states == [("COMPLETED", 30), ("PENDING", 30), ("RUNNING", 30)]
        assert ask("select count(*) from artifact") == [(3,)]
        assert ask("select count(*) from log where message like 'step %'") == [(30,)]
    database.close()
    assert not (tmp_path / ".prefect" / "prefect.db").exists()


@pytest.mark.prefect_server
def test_ui_knows_the_address_of_its_api(home: Path, no_prefect_settings: None) -> None:
    import httpx

    with prefect_service(home).use() as url:
        assert httpx.get(f"{url}/ui-settings").json()["api_url"] == f"{url}/api"
        assert "<html" in httpx.get(url, follow_redirects=True).text


def test_environment_of_the_server_holds_no_key(
    no_prefect_settings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roboflow = ("ROBOFLOW_API_KEY", "ROBOFLOW_PUBLISHABLE_KEY")
    clouds = ("AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_KEY", "GOOGLE_APPLICATION_CREDENTIALS")
    ours = ("DARKROOM_SFTP_PASSWORD", "DARKROOM_SOURCE", "DARKROOM_WEBHOOK_SECRET", "PREFECT_API_KEY")
    for name in (*roboflow, *clouds, *ours, "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "hush")
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "sqlite:///elsewhere")
    environment = server_environment(tmp_path)
    assert [name for name, value in environment.items() if value == "hush"] == ["SSL_CERT_FILE"]
    assert str(tmp_path / "prefect" / "prefect.db") in environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"]


def test_preparing_where_it_cannot_work_is_one_clear_line(no_prefect_settings: None, tmp_path: Path) -> None:
    (tmp_path / "prefect" / "prefect.db").mkdir(parents=True)
    with pytest.raises(ServiceFailed, match="prefect does not start") as failure:
        prepare(tmp_path)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".env", "PREFECT_API_URL=http://there/api\n"),
        ("prefect.toml", '[api]\nurl = "http://there/api"\n'),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://there/api"\n'),
        (".prefect/profiles.toml", 'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://there/api"\n'),
        ("mine.toml", 'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://there/api"\n'),
        ("x/profiles.toml", '[profiles.a]\nPREFECT_API_URL = "http://there/api"\n'),
    ],
)
def test_configured_api_is_found_where_prefect_finds_it(
    no_prefect_settings: None, tmp_path: Path, file: str, text: str
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    extra = {
        "mine.toml": {"PREFECT_PROFILES_PATH": "mine.toml"},
        "x/profiles.toml": {"PREFECT_HOME": "x", "PREFECT_PROFILE": "a"},
    }.get(file, {})
    assert configured_api_url(extra, tmp_path) == "http://there/api"
    assert configured_api_url({"PREFECT_API_URL": "http://first/api"} | extra, tmp_path) == "http://first/api"


def test_prefect_agrees_about_the_configured_api(no_prefect_settings: None, tmp_path: Path) -> None:
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").write_text(
        'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://a/api"\n[profiles.b]\nPREFECT_API_URL = "http://b/api"\n'
    )
    asked = "from prefect.settings import get_current_settings as s; print(s().api.url)"
    for extra in ({}, {"PREFECT_PROFILE": "b"}):
        answer = subprocess.run(
            [sys.executable, "-c", asked],
            cwd=tmp_path,
            env=clean_environment(HOME=str(tmp_path), **extra),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert configured_api_url(extra, tmp_path) == answer.stdout.strip()


def test_nothing_configured_is_nothing(no_prefect_settings: None, tmp_path: Path) -> None:
    assert configured_api_url({}, tmp_path) is None
    assert configured_api_url({"PREFECT_PROFILE": "ephemeral"}, tmp_path) is None
    assert configured_api_url({"PREFECT_PROFILE": "local"}, tmp_path) == "http://127.0.0.1:4200/api"


def test_broken_settings_file_is_one_clear_line(no_prefect_settings: None, tmp_path: Path) -> None:
    (tmp_path / "prefect.toml").write_text("api = [")
    with pytest.raises(BadInput, match=r"prefect\.toml is not valid TOML .*: correct it"):
        configured_api_url({}, tmp_path)


def test_configured_api_that_answers_is_used(
    answering: tuple[http.server.HTTPServer, str],
    no_prefect_settings: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, url = answering
    server.answer = (200, b"true")  # type: ignore[attr-defined]
    monkeypatch.setenv("PREFECT_API_URL", url)
    with managed_prefect_api(tmp_path) as used:
        assert used == url
    assert not (tmp_path / "prefect").exists()


@pytest.mark.parametrize("answer", [(200, b"<html>"), (404, b""), (503, b"")])
def test_configured_api_that_is_none_is_one_clear_line(
    answering: tuple[http.server.HTTPServer, str], answer: tuple[int, bytes]
) -> None:
    server, url = answering
    server.answer = answer  # type: ignore[attr-defined]
    with pytest.raises(BadInput, match=rf"no Prefect API at .* \(HTTP {answer[0]}; .*PREFECT_API_URL") as failure:
        check_api(url)
    assert "hush" not in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("url", ["http://user:hush@127.0.0.1:9/api", "127.0.0.1/api", "http://[bad/api"])
def test_configured_api_that_is_down_is_one_clear_line(url: str) -> None:
    with pytest.raises(BadInput, match=r"the Prefect API at .* cannot be reached: .*PREFECT_API_URL") as failure:
        check_api(url)
    assert "hush" not in str(failure.value)
    assert "\n" not in str(failure.value)
