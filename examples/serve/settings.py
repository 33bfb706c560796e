"""What the service can be told, each by an argument or by an environment variable: --max-images or SERVE_MAX_IMAGES."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """What is served, and what a request may cost.

    Attributes:
        model: The exported backbone.
        classifier: A classifier.onnx or a linear_probe.onnx, for /classify; None: there is none.
        index: The table that `ssl-pipeline embed` has written with this model, for /neighbours; None: there is none.
        provider: The execution provider: auto, cpu, cuda or openvino.
        threads: CPU threads of the model; None leaves the choice to onnxruntime.
        decoders: Processes that decode images.
        max_bytes: Bytes of a request's body, at most.
        max_images: Images of a request, at most.
        max_megapixels: Megapixels of an image, at most; it is refused by its header.
        max_requests: Requests that are worked on at a time; further ones are answered by 503.
        batch: Images that are given to the model at a time, at most.
        wait_ms: Milliseconds that a batch waits for further images.
        patience: Seconds in which the body of a request has to arrive.
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
