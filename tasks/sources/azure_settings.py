"""What the environment says about Azure storage, and what follows from it; Azure's library is not needed for that."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.core.errors import BadInput

ACCOUNT, KEY, SAS = "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"
ENDPOINT = "AZURE_STORAGE_SERVICE_ENDPOINT"
_ACCOUNT_NAME = re.compile(r"[a-z0-9]{3,24}")
_BLOB_SERVICE = "b"


class AzureSettings(BaseSettings):
    """The variables of Azure's own tools, under both of their naming conventions."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    account_name: str | None = Field(
        default=None,
        validation_alias=AliasChoices(ACCOUNT, "AZURE_STORAGE_ACCOUNT"),
        description="Azure storage account that the containers of `az://` lie in.",
    )
    sas_token: SecretStr | None = Field(
        default=None,
        validation_alias=SAS,
        description="Shared access signature for the account or container, with read and list; preferred to the key.",
    )
    account_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices(KEY, "AZURE_STORAGE_KEY"),
        description="Key of the Azure storage account, used where there is no SAS token.",
    )
    service_endpoint: str | None = Field(
        default=None,
        validation_alias=ENDPOINT,
        description="URL of Azure's blob service, when it is not `https://ACCOUNT.blob.core.windows.net`.",
    )


@dataclass(frozen=True)
class SasToken:
    """A shared access signature.

    Attributes:
        text: its query, without a leading ``?``.
        permissions: letters of what it allows; ``None`` where a policy kept with the container says so.
        ends: when it ends in UTC; ``None`` where a policy says so.
    """

    text: str = field(repr=False)
    permissions: str | None
    ends: datetime | None

    def require(self, letters: str, deed: str) -> None:
        """Refuses a token that allows none of ``letters``.

        Raises:
            BadInput: it does not allow ``deed``.
        """
        if self.permissions is not None and not set(letters) & set(self.permissions):
            raise BadInput(
                f"{SAS} does not allow {deed} (sp={self.permissions}): make one with the permission {letters[0]}; "
                "a source needs r and l"
            )


@dataclass(frozen=True)
class AzureLogin:
    """How an account is reached: with a SAS token or a key, never both.

    Attributes:
        account: its name.
        endpoint: URL of its blob service, without a slash at the end.
        sas: the token, if there is one.
        key: the key, where there is no token.
    """

    account: str
    endpoint: str
    sas: SasToken | None = None
    key: SecretStr | None = None

    @property
    def variable(self) -> str:
        """The variable that the credential came from."""
        return SAS if self.sas else KEY


def find_login(account: str | None, settings: AzureSettings, now: datetime) -> AzureLogin:
    """What ``settings`` say, checked as far as that goes without asking Azure.

    Args:
        account: where the source's URL names one.
        settings: the environment's.
        now: the time, for a token's end.

    Raises:
        BadInput: something is missing or malformed; the message names the variable.
    """
    name = account or settings.account_name
    if not name:
        raise BadInput(f"no Azure account is named: set {ACCOUNT}")
    if not _ACCOUNT_NAME.fullmatch(name):
        raise BadInput(f"{name} is no Azure account name (3 to 24 lower-case letters and digits): correct {ACCOUNT}")
    endpoint = _endpoint(name, settings)
    if settings.sas_token:
        return AzureLogin(name, endpoint, sas=_parse_sas(settings.sas_token.get_secret_value(), now))
    if settings.account_key:
        return AzureLogin(name, endpoint, key=_checked_key(settings.account_key))
    raise BadInput(f"no Azure credentials for account {name}: set {SAS} (preferred) or {KEY}")


def _endpoint(account: str, settings: AzureSettings) -> str:
    given = settings.service_endpoint
    if not given:
        return f"https://{account}.blob.core.windows.net"
    if settings.account_name not in (None, account):
        raise BadInput(f"{ENDPOINT} is of account {settings.account_name}, the source lies in {account}: unset it")
    parts = urlsplit(given if "://" in given else f"https://{given}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"{ENDPOINT} is no URL: write https://HOST")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def _parse_sas(text: str, now: datetime) -> SasToken:
    """A token as portals and tools give it: with or without a leading ``?``, or as the query of a URL."""
    query = text.strip().rpartition("?")[2]
    values = {name: found[0] for name, found in parse_qs(query).items()}
    if "sig" not in values:
        raise BadInput(f"{SAS} is no SAS token (it has no sig=): copy the whole of it")
    if _BLOB_SERVICE not in values.get("ss", _BLOB_SERVICE):
        raise BadInput(f"{SAS} is not for the blob service (ss={values['ss']}): make one with ss=b")
    token = SasToken(query, values.get("sp"), _earliest_end(values))
    if token.ends and token.ends <= now:
        raise BadInput(f"{SAS} expired at {token.ends:%Y-%m-%d %H:%M} UTC: make a new one")
    return token


def _earliest_end(values: dict[str, str]) -> datetime | None:
    """The token's own end, or that of the key a user delegation was signed with, if that comes first."""
    try:
        ends = [datetime.fromisoformat(values[name]) for name in ("se", "ske") if name in values]
    except ValueError:
        raise BadInput(f"{SAS} has a time that cannot be read (se=, ske=): copy the whole of it") from None
    return min((end.astimezone(UTC) if end.tzinfo else end.replace(tzinfo=UTC) for end in ends), default=None)


def _checked_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value().strip()
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        raise BadInput(f"{KEY} is no account key (it is not base64): copy the whole of it") from None
    return SecretStr(text)
