"""What blocks with credentials hold, as their types have it, and what of it cannot be used."""

from __future__ import annotations

from typing import Any

import pytest

from flows.storage_blocks import login_of
from tasks.core.errors import DarkroomError

SECRET = "the-secret-of-a-block"


@pytest.mark.parametrize(
    ("kind", "document", "said"),
    [
        ("aws-credentials", {"aws_access_key_id": "1"}, "half of a key"),
        ("aws-credentials", {"assume_role_arn": "arn:aws:iam::1:role/r"}, "assumes a role"),
        ("aws-credentials", {"aws_client_parameters": {"verify": False}}, "check of certificates"),
        ("aws-credentials", {"aws_client_parameters": {"use_ssl": False}}, "endpoint_url that begins with http://"),
        (
            "aws-credentials",
            {"aws_client_parameters": {"config": {"s3": {"addressing_style": "path"}}}},
            "profile_name",
        ),
        ("aws-credentials", {"aws_client_parameters": {"config": {"proxies": {}}}}, "sets proxies in config"),
        (
            "minio-credentials",
            {
                "minio_root_user": "me",
                "minio_root_password": SECRET,
                "aws_client_parameters": {
                    "endpoint_url": "http://s3",
                    "config": {"s3": {"addressing_style": "virtual"}},
                },
            },
            "sets s3.addressing_style in config",
        ),
        ("minio-credentials", {"minio_root_user": "me"}, "minio_root_password"),
        ("gcp-credentials", {"service_account_file": "/nowhere/account.json"}, "not on this machine"),
        ("azure-blob-storage-credentials", {}, "neither a connection string nor"),
        ("azure-blob-storage-credentials", {"connection_string": "AccountName=me"}, "copy the whole"),
        ("azure-blob-storage-credentials", {"connection_string": "UseDevelopmentStorage=true"}, "write out"),
        ("azure-blob-storage-credentials", {"account_url": "https://x", "client_secret": SECRET}, "service principal"),
        ("azure-blob-storage-credentials", {"account_url": "https://nobody"}, "names no account"),
    ],
)
def test_block_that_cannot_be_used_says_what_to_change(kind: str, document: dict[str, Any], said: str) -> None:
    with pytest.raises(DarkroomError, match=f"block {kind}/mine .*{said}") as caught:
        login_of(f"{kind}/mine", kind, document)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "document", "variables"),
    [
        (
            "aws-credentials",
            {"profile_name": "team", "region_name": "eu-west-1", "aws_client_parameters": {"verify_cert_path": "/ca"}},
            {"AWS_PROFILE": "team", "AWS_REGION": "eu-west-1", "AWS_CA_BUNDLE": "/ca"},
        ),
        (
            "aws-credentials",
            {"aws_access_key_id": "1", "aws_secret_access_key": SECRET, "aws_session_token": "t", "later": 1},
            {"AWS_ACCESS_KEY_ID": "1", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": "t"},
        ),
        (
            "minio-credentials",
            {
                "minio_root_user": "me",
                "minio_root_password": SECRET,
                "aws_client_parameters": {
                    "endpoint_url": "http://minio:9000",
                    "use_ssl": False,
                    "config": {"signature_version": "s3v4", "s3": {"addressing_style": "path"}},
                },
            },
            {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL_S3": "http://minio:9000"},
        ),
        (
            "azure-blob-storage-credentials",
            {"connection_string": "AccountName=me;AccountKey=k==;EndpointSuffix=core.windows.net"},
            {"AZURE_STORAGE_ACCOUNT_NAME": "me", "AZURE_STORAGE_ACCOUNT_KEY": "k=="},
        ),
        (
            "azure-blob-storage-credentials",
            {"connection_string": "BlobEndpoint=https://me.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=s"},
            {"AZURE_STORAGE_ACCOUNT_NAME": "me", "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=s"},
        ),
        (
            "azure-blob-storage-credentials",
            {"account_url": "https://me.blob.core.chinacloudapi.cn"},
            {
                "AZURE_STORAGE_ACCOUNT_NAME": "me",
                "AZURE_STORAGE_SERVICE_ENDPOINT": "https://me.blob.core.chinacloudapi.cn",
            },
        ),
    ],
)
def test_block_becomes_the_variables_of_its_cloud(
    kind: str, document: dict[str, Any], variables: dict[str, str]
) -> None:
    login = login_of(f"{kind}/mine", kind, document)
    assert login.variables == variables
    assert SECRET not in repr(login)
