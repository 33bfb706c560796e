"""Values in papers for the options of recipes that learn from time; see `tests/plugins/papers.py`."""

from tests.plugins.papers import Ours, Paper

FILM_PAPERS: dict[str, dict[str, Paper | Ours]] = {
    "time_contrast": {  # 2008.03800, with positives of 1704.06888
        "task.hidden_dim": Paper(2048, "authors' code, configs/video_ssl.py: hidden_dim"),
        "task.out_dim": Paper(128, "authors' code, configs/video_ssl.py: projection_dim"),
        "task.layers": Paper(4, "authors' code, configs/video_ssl.py: hidden_layer_num 3, plus the last layer"),
        "loss.temperature": Paper(0.1, "authors' code, configs/video_ssl.py: temperature"),
    },
    "frame_order": {  # 1603.08561
        "task.hidden_dim": Ours(
            4096, "a linear layer on concatenated features", "as in the other tasks that ask questions"
        ),
        "task.least": Paper(0.6, "table 1: the least distance of a frame out of order, 15 of 25 frames per second"),
        "task.most": Paper(1.2, "table 1: half of the longest window of three frames, 60 of 25 frames per second"),
        "task.asks": Paper("order", "abstract: whether a sequence is in the correct order"),
    },
    "missing_frame": {  # in no paper; its parts are those of 2106.08254
        "task.words": Paper(8192, "2.1: vocabulary"),
        "task.patch_size": Paper(16, "2.1"),
        "task.frames": Ours(3, "patches of one image", "the smallest number that has a middle frame"),
        "task.least": Ours(0.2, "no time", "as frame_order"),
        "task.most": Ours(1.0, "no time", "as frame_order"),
    },
}
