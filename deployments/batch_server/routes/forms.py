"""A multipart form with one file, the way HTTP clients send it."""

from email.message import Message

from fastapi import Request

from deployments.batch_server.refusals import BadRequest, TooLarge
from deployments.batch_server.routes.bodies import read_limited
from tasks.roboflow_api.models import MAX_IMAGE_BYTES

FORM_OVERHEAD = 64 * 1024


async def read_single_file(request: Request) -> bytes:
    """The content of the one file in a form.

    Args:
        request: A request whose body is `multipart/form-data`.

    Raises:
        BadRequest: It is no form, does not hold exactly one file, or did not arrive whole.
        TooLarge: The file is over 20 MiB.
    """
    boundary = _boundary(request.headers.get("content-type", ""))
    body = await read_limited(request, MAX_IMAGE_BYTES + FORM_OVERHEAD, "the form of an image")
    content = _only_part(body, boundary)
    if len(content) > MAX_IMAGE_BYTES:
        raise TooLarge(f"the image is over {MAX_IMAGE_BYTES} bytes, the most that is taken: make it smaller")
    return content


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise BadRequest("send the image as multipart/form-data, in a field named like the file")
    return boundary.encode()


def _only_part(body: bytes, boundary: bytes) -> bytes:
    delimiter = b"\r\n--" + boundary
    # The first delimiter has no line break before it.
    pieces = (b"\r\n" + body).split(delimiter)
    if len(pieces) != 3 or not pieces[2].startswith(b"--"):
        raise BadRequest(f"the form holds {max(0, len(pieces) - 2)} fields; send exactly one file")
    head, separator, content = pieces[1].partition(b"\r\n\r\n")
    if not separator or not head.startswith(b"\r\n"):
        raise BadRequest("the form's field has no headers: the body is damaged")
    return content
