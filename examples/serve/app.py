"""The endpoints of the service, which answer in JSON. A refusal has `error`, and `images` if some of them caused it.

Nothing here imports torch.
"""

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from batching import Batcher
from bodies import Refused, read_uploads
from service import REMEMBERED, Outcome, Service
from settings import Settings
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import ssl_pipeline
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.runtime import Backbone

MOST_NEIGHBOURS = 1000
"""Largest number of neighbours per image that a request may ask for."""
Answer = Callable[[Service, Request], Awaitable[dict[str, Any]]]
LOG = logging.getLogger("uvicorn.error")  # written to standard error


def build(settings: Settings) -> Starlette:
    """Return the application.

    Raises:
        PipelineError: A file is missing, is of another kind, or does not belong to the model.
    """
    service = Service(settings)
    routes = [
        Route("/health", _get(service, health)),
        Route("/version", _get(service, version)),
        Route("/latency", _get(service, latency)),
        Route("/embed", _post(service, embed), methods=["POST"]),
        Route("/classify", _post(service, classify), methods=["POST"]),
        Route("/neighbours", _post(service, neighbours), methods=["POST"]),
    ]
    handlers = {HTTPException: _no_such_address, Exception: _bug}
    return Starlette(routes=routes, lifespan=service.running, exception_handlers=handlers)


async def embed(service: Service, request: Request) -> dict[str, Any]:
    outcomes = await _outcomes(service, request, service.embed)
    images = [{**about, "embedding": row.tolist()} for about, row in outcomes]
    return {"model": service.backbone.sha256, "images": images}


async def classify(service: Service, request: Request) -> dict[str, Any]:
    if service.classifier is None or service.classify is None:
        raise Refused(404, "This service has no classifier: start it with --classifier.")
    outcomes = await _outcomes(service, request, service.classify)
    names = service.classes
    images = [
        {**about, "class": names[int(row.argmax())], "probabilities": dict(zip(names, row.tolist(), strict=True))}
        for about, row in outcomes
    ]
    return {"model": service.classifier.sha256, "images": images}


async def neighbours(service: Service, request: Request) -> dict[str, Any]:
    if service.bank is None:
        raise Refused(404, "This service has no index: start it with --index.")
    k = _count(request.query_params.get("k", "10"))
    outcomes = await _outcomes(service, request, service.embed)
    found = await service.neighbours(np.stack([row for _, row in outcomes]), k)
    images = [{**about, "neighbours": mine} for (about, _), mine in zip(outcomes, found, strict=True)]
    return {"model": service.backbone.sha256, "images": images}


def _count(word: str) -> int:
    if word.isascii() and word.isdigit() and len(word) <= len(str(MOST_NEIGHBOURS)):
        count = int(word)
        if 1 <= count <= MOST_NEIGHBOURS:
            return count
    raise Refused(400, f"k must be a whole number from 1 to {MOST_NEIGHBOURS}, without leading zeros.")


async def _outcomes(service: Service, request: Request, batcher: Batcher) -> list[Outcome]:
    """Read the body and return its outcomes; call this after all checks that do not need the body."""
    return await service.outcomes(await read_uploads(request, service.settings), batcher)


def health(service: Service) -> dict[str, Any]:
    return {"status": "ok", "in_flight": service.in_flight}


def version(service: Service) -> dict[str, Any]:
    said = {"ssl_pipeline": ssl_pipeline.__version__, "onnxruntime": onnxruntime.__version__}
    said["model"] = {**_about(service.backbone, service.settings.model), "dim": service.backbone.dim}
    if service.classifier:
        said["classifier"] = {**_about(service.classifier, service.settings.classifier), "classes": service.classes}
    return said | {"index": None if service.bank is None else {"images": len(service.bank)}}


def latency(service: Service) -> dict[str, Any]:
    """Return the latency in ms of the last requests, from their headers to the answer, and the sizes of batches."""
    times = {
        path: {f"p{level}_ms": round(1000 * float(np.percentile(some, level)), 3) for level in (50, 95, 99)}
        for path, some in service.seconds.items()
    }
    batches, images = service.embed.batches, service.embed.images
    return {
        "last": REMEMBERED,
        "addresses": times,
        "answers": dict(sorted(service.answers.items())),
        "batches": {"count": batches, "images": images, "largest": service.embed.largest},
    }


def _about(model: Backbone, path: Path | None) -> dict[str, Any]:
    file = {"file": path.name if path else "", "sha256": model.sha256}
    return {**file, "size": model.size, "images": str(model.images), "provider": model.provider}


def _get(service: Service, answer: Callable[[Service], dict[str, Any]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return JSONResponse(answer(service))

    return endpoint


def _post(service: Service, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        started = time.perf_counter()
        try:
            response = await _guarded(service, answer, request)
        except Exception:  # a bug; `_bug` answers the request
            service.answers[500] += 1
            raise
        service.answers[response.status_code] += 1
        if response.status_code == 200:
            service.seconds.setdefault(request.url.path, deque(maxlen=REMEMBERED)).append(time.perf_counter() - started)
        return response

    return endpoint


async def _guarded(service: Service, answer: Answer, request: Request) -> Response:
    if service.in_flight >= service.settings.max_requests:
        return JSONResponse({"error": "Too many requests in flight: try again."}, 503, {"retry-after": "1"})
    service.in_flight += 1
    try:
        return JSONResponse(await answer(service, request))
    except Refused as refused:
        blamed = {} if refused.images is None else {"images": refused.images}
        return JSONResponse({"error": refused.reason, **blamed}, refused.status)
    except PipelineError as error:  # a decoding process was killed; the log has the details for the operator
        LOG.error("%s was answered with 503: %s", request.url.path, error)
        reason = "A process that decodes images was killed, perhaps for lack of memory: try again."
        return JSONResponse({"error": reason}, 503, {"retry-after": "1"})
    except ClientDisconnect:
        return Response(status_code=499)  # nobody will read it
    finally:
        service.in_flight -= 1


async def _no_such_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = "POST an image to /embed, /classify or /neighbours; GET /health, /version or /latency."
    return JSONResponse({"error": f"{error.detail}: {known}"}, error.status_code, error.headers)


async def _bug(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "Internal error: the log of the service has the traceback."}, 500)
