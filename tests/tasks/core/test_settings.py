from pathlib import Path

import pytest
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from tasks.core.errors import BadInput
from tasks.core.settings import Settings, load_settings
from tasks.sources.azure_settings import AzureSettings
from tasks.sources.sftp import SftpSettings

README = Path(__file__).parents[3] / "README.md"
FIELDS = Settings.model_fields
VARIABLES = [str(field.validation_alias) for field in FIELDS.values()]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "field",
    [field for settings in (Settings, AzureSettings, SftpSettings) for field in settings.model_fields.values()],
    ids=lambda field: str(field.validation_alias),
)
def test_setting_is_described_and_in_the_readme(field: FieldInfo) -> None:
    assert field.description
    assert field.description.endswith(".")
    alias = field.validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [alias]
    readme = README.read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in readme] == []


def test_settings_have_defaults() -> None:
    settings = load_settings()
    assert settings.api_key is None
    assert (settings.home, settings.runs) == (Path(".darkroom"), "runs")
    assert settings.cloud_url() == "https://api.roboflow.com"


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOFLOW_API_KEY", "S3CRET")
    monkeypatch.setenv("DARKROOM_RUNS", "/data/runs")
    monkeypatch.setenv("ROBOFLOW_REGION", "eu")
    settings = load_settings()
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "S3CRET"
    assert settings.runs == "/data/runs"
    assert settings.cloud_url() == "https://api.roboflow.eu"
    assert "S3CRET" not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"


def test_host_beats_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOFLOW_REGION", "eu")
    monkeypatch.setenv("API_BASE_URL", "http://127.0.0.1:9001")
    assert load_settings().cloud_url() == "http://127.0.0.1:9001"


def test_empty_variables_count_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    assert load_settings() == Settings()
    assert load_settings().api_key is None


def test_region_that_is_none_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOFLOW_REGION", "mars")
    with pytest.raises(BadInput, match=r"ROBOFLOW_REGION: .*'us' or 'eu'") as caught:
        load_settings()
    assert "\n" not in str(caught.value)
