"""The handwritten digits that come with scikit-learn, so a first run needs no data and no network."""

from typing import TYPE_CHECKING

from PIL import Image

from ssl_pipeline import hookimpl
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.source import Images, Source

if TYPE_CHECKING:
    from ssl_pipeline.types import Register  # imports torch


class Digits(Source):
    """1,797 handwritten digits of 8 x 8 px (the test part of UCI's Optical Recognition of Handwritten Digits).

    Args:
        path: Path that is ignored, because the digits come with scikit-learn.
    """

    def __init__(self, *, path: str = ""):
        pass

    def open(self) -> Images:
        """Return the digits with their classes, 0 to 9."""
        from sklearn.datasets import load_digits

        data = load_digits()
        images = {
            f"{number:04}-{label}.png": Image.fromarray((pixels * (255 / 16)).round().astype("uint8"))  # of 0 to 16
            for number, (pixels, label) in enumerate(zip(data.images, data.target, strict=True))
        }
        records = [Record(name, label=name[5]) for name in images]
        return Images(records, lambda name, _: images[name], portable=False)


@hookimpl
def register_sources(register: "Register") -> None:
    """Add `digits`."""
    register("digits", Digits)
