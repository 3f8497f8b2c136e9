"""The emulators of the three cloud stores; a vendor's library, slow to import, is imported where it is used."""

from __future__ import annotations

import base64
import json
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tasks.core.services import free_port
from tests.emulators.process import HOME, PYTHON, running, speaks_http
from tests.emulators.signatures import check_amazon, check_google

BUCKET = "photos"
AZURITE = HOME / "azurite" / "node_modules" / ".bin" / "azurite-blob"
REGION = "eu-central-1"
SIGNED_SECONDS = 3600


class S3:
    """moto's server."""

    kind = "s3"
    url = f"s3://{BUCKET}"
    wrong_url = "s3://nowhere"

    def __init__(self, port: int) -> None:
        import boto3
        from botocore.config import Config

        self._endpoint = f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self._endpoint,
            "AWS_ACCESS_KEY_ID": "AKIA" + secrets.token_hex(8).upper(),
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.client = boto3.client(
            "s3",
            endpoint_url=self._endpoint,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
            config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
        )

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def stored(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", ()))

    def clear(self) -> None:
        httpx.post(f"{self._endpoint}/moto-api/reset", trust_env=False, timeout=30).raise_for_status()
        self.client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def sign(self, key: str) -> str:
        asked = {"Bucket": BUCKET, "Key": key}
        return str(self.client.generate_presigned_url("get_object", asked, ExpiresIn=SIGNED_SECONDS))

    def lifetime(self, url: str) -> float:
        return float(_asked(url, "X-Amz-Expires"))

    def check_signature(self, url: str) -> None:
        check_amazon(url, self.environment["AWS_SECRET_ACCESS_KEY"])


class Gcs:
    """gcp-storage-emulator, with what :mod:`tests.emulators.serve_gcs` adds."""

    kind = "gcs"
    url = f"gs://{BUCKET}"
    wrong_url = "gs://nowhere"

    def __init__(self, port: int, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Google's word on when it stops to support this Python
            from google.auth.credentials import AnonymousCredentials
            from google.cloud import storage

        self._endpoint = f"http://127.0.0.1:{port}"
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        account = folder / "service-account.json"
        account.write_text(json.dumps(self._service_account()))
        self.environment = {
            "STORAGE_EMULATOR_HOST": self._endpoint,
            "GOOGLE_APPLICATION_CREDENTIALS": str(account),
            "GOOGLE_CLOUD_PROJECT": "darkroom-tests",
        }
        self.client = storage.Client(
            "darkroom-tests",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": self._endpoint},
        )

    def put(self, key: str, data: bytes) -> None:
        self.client.bucket(BUCKET).blob(key).upload_from_string(data, content_type="application/octet-stream")

    def delete(self, key: str) -> None:
        self.client.bucket(BUCKET).blob(key).delete()

    def get(self, key: str) -> bytes:
        return bytes(self.client.bucket(BUCKET).blob(key).download_as_bytes())

    def stored(self) -> list[str]:
        return sorted(blob.name for blob in self.client.list_blobs(BUCKET))

    def clear(self) -> None:
        httpx.get(f"{self._endpoint}/wipe", trust_env=False, timeout=30).raise_for_status()
        self.client.create_bucket(BUCKET)

    def sign(self, key: str) -> str:
        from google.oauth2.service_account import Credentials

        account = self.environment["GOOGLE_APPLICATION_CREDENTIALS"]
        credentials = Credentials.from_service_account_file(account)  # type: ignore[no-untyped-call]
        blob = self.client.bucket(BUCKET).blob(key)
        return str(
            blob.generate_signed_url(
                timedelta(seconds=SIGNED_SECONDS), self._endpoint, version="v4", credentials=credentials
            )
        )

    def lifetime(self, url: str) -> float:
        return float(_asked(url, "X-Goog-Expires"))

    def check_signature(self, url: str) -> None:
        check_google(url, self._key.public_key())

    def _service_account(self) -> dict[str, str]:
        private_key = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "darkroom-tests",
            "private_key_id": secrets.token_hex(20),
            "private_key": private_key.decode(),
            "client_email": "darkroom@darkroom-tests.iam.gserviceaccount.com",
            "client_id": "100000000000000000000",
            "token_uri": f"{self._endpoint}/token",
        }


class Azure:
    """Azurite, which checks signatures itself."""

    kind = "azure"
    url = f"az://{BUCKET}"
    wrong_url = "az://nowhere"

    def __init__(self, port: int, account: str, key: str) -> None:
        from azure.storage.blob import BlobServiceClient

        endpoint = f"http://127.0.0.1:{port}/{account}"
        self.environment = {
            "AZURE_STORAGE_ACCOUNT_NAME": account,
            "AZURE_STORAGE_ACCOUNT_KEY": key,
            "AZURE_STORAGE_SERVICE_ENDPOINT": endpoint,
        }
        self.client = BlobServiceClient(
            endpoint, credential={"account_name": account, "account_key": key}, retry_total=0
        ).get_container_client(BUCKET)

    def put(self, key: str, data: bytes) -> None:
        self.client.upload_blob(key, data, overwrite=True)

    def delete(self, key: str) -> None:
        self.client.delete_blob(key)

    def get(self, key: str) -> bytes:
        return self.client.download_blob(key).readall()

    def stored(self) -> list[str]:
        return sorted(self.client.list_blob_names())

    def clear(self) -> None:
        if self.client.exists():
            self.client.delete_container()
        self.client.create_container()

    def sign(self, key: str) -> str:
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        signature = generate_blob_sas(
            self.environment["AZURE_STORAGE_ACCOUNT_NAME"],
            BUCKET,
            key,
            account_key=self.environment["AZURE_STORAGE_ACCOUNT_KEY"],
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(seconds=SIGNED_SECONDS),
        )
        return f"{self.client.get_blob_client(key).url}?{signature}"

    def lifetime(self, url: str) -> float:
        end = datetime.fromisoformat(_asked(url, "se"))
        return (end - datetime.now(UTC)).total_seconds()

    def check_signature(self, url: str) -> None:
        assert httpx.get(url, trust_env=False, timeout=30).status_code == 200


@contextmanager
def open_s3(folder: Path) -> Iterator[S3]:
    """S3, with its bucket."""
    port = free_port()
    command = (HOME / "bin" / "moto_server", "-H", "127.0.0.1", "-p", str(port))
    with running(command, lambda: speaks_http(port), folder / "moto.log"):
        place = S3(port)
        place.clear()
        yield place


@contextmanager
def open_gcs(folder: Path) -> Iterator[Gcs]:
    """Google Cloud Storage, with its bucket."""
    port = free_port()
    command = (PYTHON, Path(__file__).with_name("serve_gcs.py"), str(port))
    with running(command, lambda: speaks_http(port), folder / "gcs.log"):
        place = Gcs(port, folder)
        place.clear()
        yield place


@contextmanager
def open_azure(folder: Path) -> Iterator[Azure]:
    """Azure Blob Storage, with its container."""
    port, account, key = free_port(), "darkroom", base64.b64encode(secrets.token_bytes(64)).decode()
    options = ("--silent", "--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence")
    command = (AZURITE, *options, "--blobHost", "127.0.0.1", "--blobPort", str(port))
    with running(command, lambda: speaks_http(port), folder / "azurite.log", {"AZURITE_ACCOUNTS": f"{account}:{key}"}):
        place = Azure(port, account, key)
        place.clear()
        yield place


def _asked(url: str, name: str) -> str:
    (value,) = parse_qs(urlsplit(url).query)[name]
    return value
