"""What the service answers to, in JSON. One that refuses has `error`, and `images` where some of them are to blame.

Nothing here imports torch.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from bodies import Refused, Upload, read_uploads
from service import REMEMBERED, Service
from settings import Settings
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import ssl_pipeline
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.runtime import Backbone

Answer = Callable[[Service, Request, list[Upload]], Awaitable[list[dict[str, Any]]]]


def build(settings: Settings) -> Starlette:
    """Return the application.

    Raises:
        PipelineError: A file is missing, is another one, or does not belong to the model.
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


async def embed(service: Service, request: Request, uploads: list[Upload]) -> list[dict[str, Any]]:
    outcomes = await service.outcomes(uploads, service.embed)
    return [{**about, "embedding": row.tolist()} for about, row in outcomes]


async def classify(service: Service, request: Request, uploads: list[Upload]) -> list[dict[str, Any]]:
    if service.classify is None:
        raise Refused(404, "There is no classifier here: start the service with --classifier.")
    outcomes = await service.outcomes(uploads, service.classify)
    names = service.classes
    return [
        {**about, "class": names[int(row.argmax())], "probabilities": dict(zip(names, row.tolist(), strict=True))}
        for about, row in outcomes
    ]


async def neighbours(service: Service, request: Request, uploads: list[Upload]) -> list[dict[str, Any]]:
    if service.bank is None:
        raise Refused(404, "There is no index here: start the service with --index.")
    k = request.query_params.get("k", "10")
    if not (k.isascii() and k.isdigit() and 1 <= int(k[:5]) <= 1000):
        raise Refused(400, "k must be a whole number from 1 to 1000.")
    outcomes = await service.outcomes(uploads, service.embed)
    found = await asyncio.to_thread(service.neighbours, np.stack([row for _, row in outcomes]), int(k))
    return [{**about, "neighbours": mine} for (about, _), mine in zip(outcomes, found, strict=True)]


def health(service: Service) -> dict[str, Any]:
    return {"status": "ok", "in_flight": service.in_flight}


def version(service: Service) -> dict[str, Any]:
    said = {"ssl_pipeline": ssl_pipeline.__version__, "onnxruntime": onnxruntime.__version__}
    said["model"] = {**_about(service.backbone, service.settings.model), "dim": service.backbone.dim}
    if service.classifier:
        said["classifier"] = {**_about(service.classifier, service.settings.classifier), "classes": service.classes}
    return said | {"index": None if service.bank is None else {"images": len(service.bank)}}


def latency(service: Service) -> dict[str, Any]:
    """Return milliseconds of the last requests, from their head to the answer, and how well images come together."""
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
        response = await _guarded(service, answer, request)
        service.answers[response.status_code] += 1
        if response.status_code == 200:
            service.seconds.setdefault(request.url.path, deque(maxlen=REMEMBERED)).append(time.perf_counter() - started)
        return response

    return endpoint


async def _guarded(service: Service, answer: Answer, request: Request) -> Response:
    if service.in_flight >= service.settings.max_requests:
        return JSONResponse({"error": "Too many requests at a time: try again."}, 503, {"retry-after": "1"})
    service.in_flight += 1
    try:
        images = await answer(service, request, await read_uploads(request, service.settings))
        return JSONResponse({"model": service.backbone.sha256, "images": images})
    except Refused as refused:
        blamed = {} if refused.images is None else {"images": refused.images}
        return JSONResponse({"error": refused.reason, **blamed}, refused.status)
    except PipelineError as error:  # a process that decodes was killed, as where memory runs out
        return JSONResponse({"error": str(error)}, 503, {"retry-after": "1"})
    except ClientDisconnect:
        return Response(status_code=499)  # which nobody will read
    finally:
        service.in_flight -= 1


async def _no_such_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = "POST an image to /embed, /classify or /neighbours; GET /health, /version or /latency."
    return JSONResponse({"error": f"{error.detail}: {known}"}, error.status_code, error.headers)


async def _bug(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "The service has a fault: its log has the traceback."}, 500)
