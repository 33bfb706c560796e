"""Settings of the service, each from an argument or an environment variable: --max-images or SERVE_MAX_IMAGES."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Files to serve, and limits of requests.

    Attributes:
        model: Path of the exported backbone.
        classifier: Path of classifier.onnx or linear_probe.onnx, for /classify; None to serve no classifier.
        index: Path of the table that `ssl-pipeline embed` has written with this model, for /neighbours; None to serve
            no index.
        provider: Execution provider: auto, cpu, cuda or openvino.
        threads: Number of CPU threads of the model; None leaves the choice to onnxruntime.
        decoders: Number of processes that decode images.
        max_bytes: Largest size of a request's body in bytes.
        max_images: Largest number of images in a request.
        max_megapixels: Largest size of an image in megapixels; larger ones are refused by their header.
        max_requests: Largest number of requests in flight; further ones are answered with 503.
        batch: Largest number of images in a batch.
        wait_ms: Time in ms that a batch waits for more images.
        patience: Time in s within which the body of a request has to arrive.
    """

    model: Path
    classifier: Path | None
    index: Path | None
    provider: str
    threads: int | None
    decoders: int
    max_bytes: int
    max_images: int
    max_megapixels: float
    max_requests: int
    batch: int
    wait_ms: float
    patience: float
