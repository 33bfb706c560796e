"""The studies of docs/film.md and docs/text.md as benchmarks: what time and texts add, in shares of all answers."""

from benchmarks.report import Benchmark, Figure

__all__ = ["STUDIES"]

WAYS = {
    "image_to_text": "images to captions",
    "text_to_image": "captions to images",
    "partners": "picture to picture",
}
STUDIES = (
    Benchmark(
        "tracks-time",
        ("benchmarks.tracks_time",),
        "Accuracy on unseen tracks of traffic signs, less that of SimCLR on single frames: five seeds, ten epochs. The "
        "tables of docs/film.md are of runs on a GPU.",
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
        "Recall at 1 of unseen emoji and their keywords, less a linear map's, and of the other artist's picture, less "
        "SimCLR's: three seeds, 40 epochs. The tables of docs/text.md are of runs on a GPU.",
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
