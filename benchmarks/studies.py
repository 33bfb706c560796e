"""Differences of accuracies: what time and captions add (docs/film.md, docs/text.md), and what small views cost."""

from benchmarks.report import Benchmark, Figure

__all__ = ["STUDIES"]

WAYS = {
    "image_to_text": "images to captions",
    "text_to_image": "captions to images",
    "partners": "picture to picture",
}


def _smaller_views(name: str, data: str, images: str, epochs: int, minutes: float, missed: str = "") -> Benchmark:
    return Benchmark(
        name,
        ("benchmarks.resolution", "knn", "--data", data, "--epochs", str(epochs), "--seeds", "3"),
        f"kNN accuracy on {images} at 64 px with the schedule of sizes, minus that with full size; three seeds, "
        f"{epochs} epochs each, paired by seed and image.",
        minutes,
        (
            Figure(
                "difference of accuracies, lower end of the interval",
                {"what": "difference"},
                "low",
                ("≥", -0.005),
                missed,
            ),
            Figure("difference of accuracies, mean", {"what": "difference"}, "difference", spread="interval"),
        ),
        long=True,
        data=data,
    )


STUDIES = (
    _smaller_views(
        "resolution-knn",
        "clothing",
        "the 372 test photographs of clothing",
        6,
        20,
        "with so few test images, the interval is wider than the half point of the goal.",
    ),
    _smaller_views("resolution-knn-10000", "cifar10", "the 10,000 test images of CIFAR-10 JPEG q75", 4, 40),
    Benchmark(
        "tracks-time",
        ("benchmarks.tracks_time",),
        "Accuracy on unseen tracks of traffic signs, minus that of SimCLR on single frames: five seeds, ten epochs. "
        "The tables of docs/film.md come from runs on a GPU.",
        40,
        tuple(
            Figure(f"{arm}, {by}", {"over": "simclr", "arm": arm, "measure": by}, "difference", spread="interval")
            for arm in ("time_contrast", "frame_order", "missing_frame")
            for by in ("kNN", "1 track", "5 tracks")
        ),
        long=True,
        data="tracks",
    ),
    Benchmark(
        "emoji-text",
        ("benchmarks.emoji_text",),
        "Recall at 1 for unseen emoji and their keywords, minus that of a linear map, and for the other artist's "
        "picture, minus that of SimCLR: three seeds, 40 epochs. The tables of docs/text.md come from runs on a GPU.",
        60,
        tuple(
            Figure(f"{arm}, {words}", {"asked": way, "arm": arm}, "difference", spread="interval")
            for way, words in WAYS.items()
            for arm in ("clip", "siglip", "slip")
        ),
        long=True,
        data="emoji/emoji.zip",
    ),
)
