"""From the body of a request to the bytes of its images: one raw image, or several as multipart/form-data."""

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
"""Number of letters of an image's name that an answer repeats."""
BOUNDARY = re.compile(rb"[\w'()+,./:=? -]{1,70}", re.ASCII)
"""Valid boundaries between the files of a form (RFC 2046, 5.1.1), none of which needs escaping within quotes."""


class Refused(Exception):  # noqa: N818 - an answer, not an error of the service
    """A request that is answered with a 4xx status or with 503.

    Args:
        status: HTTP status code.
        reason: Reason, as a sentence.
        images: Name and reason of each image that caused the refusal.
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
        Refused: There is no image, there are too many images or bytes, or the body does not arrive in time.
    """
    if "content-encoding" in request.headers:
        raise Refused(415, "The body is compressed: send images without a content encoding.")
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
        raise Refused(413, f"There are {len(uploads)} images, but a request may have at most {settings.max_images}.")
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
            raise Refused(413, f"A request may have at most {settings.max_images} images.") from error
        raise Refused(400, f"The body is not multipart/form-data: {error.message}") from error
    except ValueError as error:  # UnicodeError is one, too
        raise Refused(400, "The body is not multipart/form-data: it cannot be parsed.") from error
    try:
        files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
        return [Upload((file.filename or name)[:MOST_OF_A_NAME], await file.read()) for name, file in files]
    finally:
        await form.close()


def _form_head(request: Request) -> Headers:
    """Return the only header that the parser needs: the content type with the boundary.

    A charset named by the client is dropped: it could turn file names into invalid text, such as lone surrogates.
    """
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"")
    if not BOUNDARY.fullmatch(boundary):
        raise MultiPartException("the boundary is missing or invalid.")
    return Headers({"content-type": f'multipart/form-data; boundary="{boundary.decode()}"'})


class _InMemory(MultiPartParser):
    spool_max_size = 2**62  # bodies are already bounded, and a container may have no writable disk


async def _bounded(request: Request, settings: Settings) -> AsyncGenerator[bytes, None]:
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > settings.max_bytes:
            raise _too_large(settings)
        yield chunk


def _too_large(settings: Settings) -> Refused:
    return Refused(413, f"The body exceeds {settings.max_bytes:,} bytes.")
