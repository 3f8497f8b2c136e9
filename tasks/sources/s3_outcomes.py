"""What S3 answers and what the libraries raise, as errors of our own: the tables."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import CancelledError

import botocore.exceptions as lower
from boto3.exceptions import Boto3Error
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from tasks.core.errors import BadInput, ConnectionFailed, DarkroomError, RequestRefused, ServiceBusy
from tasks.sources.base import SourceChanged

Outcome = tuple[type[DarkroomError], str]
"""A kind of error and its message, with names in braces for what :mod:`tasks.sources.s3_errors` knows."""

GONE: Outcome = (SourceChanged, "is not in the bucket any more")
_CHANGED: Outcome = (SourceChanged, "changed after it was staged")
NO_BUCKET: Outcome = (
    BadInput,
    "there is no bucket {bucket} at {endpoint}: correct its name, or AWS_ENDPOINT_URL if it lies in another store",
)
NOT_ALLOWED: Outcome = (
    BadInput,
    "no permission for {action} on bucket {bucket}: allow it for these credentials, or set AWS_PROFILE to others",
)
EXPIRED: Outcome = (
    BadInput,
    "the AWS session has expired: sign in again, or set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
    "AWS_SESSION_TOKEN anew",
)
_WRONG_TOKEN: Outcome = (
    BadInput,
    "AWS_SESSION_TOKEN does not belong to the access key: set all three from one session, or unset the token",
)
ELSEWHERE: Outcome = (BadInput, "bucket {bucket} is in {home} but requests go to {region}: set AWS_REGION={home}")
SOMEWHERE: Outcome = (BadInput, "bucket {bucket} is in another region than {region}: set AWS_REGION to the bucket's")
_NO_NAME: Outcome = (
    BadInput,
    "{bucket} cannot be a bucket's name: write s3://BUCKET/PATH, the bucket with 3 to 63 lower-case letters, digits, "
    "dots and hyphens",
)
BUSY: Outcome = (ServiceBusy, "S3 at {endpoint} is busy or failing ({code}): try again later")
_UNKNOWN_THERE: Outcome = (
    BadInput,
    "{endpoint} does not know {operation}: set AWS_ENDPOINT_URL to a store that speaks S3; if it does, try "
    "AWS_REQUEST_CHECKSUM_CALCULATION=when_required",
)
REFUSED: Outcome = (RequestRefused, "S3 refused {operation} on bucket {bucket} ({code}): {text}")

ANSWERS: Mapping[str, Outcome] = {
    "NoSuchBucket": NO_BUCKET,
    "NoSuchKey": GONE,
    "NoSuchVersion": GONE,
    "PreconditionFailed": _CHANGED,
    "412": _CHANGED,
    "InvalidObjectState": (SourceChanged, "is archived (Glacier): restore it first"),
    "AccessDenied": NOT_ALLOWED,
    "AllAccessDisabled": NOT_ALLOWED,
    "403": NOT_ALLOWED,
    "InvalidAccessKeyId": (
        BadInput,
        "{endpoint} does not know the access key: correct AWS_ACCESS_KEY_ID, or AWS_PROFILE, or AWS_ENDPOINT_URL if "
        "the key is for another store",
    ),
    "SignatureDoesNotMatch": (
        BadInput,
        "the secret key does not belong to the access key: correct AWS_SECRET_ACCESS_KEY, or the profile's",
    ),
    "ExpiredToken": EXPIRED,
    "ExpiredTokenException": EXPIRED,
    "TokenRefreshRequired": EXPIRED,
    "RequestExpired": EXPIRED,
    "InvalidToken": _WRONG_TOKEN,
    "InvalidTokenId": _WRONG_TOKEN,
    "400": (
        BadInput,
        "S3 refused the credentials for bucket {bucket} without saying why: the session may have expired "
        "(AWS_SESSION_TOKEN), or the region may be wrong (AWS_REGION={region})",
    ),
    "RequestTimeTooSkewed": (
        BadInput,
        "this machine's clock is wrong by more than S3 allows (15 minutes): set it, and the time zone with it",
    ),
    "InvalidBucketName": _NO_NAME,
    "SlowDown": BUSY,
    "ServiceUnavailable": BUSY,
    "InternalError": BUSY,
    "500": (
        ServiceBusy,
        "{endpoint} is failing, or does not answer as S3 does: try again later, or correct AWS_ENDPOINT_URL",
    ),
    "RequestTimeout": BUSY,
    "RequestLimitExceeded": BUSY,
    "Throttling": BUSY,
    "ThrottlingException": BUSY,
    "TooManyRequests": BUSY,
    "OperationAborted": BUSY,
    "NotImplemented": _UNKNOWN_THERE,
    "501": _UNKNOWN_THERE,
}
"""By S3's error code; for answers without a body, by the status that botocore puts in its place."""

REDIRECTS = ("PermanentRedirect", "301", "IllegalLocationConstraintException")
MISDIRECTED = ("AuthorizationHeaderMalformed", "TemporaryRedirect", "307", "400")
"""Codes that are about the region only where another one is told with them."""

ACTIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CreateSession": "s3express:CreateSession",
}
"""The permission that each operation of ours needs; an operation of another name is part of getting credentials."""

NO_CREDENTIALS_GIVEN: Outcome = (
    BadInput,
    "the AWS credentials could not be obtained, {operation} was refused ({code}): correct AWS_PROFILE or its role",
)
_SIGN_IN: Outcome = (BadInput, "the AWS sign-in has ended or is incomplete: run aws sso login for AWS_PROFILE again")
_NOT_OBTAINED: Outcome = (
    BadInput,
    "the AWS credentials could not be obtained: correct AWS_PROFILE or what its profile calls ({text})",
)
_NO_ANSWER: Outcome = (
    ConnectionFailed,
    "no connection to {endpoint}: check the network, AWS_ENDPOINT_URL and AWS_REGION",
)
_CUT: Outcome = (ConnectionFailed, "the answer from {endpoint} was cut short or damaged: try again")
_WRONG_REGION_NAME: Outcome = (BadInput, "{region} is no region: correct AWS_REGION")
_NOT_S3: Outcome = (BadInput, "{endpoint} does not answer as S3 does: correct AWS_ENDPOINT_URL")
_UNUSABLE: Outcome = (BadInput, "these AWS settings cannot work: {text}: correct the AWS_ variables or AWS_PROFILE")

EXCEPTIONS: Mapping[type[Exception], Outcome] = {
    lower.NoCredentialsError: (
        BadInput,
        "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
    lower.PartialCredentialsError: (
        BadInput,
        "the AWS credentials are incomplete: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY both ({text})",
    ),
    lower.ProfileNotFound: (
        BadInput,
        "no such AWS profile: correct AWS_PROFILE, or add the profile to ~/.aws/config ({text})",
    ),
    lower.SSOError: _SIGN_IN,
    lower.LoginError: _SIGN_IN,
    lower.TokenRetrievalError: _SIGN_IN,
    lower.RefreshWithMFAUnsupportedError: EXPIRED,
    lower.CredentialRetrievalError: _NOT_OBTAINED,
    lower.MetadataRetrievalError: _NOT_OBTAINED,
    lower.ParamValidationError: _NO_NAME,
    lower.InvalidDNSNameError: _NO_NAME,
    lower.InvalidRegionError: _WRONG_REGION_NAME,
    lower.UnknownRegionError: _WRONG_REGION_NAME,
    lower.EndpointVariantError: _WRONG_REGION_NAME,
    lower.NoRegionError: (BadInput, "no AWS region is set: set AWS_REGION to the bucket's"),
    lower.SSLError: (
        ConnectionFailed,
        "no secure connection to {endpoint}: check AWS_ENDPOINT_URL, and set AWS_CA_BUNDLE if its certificate is of "
        "your own making",
    ),
    lower.ProxyConnectionError: (
        ConnectionFailed,
        "no connection to the proxy on the way to {endpoint}: correct HTTPS_PROXY or HTTP_PROXY",
    ),
    lower.ConnectionError: _NO_ANSWER,
    lower.HTTPClientError: _NO_ANSWER,
    lower.ResponseStreamingError: _CUT,
    lower.IncompleteReadError: _CUT,
    lower.ChecksumError: _CUT,
    lower.FlexibleChecksumError: _CUT,
    lower.AwsChunkedWrapperError: _CUT,
    lower.CapacityNotAvailableError: BUSY,
    lower.BotoCoreError: _UNUSABLE,
    lower.UndefinedModelAttributeError: _UNUSABLE,
    ResponseParserError: _NOT_S3,
    HTTPError: _CUT,
    Boto3Error: _UNUSABLE,
    CancelledError: _NO_ANSWER,
    ValueError: _UNUSABLE,
}
"""By exception; the closest base class counts."""
