"""From the body of a request to the bytes of its images: one image as it is, or several as multipart/form-data."""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import NamedTuple

from python_multipart.multipart import parse_options_header
from settings import Settings
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

MOST_OF_A_NAME = 200
"""Letters of an image's name that an answer repeats."""
BOUNDARY = re.compile(rb"[\w'()+,./:=? -]{1,70}", re.ASCII)
"""What may part the files of a form (RFC 2046, 5.1.1); none of it has a meaning within quotes."""


class Refused(Exception):  # noqa: N818 - an answer, and no error of ours
    """A request that is answered by a 4xx or by 503.

    Args:
        status: The status of HTTP.
        reason: Why, as a sentence.
        images: Name and reason of each image that is to blame.
    """

    def __init__(self, status: int, reason: str, images: list[dict[str, str]] | None = None):
        super().__init__(reason)
        self.status, self.reason, self.images = status, reason, images


class Upload(NamedTuple):
    """The name that a client gave to an image, and the bytes of its file."""

    name: str
    content: bytes


async def read_uploads(request: Request, settings: Settings) -> list[Upload]:
    """Read all images of a request.

    Raises:
        Refused: There is none, there are too many or too many bytes, or they do not arrive.
    """
    if "content-encoding" in request.headers:
        raise Refused(415, "The body is compressed: send images as they are.")
    if int(request.headers.get("content-length", 0)) > settings.max_bytes:
        raise _too_large(settings)
    try:
        async with asyncio.timeout(settings.patience):
            uploads = await _read(request, settings)
    except TimeoutError as error:
        raise Refused(408, f"The body did not arrive within {settings.patience:g} s.") from error
    if not uploads:
        raise Refused(400, "There is no image: send one as the body, or several as files of multipart/form-data.")
    if len(uploads) > settings.max_images:
        raise Refused(413, f"There are {len(uploads)} images, and a request may have {settings.max_images}.")
    return uploads


async def _read(request: Request, settings: Settings) -> list[Upload]:
    body = _bounded(request, settings)
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        content = b"".join([chunk async for chunk in body])
        return [Upload("body", content)] if content else []
    try:
        form = await _InMemory(_form_head(request), body, max_files=settings.max_images + 1).parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise Refused(413, f"A request may have {settings.max_images} images, and there are more.") from error
        raise Refused(400, f"The body is not multipart/form-data: {error.message}") from error
    except ValueError as error:  # UnicodeError is one, too
        raise Refused(400, "The body is not multipart/form-data: it cannot be parsed.") from error
    try:
        files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
        return [Upload((file.filename or name)[:MOST_OF_A_NAME], await file.read()) for name, file in files]
    finally:
        await form.close()


def _form_head(request: Request) -> Headers:
    """Return what the parser has to know of a form: its boundary alone.

    By a charset that the client names, names of files could become what is no text, such as lone surrogates.
    """
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"")
    if not BOUNDARY.fullmatch(boundary):
        raise MultiPartException("the boundary is missing, or is none.")
    return Headers({"content-type": f'multipart/form-data; boundary="{boundary.decode()}"'})


class _InMemory(MultiPartParser):
    spool_max_size = 2**62  # bodies are bounded already, and a container may have no disk to write to


async def _bounded(request: Request, settings: Settings) -> AsyncGenerator[bytes, None]:
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > settings.max_bytes:
            raise _too_large(settings)
        yield chunk


def _too_large(settings: Settings) -> Refused:
    return Refused(413, f"The body has more than {settings.max_bytes:,} bytes.")
