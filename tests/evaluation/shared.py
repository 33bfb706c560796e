"""What the second rank in `test_features.py` runs; it imports little besides torch."""

import numpy as np
import numpy.typing as npt

from ssl_pipeline import ranks
from ssl_pipeline.evaluation.features import extract

__all__ = ["COUNT", "Numbered", "in_company"]

COUNT = 600


class Numbered:
    """Images (1, 1, 2) that encode their own number."""

    def __len__(self) -> int:
        return COUNT

    def images(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return np.stack([positions // 256, positions % 256], axis=1).astype(np.uint8).reshape(-1, 1, 1, 2)


def in_company(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return features that depend on how many images are embedded at once, as the last bits of a network's do."""
    return (images.reshape(len(images), -1) + np.float32(len(images))).astype(np.float32)


if __name__ == "__main__":
    with ranks.joined():
        ranks.gathered(extract(in_company, Numbered()).tobytes())
