"""Whatever goes wrong with S3, by the tables, against a server that answers as S3 does."""

import inspect
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import botocore.exceptions as lower
import pytest

from tasks.core.errors import BadInput, ConnectionFailed, DarkroomError, LocalFault, RequestRefused, ServiceBusy
from tasks.core.services import free_port
from tasks.sources.base import MediaObject, SourceChanged
from tasks.sources.s3 import S3Bucket, open_s3
from tasks.sources.s3_errors import Place, s3_errors
from tasks.sources.s3_outcomes import ANSWERS, EXCEPTIONS
from tests.scripted import Reply, Scripted, scripted_server
from tests.tasks.sources.s3_settings import KEYS, SECRET, TOKEN, set_aws

ITEM = MediaObject("a b.jpg", 3, "00ff", None)
PAGE = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
SAID = "Something about AWSAccessKeyId and nothing else."
EXPECTED: dict[str, tuple[type[DarkroomError], tuple[str, ...]]] = {
    "NoSuchBucket": (BadInput, ("no bucket photos", "AWS_ENDPOINT_URL")),
    "AccessDenied": (BadInput, ("s3:ListBucket", "photos", "AWS_PROFILE")),
    "AllAccessDisabled": (BadInput, ("s3:ListBucket",)),
    "InvalidAccessKeyId": (BadInput, ("AWS_ACCESS_KEY_ID",)),
    "SignatureDoesNotMatch": (BadInput, ("AWS_SECRET_ACCESS_KEY",)),
    "ExpiredToken": (BadInput, ("expired", "AWS_SESSION_TOKEN")),
    "InvalidToken": (BadInput, ("AWS_SESSION_TOKEN",)),
    "RequestTimeTooSkewed": (BadInput, ("clock", "15 minutes")),
    "InvalidBucketName": (BadInput, ("photos", "lower-case")),
    "NotImplemented": (BadInput, ("AWS_ENDPOINT_URL", "AWS_REQUEST_CHECKSUM_CALCULATION=when_required")),
    "NoSuchKey": (SourceChanged, ("not in the bucket any more",)),
    "PreconditionFailed": (SourceChanged, ("changed",)),
    "InvalidObjectState": (SourceChanged, ("archived", "restore")),
    "SlowDown": (ServiceBusy, ("SlowDown", "later")),
    "InternalError": (ServiceBusy, ("InternalError",)),
    "400": (BadInput, ("AWS_SESSION_TOKEN", "AWS_REGION=us-east-1")),
    "403": (BadInput, ("s3:ListBucket",)),
    "404": (BadInput, ("no bucket photos",)),
    "409": (RequestRefused, ("ListObjectsV2", "409")),
    "429": (ServiceBusy, ("429",)),
    "502": (ServiceBusy, ("502",)),
    "XMinioSomething": (RequestRefused, ("XMinioSomething", SAID)),
}


@pytest.fixture(scope="module")
def opened() -> Iterator[tuple[Scripted, S3Bucket]]:
    """A server and a bucket on it, for all tests that need no settings of their own."""
    with scripted_server() as server, pytest.MonkeyPatch.context() as patch:
        set_aws(patch, {**KEYS, "AWS_ENDPOINT_URL": server.url})
        yield server, open_s3("photos")


@pytest.fixture
def store(opened) -> Scripted:
    server: Scripted = opened[0]
    server.script.clear()
    server.seen.clear()
    return server


@pytest.fixture
def photos(opened, store) -> S3Bucket:
    bucket: S3Bucket = opened[1]
    return bucket


def refusal(code: str, status: int = 400, extra: str = "", headers: Mapping[str, str] = MappingProxyType({})) -> Reply:
    """As S3 says it; for a number, an answer of that status without a body."""
    if code.isdecimal():
        return Reply(int(code), b"", headers)
    body = f"<Error><Code>{code}</Code><Message>{SAID}</Message>{extra}<RequestId>1</RequestId></Error>"
    return Reply(status, body.encode(), {"Content-Type": "application/xml", **headers})


def listing_fails(bucket: S3Bucket, kind: type[DarkroomError] = BadInput) -> str:
    """The message, after what all of them have to hold."""
    with pytest.raises(kind) as caught:
        list(bucket.list("2024/"))
    return checked(caught.value)


def checked(error: BaseException) -> str:
    message = str(error)
    assert [wrong for wrong in ("\n", "{", "None", SECRET, TOKEN, "X-Amz-") if wrong in message] == []
    return message


# answers


@pytest.mark.parametrize("code", sorted({*ANSWERS, *EXPECTED}))
def test_answers_become_errors_of_ours(store, photos, code):
    store.replies([refusal(code)])
    kind, words = EXPECTED.get(code, (ANSWERS.get(code, (DarkroomError,))[0], ()))
    message = listing_fails(photos, kind)
    assert [word for word in words if word not in message] == []
    if kind is BadInput and code != "RequestTimeTooSkewed":
        assert "AWS_" in message or "s3://BUCKET" in message


@pytest.mark.parametrize("status", [500, 503])
def test_busy_store_is_asked_again(monkeypatch, store, status):
    pauses: list[float] = []
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=pauses.append))
    store.replies([refusal("SlowDown", status), refusal("SlowDown", status), Reply(body=PAGE)])
    assert list(open_s3("photos").list("")) == []
    assert len(pauses) == 2


def test_error_in_an_answer_of_200_is_an_error(store, photos):
    store.replies([refusal("InternalError", 200)])
    assert "InternalError" in listing_fails(photos, ServiceBusy)


def test_permission_is_the_one_that_the_operation_needs(store, photos, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    store.replies([refusal("AccessDenied", 403), refusal("403"), refusal("AccessDenied", 403)])
    with pytest.raises(BadInput, match="no permission for s3:GetObject on bucket photos"):
        photos.open(ITEM)
    with pytest.raises(BadInput, match="no permission for s3:GetObject on bucket photos"):
        photos.find("a")
    with pytest.raises(BadInput, match="no permission for s3:PutObject on bucket photos"):
        photos.upload("a", tmp_path / "file")


@pytest.mark.parametrize("reply", [refusal("NoSuchKey", 404), refusal("404"), refusal("PreconditionFailed", 412)])
def test_one_object_that_is_gone_is_no_bad_input(store, photos, reply):
    store.replies([reply])
    with pytest.raises(SourceChanged):
        photos.open(ITEM)


def test_bucket_that_is_gone_is_bad_input_when_opening(store, photos):
    store.replies([refusal("NoSuchBucket", 404)])
    with pytest.raises(BadInput, match="no bucket photos"):
        photos.open(ITEM)


# regions

HOME = {"x-amz-bucket-region": "eu-west-1"}
MOVED = "bucket photos is in eu-west-1 but requests go to us-east-1: set AWS_REGION=eu-west-1"
REGION = "<Region>eu-west-1</Region>"


@pytest.mark.parametrize(
    "reply",
    [
        refusal("PermanentRedirect", 301, headers=HOME),
        refusal("301", headers=HOME),
        refusal("AuthorizationHeaderMalformed", 400, REGION),
        refusal("AuthorizationHeaderMalformed", 400, headers=HOME),
        refusal("IllegalLocationConstraintException", 400, headers=HOME),
        refusal("400", headers=HOME),
        refusal("TemporaryRedirect", 307, headers=HOME),
    ],
)
def test_wrong_region_is_named_and_not_followed(store, photos, reply):
    store.replies([reply, Reply(body=PAGE)])
    assert listing_fails(photos) == MOVED
    assert len(store.seen) == 1


@pytest.mark.parametrize("code", ["301", "400"])
def test_wrong_region_shows_when_an_object_is_looked_for(store, photos, code):
    store.replies([refusal(code, headers=HOME)])
    with pytest.raises(BadInput, match="set AWS_REGION=eu-west-1"):
        photos.find("a")
    assert len(store.seen) == 1


def test_wrong_region_that_is_not_told_is_said_to_be_another(store, photos):
    store.replies([refusal("PermanentRedirect", 301)])
    assert listing_fails(photos) == "bucket photos is in another region than us-east-1: set AWS_REGION to the bucket's"
    assert len(store.seen) == 1


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (refusal("400", headers={"x-amz-bucket-region": "us-east-1"}), BadInput, "without saying why"),
        (refusal("AuthorizationHeaderMalformed", 400), RequestRefused, SAID),
    ],
)
def test_refusals_that_are_not_about_the_region_do_not_say_so(store, photos, reply, kind, words):
    store.replies([reply])
    assert words in listing_fails(photos, kind)


# connections


def test_endpoint_that_does_not_answer_is_named(monkeypatch):
    url = f"http://127.0.0.1:{free_port()}"
    set_aws(monkeypatch, {**KEYS, "AWS_ENDPOINT_URL": url})
    message = listing_fails(open_s3("photos"), ConnectionFailed)
    assert url in message
    assert "AWS_ENDPOINT_URL" in message


def test_password_of_an_endpoint_does_not_show(monkeypatch):
    set_aws(monkeypatch, {**KEYS, "AWS_ENDPOINT_URL": f"http://me:{'pass'}word@127.0.0.1:{free_port()}"})
    assert "password" not in listing_fails(open_s3("photos"), ConnectionFailed)


@pytest.mark.parametrize("reply", [Reply(reset=True), Reply(body=PAGE, cut=10), Reply(raw=b"garbage\r\n\r\n")])
def test_broken_answer_is_a_failed_connection(store, photos, reply):
    store.replies([reply])
    listing_fails(photos, ConnectionFailed)


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Welcome</body></html>",
        b"",
        b"<ListBucketResult><Contents><Key>a</Key><Size>many</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
    ],
)
def test_answer_of_something_else_names_the_endpoint(store, photos, body):
    store.replies([Reply(body=body)])
    message = listing_fails(photos)
    assert f"{store.url} does not answer as S3 does" in message
    assert "AWS_ENDPOINT_URL" in message


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><br>", b'{"ok": true}', PAGE[:-10]])
def test_answer_that_cannot_be_read_may_be_of_something_else(store, photos, body):
    store.replies([Reply(body=body)])
    message = listing_fails(photos, ServiceBusy)
    assert [word for word in (store.url, "does not answer as S3 does", "AWS_ENDPOINT_URL") if word not in message] == []


@pytest.mark.parametrize("reply", [Reply(body=b"abc", cut=2), Reply(body=b"abc", cut=0)])
def test_body_that_is_cut_short_is_a_failed_connection(store, photos, reply):
    store.replies([reply])
    with photos.open(ITEM) as file, pytest.raises(ConnectionFailed, match="cut short") as caught:
        file.read()
    checked(caught.value)


# settings


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, ("no AWS credentials", "AWS_ACCESS_KEY_ID", "AWS_PROFILE")),
        ({"AWS_ACCESS_KEY_ID": "a"}, ("incomplete", "AWS_SECRET_ACCESS_KEY")),
        ({"AWS_PROFILE": "nobody"}, ("AWS_PROFILE", "nobody")),
        ({**KEYS, "AWS_REGION": "not a region"}, ("AWS_REGION", "not a region")),
        ({**KEYS, "AWS_ENDPOINT_URL": "minio"}, ("AWS_", "minio")),
        ({**KEYS, "AWS_MAX_ATTEMPTS": "many"}, ("AWS_", "many")),
        ({**KEYS, "AWS_REQUEST_CHECKSUM_CALCULATION": "never"}, ("AWS_", "never")),
        (
            {**KEYS, "AWS_SESSION_TOKEN": TOKEN, "AWS_CREDENTIAL_EXPIRATION": "2020-01-01T00:00:00Z"},
            ("expired", "AWS_SESSION_TOKEN"),
        ),
    ],
)
def test_settings_that_cannot_work_are_bad_input(monkeypatch, variables, words):
    set_aws(monkeypatch, variables)
    with pytest.raises(BadInput) as caught:
        open_s3("photos").presign([ITEM], 60)
    assert [word for word in words if word not in checked(caught.value)] == []


@pytest.mark.parametrize("name", ["Not A Bucket", "x!", "a" * 300])
def test_name_that_no_bucket_can_have_is_bad_input(monkeypatch, name):
    set_aws(monkeypatch, KEYS)
    with pytest.raises(BadInput, match="cannot be a bucket's name"):
        list(open_s3(name).list(""))


def test_role_that_may_not_be_taken_is_told_as_such(monkeypatch, store, tmp_path):
    config = tmp_path / "config"
    config.write_text(
        "[profile base]\naws_access_key_id = a\naws_secret_access_key = b\n"
        "[profile role]\nsource_profile = base\nrole_arn = arn:aws:iam::123456789012:role/reader\n"
    )
    role = {"AWS_CONFIG_FILE": str(config), "AWS_PROFILE": "role", "AWS_REGION": "eu-west-1"}
    set_aws(monkeypatch, {**role, "AWS_ENDPOINT_URL": store.url})
    body = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
    store.replies([Reply(403, body.encode())])
    message = listing_fails(open_s3("photos"))
    assert [word for word in ("AssumeRole", "AccessDenied", "AWS_PROFILE") if word not in message] == []


def test_file_that_cannot_be_read_is_a_local_fault(store, photos, tmp_path: Path):
    with pytest.raises(LocalFault):
        photos.upload("a", tmp_path / "nothing")
    assert store.seen == []


# exceptions


def lower_kinds() -> list[type[Exception]]:
    members = [kind for _, kind in inspect.getmembers(lower, inspect.isclass)]
    return [
        kind
        for kind in members
        if kind.__module__ == lower.__name__ and issubclass(kind, Exception) and not issubclass(kind, Warning)
    ]


def made(kind: type[Exception]) -> Exception:
    if issubclass(kind, lower.ClientError):
        return kind({"Error": {"Code": "Odd", "Message": "odd"}}, "GetObject")
    if not hasattr(kind, "fmt"):
        return kind("something\nodd")
    fields = {name for _, name, _, _ in string.Formatter().parse(kind.fmt) if name} | {"last_response"}
    return kind(**dict.fromkeys(fields, "something\nodd"))


@pytest.mark.parametrize("kind", lower_kinds(), ids=lambda kind: kind.__name__)
def test_exceptions_of_botocore_become_errors_of_ours(kind):
    with pytest.raises(DarkroomError) as caught, s3_errors(Place("photos", "us-east-1")):
        raise made(kind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_exceptions_in_the_table_become_what_it_says(kind):
    error = made(kind) if kind in lower_kinds() else kind("odd")
    with pytest.raises(EXCEPTIONS[kind][0]), s3_errors(Place("photos", "us-east-1")):
        raise error


def test_mistakes_of_our_own_are_not_dressed_up():
    for error in (RuntimeError("ours"), TypeError("ours"), KeyError("ours")):
        with pytest.raises(type(error), match="ours"), s3_errors(Place("photos", "us-east-1")):
            raise error
