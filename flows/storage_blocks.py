"""What Prefect's own blocks for cloud credentials hold, as the variables that the cloud libraries read.

The blocks are those of prefect-aws, prefect-gcp and prefect-azure, read as the documents that Prefect's server keeps:
their libraries, which are large and pin others, are not needed for that.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from tasks.core.errors import BadInput

AZURE_DEFAULT = "https://{account}.blob.core.windows.net"
GOOGLE_FILE = "GOOGLE_APPLICATION_CREDENTIALS"

_AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
_AWS_LOGINS = (
    *_AWS_KEYS,
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_AWS_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_AWS_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
_AZURE_ACCOUNTS = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_SERVICE_ENDPOINT")
_AZURE_LOGINS = (
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_CONNECTION_STRING",
)


@dataclass(frozen=True)
class StorageLogin:
    """Credentials for buckets.

    Attributes:
        variables: what the environment has to hold.
        replaced: variables that would contradict them, and that must not be there.
        google_account: content of the file that :data:`GOOGLE_FILE` has to name; empty: there is none.
    """

    variables: dict[str, str] = field(repr=False)
    replaced: tuple[str, ...]
    google_account: str = field(default="", repr=False)


class _Document(BaseModel):
    """A block's content or a part of it; what later versions of its library add is left alone."""

    model_config = ConfigDict(extra="ignore")


class _Block(_Document):
    """A block that holds credentials for buckets."""

    @abstractmethod
    def login(self) -> StorageLogin:
        """What it holds.

        Raises:
            ValueError: it cannot be used; says what to change in it.
        """


class _AwsConfig(BaseModel):
    """Settings of botocore, which variables cannot hold."""

    model_config = ConfigDict(extra="allow")

    signature_version: str | None = None
    s3: dict[str, Any] = Field(default_factory=dict)


class _AwsClient(_Document):
    endpoint_url: str | None = None
    use_ssl: bool = True
    verify: bool | str | None = None
    verify_cert_path: str | None = None
    config: _AwsConfig | None = None

    def check(self) -> None:
        """Sees that nothing of it would be left out.

        Raises:
            ValueError: something would.
        """
        if self.verify is False:
            raise ValueError("switches off the check of certificates: name the authority in verify_cert_path instead")
        if not self.use_ssl and not self.endpoint_url:  # beside a whole URL it says nothing
            raise ValueError("switches off use_ssl: write an endpoint_url that begins with http:// instead")
        if left := self._left_out():
            raise ValueError(
                f"sets {', '.join(left)} in config, which is not taken over: clear it there, and put what is needed of "
                "it into a profile of the worker's, which an aws-credentials block names in profile_name"
            )

    def _left_out(self) -> list[str]:
        """Settings that ask for something else than what is done anyway."""
        config = self.config or _AwsConfig()
        usual = {"signature_version": "s3v4"}
        styles = ("auto", "path" if self.endpoint_url else "virtual")
        s3 = [f"s3.{name}" for name, value in config.s3.items() if name != "addressing_style" or value not in styles]
        others = config.model_dump(exclude={"s3"}, exclude_none=True).items()
        return sorted([*s3, *(name for name, value in others if usual.get(name) != value)])


class _Aws(_Block):
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: SecretStr | None = None
    profile_name: str | None = None
    region_name: str | None = None
    aws_client_parameters: _AwsClient = Field(default_factory=_AwsClient)
    assume_role_arn: str | None = None

    def login(self) -> StorageLogin:
        client = self.aws_client_parameters
        if self.assume_role_arn:
            raise ValueError("assumes a role: name a profile of the worker's that does, or give the role's own keys")
        client.check()
        if bool(self.aws_access_key_id) != bool(self.aws_secret_access_key):
            raise ValueError("holds half of a key: give both the access key's id and its secret")
        certificates = client.verify if isinstance(client.verify, str) else client.verify_cert_path
        key, region, endpoint = self.aws_access_key_id, self.region_name, client.endpoint_url
        variables = {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": _told(self.aws_secret_access_key),
            "AWS_SESSION_TOKEN": _told(self.aws_session_token),
            "AWS_PROFILE": self.profile_name,
            "AWS_REGION": region,
            "AWS_ENDPOINT_URL_S3": endpoint,
            "AWS_CA_BUNDLE": certificates,
        }
        logins = _AWS_LOGINS if key or self.profile_name else ()
        replaced = (*logins, *(_AWS_REGIONS if region else ()), *(_AWS_ENDPOINTS if endpoint else ()))
        return StorageLogin(_given(variables), replaced)


class _MinIO(_Block):
    minio_root_user: str
    minio_root_password: SecretStr
    region_name: str | None = None
    aws_client_parameters: _AwsClient = Field(default_factory=_AwsClient)

    def login(self) -> StorageLogin:
        return _Aws(
            aws_access_key_id=self.minio_root_user,
            aws_secret_access_key=self.minio_root_password,
            region_name=self.region_name,
            aws_client_parameters=self.aws_client_parameters,
        ).login()


class _Gcp(_Block):
    service_account_file: str | None = None
    service_account_info: dict[str, Any] | str | None = Field(default=None, repr=False)
    project: str | None = None

    def login(self) -> StorageLogin:
        file = str(Path(self.service_account_file).expanduser()) if self.service_account_file else None
        if file and not Path(file).is_file():
            raise ValueError("names a service-account file that is not on this machine: give its content instead")
        info = self.service_account_info
        content = info if isinstance(info, str) else json.dumps(info) if info else ""
        variables = _given({GOOGLE_FILE: None if content else file, "GOOGLE_CLOUD_PROJECT": self.project})
        account = (GOOGLE_FILE,) if content or file else ()
        return StorageLogin(variables, (*account, *(("GCLOUD_PROJECT",) if self.project else ())), content)


class _Azure(_Block):
    connection_string: SecretStr | None = None
    account_url: str | None = None
    client_secret: SecretStr | None = None

    def login(self) -> StorageLogin:
        if self.connection_string and (text := self.connection_string.get_secret_value().strip()):
            return _of_connection_string(text)
        if self.client_secret:
            raise ValueError("holds a service principal, which is not supported: give it a connection string")
        if self.account_url:
            return _of_account_url(self.account_url)
        raise ValueError("holds neither a connection string nor an account URL: give it one")


BLOCKS: dict[str, type[_Block]] = {
    "aws-credentials": _Aws,
    "minio-credentials": _MinIO,
    "gcp-credentials": _Gcp,
    "azure-blob-storage-credentials": _Azure,
}
"""By the types of the blocks, as Prefect calls them."""
PACKAGES = {
    "aws-credentials": "prefect-aws",
    "minio-credentials": "prefect-aws",
    "gcp-credentials": "prefect-gcp",
    "azure-blob-storage-credentials": "prefect-azure",
}


def login_of(named: str, kind: str, document: dict[str, Any]) -> StorageLogin:
    """What a block holds.

    Args:
        named: how the user names it.
        kind: its type, one of :data:`BLOCKS`.
        document: its content, secrets included.

    Raises:
        BadInput: it cannot be used; the message says what to change in it.
    """
    try:
        return BLOCKS[kind].model_validate(document).login()
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise BadInput(f"block {named} cannot be read ({where}: {problem['msg']}): correct it") from None
    except ValueError as error:
        raise BadInput(f"block {named} {error}") from None


def _of_connection_string(text: str) -> StorageLogin:
    parts = {name.strip().lower(): value for name, _, value in (part.partition("=") for part in text.split(";"))}
    if "usedevelopmentstorage" in parts:
        raise ValueError("is for the storage emulator: write out its AccountName, AccountKey and BlobEndpoint")
    key, sas = parts.get("accountkey"), parts.get("sharedaccesssignature")
    endpoint = parts.get("blobendpoint", "").rstrip("/")
    account = parts.get("accountname") or _account_of(endpoint)
    if not account or not (key or sas):
        raise ValueError("has a connection string without an account or without a key: copy the whole of it")
    suffix, protocol = parts.get("endpointsuffix"), parts.get("defaultendpointsprotocol") or "https"
    endpoint = endpoint or (f"{protocol}://{account}.blob.{suffix}" if suffix else "")
    return _azure_login(account, endpoint, {"AZURE_STORAGE_SAS_TOKEN": sas, "AZURE_STORAGE_ACCOUNT_KEY": key})


def _of_account_url(url: str) -> StorageLogin:
    """Of an account's URL, whose query is a SAS token or nothing: then the worker's own credentials are used there."""
    place, _, query = url.partition("?")
    account = _account_of(place)
    if not account:
        raise ValueError("has an account URL that names no account: write https://ACCOUNT.blob.core.windows.net")
    return _azure_login(account, place.rstrip("/"), {"AZURE_STORAGE_SAS_TOKEN": query or None})


def _azure_login(account: str, endpoint: str, login: dict[str, str | None]) -> StorageLogin:
    is_elsewhere = endpoint and endpoint != AZURE_DEFAULT.format(account=account)
    own = {
        "AZURE_STORAGE_ACCOUNT_NAME": account,
        "AZURE_STORAGE_SERVICE_ENDPOINT": endpoint if is_elsewhere else None,
    }
    given = _given(login)
    return StorageLogin(_given(own) | given, (*_AZURE_ACCOUNTS, *(_AZURE_LOGINS if given else ())))


def _account_of(url: str) -> str:
    """The account that a URL of a blob service names: in its host, or in its path where emulators have it."""
    parts = urlsplit(url)
    host, _, rest = (parts.hostname or "").partition(".")
    return host if rest.startswith("blob.") else parts.path.strip("/").partition("/")[0]


def _told(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _given(variables: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value}
