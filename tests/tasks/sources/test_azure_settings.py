"""What the environment says about Azure: both naming conventions, both credentials, and what is wrong with them."""

import base64
from datetime import UTC, datetime

import pytest

from tasks.core.errors import BadInput
from tasks.sources.azure_settings import AzureLogin, AzureSettings, find_login

NOW = datetime(2026, 9, 15, 12, tzinfo=UTC)
KEY = base64.b64encode(b"k" * 64).decode()
SAS = "sv=2026-02-06&ss=b&srt=co&sp=rl&se=2026-09-16T12:00:00Z&sig=c2VjcmV0%3D"
VARIABLES = ("ACCOUNT_NAME", "ACCOUNT", "ACCOUNT_KEY", "KEY", "SAS_TOKEN", "SERVICE_ENDPOINT")


@pytest.fixture(autouse=True)
def empty(monkeypatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)


def login(monkeypatch, account: str | None = None, **variables: str) -> AzureLogin:
    for name, value in variables.items():
        monkeypatch.setenv(f"AZURE_STORAGE_{name}", value)
    return find_login(account, AzureSettings(), NOW)


@pytest.mark.parametrize(
    "variables",
    [
        {"ACCOUNT_NAME": "photos1", "ACCOUNT_KEY": KEY},
        {"ACCOUNT": "photos1", "KEY": f" {KEY}\n"},
        {"ACCOUNT_NAME": "photos1", "ACCOUNT": "other", "ACCOUNT_KEY": KEY, "KEY": "other"},
        {"ACCOUNT_NAME": "", "ACCOUNT": "photos1", "ACCOUNT_KEY": "", "KEY": KEY, "SAS_TOKEN": ""},
    ],
)
def test_both_naming_conventions_are_read(monkeypatch, variables) -> None:
    found = login(monkeypatch, **variables)
    assert (found.account, found.endpoint) == ("photos1", "https://photos1.blob.core.windows.net")
    assert found.key is not None
    assert found.key.get_secret_value() == KEY
    assert found.variable == "AZURE_STORAGE_ACCOUNT_KEY"


@pytest.mark.parametrize("text", [SAS, f"?{SAS}", f" {SAS}\n", f"https://photos1.blob.core.windows.net/c?{SAS}"])
def test_sas_token_is_preferred_in_whatever_form_it_comes(monkeypatch, text) -> None:
    found = login(monkeypatch, ACCOUNT="photos1", KEY=KEY, SAS_TOKEN=text)
    assert found.key is None
    assert found.sas is not None
    assert (found.sas.text, found.sas.permissions, found.sas.ends) == (SAS, "rl", NOW.replace(day=16))
    assert found.variable == "AZURE_STORAGE_SAS_TOKEN"


@pytest.mark.parametrize(
    ("end", "ends"),
    [
        ("se=2026-09-17", datetime(2026, 9, 17, tzinfo=UTC)),
        ("se=2026-09-17T08:30Z", datetime(2026, 9, 17, 8, 30, tzinfo=UTC)),
        ("se=2026-09-17T08%3A30%3A00.1230000Z", datetime(2026, 9, 17, 8, 30, 0, 123000, tzinfo=UTC)),
        ("se=2026-09-17T08:30:00%2B02:00", datetime(2026, 9, 17, 6, 30, tzinfo=UTC)),
        ("se=2026-09-17T08:30Z&ske=2026-09-16T00:00Z", datetime(2026, 9, 16, tzinfo=UTC)),
        ("si=policy", None),
    ],
)
def test_token_ends_when_it_or_its_key_does(monkeypatch, end, ends) -> None:
    found = login(monkeypatch, ACCOUNT="photos1", SAS_TOKEN=f"sv=1&sr=c&{end}&sig=x")
    assert found.sas is not None
    assert found.sas.ends == ends


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"ACCOUNT_KEY": KEY}, "set AZURE_STORAGE_ACCOUNT_NAME"),
        ({"ACCOUNT_NAME": "Photos_1", "ACCOUNT_KEY": KEY}, "correct AZURE_STORAGE_ACCOUNT_NAME"),
        ({"ACCOUNT_NAME": "photos1"}, "AZURE_STORAGE_SAS_TOKEN .preferred. or AZURE_STORAGE_ACCOUNT_KEY"),
        ({"ACCOUNT_NAME": "photos1", "ACCOUNT_KEY": "secret*"}, "AZURE_STORAGE_ACCOUNT_KEY is no account key"),
        ({"ACCOUNT_NAME": "photos1", "KEY": "secret"}, "AZURE_STORAGE_ACCOUNT_KEY is no account key"),
        ({"ACCOUNT_NAME": "photos1", "SAS_TOKEN": "secret"}, "it has no sig="),
        ({"ACCOUNT_NAME": "photos1", "SAS_TOKEN": SAS.replace("09-16", "09-14")}, "expired at 2026-09-14 12:00 UTC"),
        ({"ACCOUNT_NAME": "photos1", "SAS_TOKEN": "se=soon&sig=secret"}, "a time that cannot be read"),
        ({"ACCOUNT_NAME": "photos1", "SAS_TOKEN": "ss=qt&sig=secret"}, r"not for the blob service \(ss=qt\)"),
        (
            {"ACCOUNT_NAME": "photos1", "KEY": KEY, "SERVICE_ENDPOINT": "ftp://secret"},
            "AZURE_STORAGE_SERVICE_ENDPOINT is no URL",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_variable_and_no_secret(monkeypatch, variables, told) -> None:
    with pytest.raises(BadInput, match=told) as caught:
        login(monkeypatch, **variables)
    assert "secret" not in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ("http://127.0.0.1:10000/photos1", "http://127.0.0.1:10000/photos1"),
        ("https://photos1.blob.core.chinacloudapi.cn/", "https://photos1.blob.core.chinacloudapi.cn"),
        ("photos1.blob.core.usgovcloudapi.net", "https://photos1.blob.core.usgovcloudapi.net"),
    ],
)
def test_endpoint_of_another_cloud_is_taken(monkeypatch, given, endpoint) -> None:
    assert login(monkeypatch, ACCOUNT="photos1", KEY=KEY, SERVICE_ENDPOINT=given).endpoint == endpoint


def test_account_of_the_url_comes_first(monkeypatch) -> None:
    found = login(monkeypatch, "archive1", ACCOUNT="photos1", KEY=KEY)
    assert (found.account, found.endpoint) == ("archive1", "https://archive1.blob.core.windows.net")
    with pytest.raises(BadInput, match="AZURE_STORAGE_SERVICE_ENDPOINT is of account photos1"):
        login(monkeypatch, "archive1", SERVICE_ENDPOINT="http://127.0.0.1:10000/photos1")


def test_token_allows_what_its_letters_say(monkeypatch) -> None:
    sas = login(monkeypatch, ACCOUNT="photos1", SAS_TOKEN=SAS).sas
    assert sas is not None
    sas.require("l", "listing")
    with pytest.raises(BadInput, match=r"does not allow writing \(sp=rl\)"):
        sas.require("wc", "writing")


def test_secrets_do_not_show(monkeypatch) -> None:
    shown = repr(login(monkeypatch, ACCOUNT="photos1", SAS_TOKEN=SAS)) + repr(AzureSettings())
    shown += repr(login(monkeypatch, SAS_TOKEN="", KEY=KEY))
    assert "sig=" not in shown
    assert KEY not in shown


def test_every_setting_is_described() -> None:
    assert all(field.description for field in AzureSettings.model_fields.values())
