import pytest

from tests.deployments.batch_server.running import KEY, ServerClient

STAGING = "/data-staging/v1/external/local/batches"
JOBS = "/batch-processing/v1/external/local/jobs"
CALLS = [
    ("GET", "/"),
    ("GET", STAGING),
    ("GET", f"{STAGING}/b"),
    ("POST", f"{STAGING}/b/upload/image?fileName=a.jpg"),
    ("POST", f"{STAGING}/b/bulk-upload/image-files"),
    ("GET", f"{STAGING}/b/count"),
    ("GET", f"{STAGING}/b/shards"),
    ("GET", f"{STAGING}/b/parts"),
    ("GET", f"{STAGING}/b/list"),
    ("GET", JOBS),
    ("GET", f"{JOBS}/j"),
    ("POST", f"{JOBS}/j"),
    ("POST", f"{JOBS}/j/abort"),
    ("GET", f"{JOBS}/j/stages"),
    ("GET", f"{JOBS}/j/stages/processing/tasks"),
    ("GET", f"{JOBS}/j/logs"),
    ("GET", "/local/workflows/minimal"),
    ("POST", "/local/workflows/mine"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("key", [None, "", "wrong", "ключ"])
def test_key_missing_or_wrong_is_401_on_every_call(
    server: ServerClient, method: str, path: str, key: str | None
) -> None:
    params = {} if key is None else {"api_key": key}
    answer = server.bare.request(method, f"{server.url}{path}", params=params, json={})
    assert answer.status_code == 401
    assert list(answer.json()) == ["error"]
    assert KEY not in answer.text


def test_workspace_of_key_is_told(server: ServerClient) -> None:
    assert server.http.get("/").json() == {"workspace": "local"}


def test_workspace_unknown_is_404(server: ServerClient) -> None:
    answer = server.http.get("/data-staging/v1/external/other/batches")
    assert answer.status_code == 404
    assert "'local'" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/nothing", f"{STAGING}/b/upload/audio", f"{JOBS}/j/rerun", "/docs"])
def test_unknown_call_is_404_in_json(server: ServerClient, path: str) -> None:
    answer = server.http.post(path)
    assert answer.status_code == 404
    assert path in answer.json()["error"]


@pytest.mark.parametrize(
    "params",
    [
        {"pageSize": "0"},
        {"pageSize": "x"},
        {"nextPageToken": "-1"},
        {"nextPageToken": "²"},
        {"nextPageToken": str(2**63)},
    ],
)
def test_page_parameters_that_are_wrong_are_400(server: ServerClient, params: dict[str, str]) -> None:
    answer = server.staging("GET", "", params=params)
    assert answer.status_code == 400
    assert "error" in answer.json()
