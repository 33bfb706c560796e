"""Reasons why goals in `benchmarks.goals` are missed, as profiles have shown them."""

__all__ = [
    "ALL_PIXELS",
    "ENCODED_TWICE",
    "EXPORTER",
    "GAPS",
    "LATER_STAGES",
    "NETWORK",
    "NO_ANTIALIASING",
    "PROBES",
    "SAME_ACTIVATIONS",
    "SMALL_MAPS",
    "TWO_PROCESSES",
    "VIEWS",
    "VIEWS_OF_PHOTOGRAPHS",
    "WAY_TO_THE_STORE",
    "WHOLE_BATCH",
]

NO_ANTIALIASING = (
    "albumentationsX works on uint8, so each pass over the pixels moves a quarter of the bytes, and its crop is not "
    "antialiased. Our views are float32: colour and blur take half of the time at 96 and 224 px, and the taps of the "
    "crop a quarter. At 224 px, the first write to the fresh memory of a batch takes another fifth."
)
ALL_PIXELS = (
    "the bare loop lets libjpeg decode at a half, a quarter or an eighth of the size. This changes the canvases: by up "
    "to a third of the range at an edge, by 41 levels at twice the side of the canvas and by 13 levels at four times "
    "(`levels` in the rows). ingest decodes every pixel, because the SHA-256 of the pixels identifies an image. By "
    "profile at 128, 500 and 2,000 px, it spends its time on decoding (36, 27 and 27%), the canvas (20, 32 and 30%), "
    "the sketch for near copies (34, 15 and 8%) and the hash (10, 26 and 35%)."
)
WAY_TO_THE_STORE = (
    "each decoded canvas passes through a pipe to the main process, then through the spool to the shards, where the "
    "sums and both digests of the store are computed: 0.3 ms at 64 px, 1 ms at 224 px. The fixed cost of any pile is "
    "the start of the processes, and the second decoding of the 64 images that are kept at their own sizes."
)
TWO_PROCESSES = (
    "dvc starts the inventory, the one stage that always runs because it finds out whether images or code have "
    "changed. This is a second Python process."
)
EXPORTER = (
    "by profile, torch.onnx.export takes 85% of the time to trace and decompose the graphs of two kinds of views. "
    "`import torch` alone takes 1.4 s and 520 MB in the build for CUDA."
)
NETWORK = "the network takes so large a share of a step that nothing else can make up for it, as the bound shows."
SMALL_MAPS = (
    "by profile (one thread, 96 px), the first two stages of the network shrink as the areas do, to 0.25 of their time "
    "at half the side. The last stage, a third of a step, does not shrink at all: its maps of 3 x 3 pixels become 2 x "
    "2, smaller than its kernels, and its convolutions reach 38 instead of 67 GFLOP/s. Forward and backward passes "
    "alone reach 0.73 of what the areas predict; rounding maps up to whole pixels leaves 0.88. Views, loss and "
    "optimizer take a little more."
)
LATER_STAGES = (
    "`curate`, `report`, `bundle` and two more variants of the backbone were added after the goal was set. By profile, "
    "three quarters of finetune are forward and backward passes of 81 models, in 4,140 steps."
)
PROBES = (
    "by profile, a third of the time goes to 75 logistic regressions (15 sets of features, five strengths each), 6% to "
    "k-means and 2% to the neighbours. The passes are those of a ResNet-8 at 16 px, which take a tenth of a "
    "millisecond per image; evaluation-wide measures what remains beside a larger network."
)
ENCODED_TWICE = (
    "a forward pass in micro-batches of 64 takes 0.3 of a step of this small network, and kept micro-batches add 0.1, "
    "because each calls every operation for few images: about 1.4 is the lower bound."
)
WHOLE_BATCH = (
    "embeddings, heads and the loss of the whole batch take 10 KiB per image here, which is a visible share beside so "
    "small a network."
)
GAPS = "glibc keeps the memory that a micro-batch frees, in gaps that the next micro-batch does not fill."
VIEWS = (
    "by profile, making the views takes 9 to 11% of the run, looks at the encoder 2%, and gradient clipping and "
    "reading images 1 to 2% each. Bare steps find their views ready and clip nothing, and a network this small takes "
    "0.4 ms per view, beside which nothing is hidden."
)
VIEWS_OF_PHOTOGRAPHS = (
    "by profile (two threads, bf16), making the views takes 4% of a step, looks at the encoder 2% and gradient "
    "clipping 1%; bare steps do none of this. In fp32 a step takes twice as long and these shares halve."
)
SAME_ACTIVATIONS = (
    "both sides train the same network, whose activations decide. Bare steps on ready views take as much as our whole "
    "run (2,267 of 2,295 MiB at 96 px, of which 780 are imports), so only a network that keeps less for its backward "
    "pass would need less. What lightly needs beside it are its loader's processes."
)
