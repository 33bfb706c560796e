"""Reasons why goals in `benchmarks.goals` are missed, according to profiles."""

__all__ = [
    "ALL_PIXELS",
    "ENCODED_TWICE",
    "EXPORTER",
    "GAPS",
    "GAPS_OF_VIEWS",
    "LATER_STAGES",
    "NETWORK",
    "NO_ANTIALIASING",
    "PROBES",
    "ROUNDED_MAPS",
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
    "antialiased. Our views are float32: at 96 and 224 px, colour and blur take half of the time, and the resampling "
    "of the crop takes a quarter. At 224 px, the first write to newly allocated memory takes another fifth."
)
ALL_PIXELS = (
    "the bare loop lets libjpeg decode at a half, a quarter or an eighth of the size. This changes the canvases: at an "
    "edge by up to a third of the range, or by 41 levels of 255 if libjpeg decodes at twice the side of the canvas, "
    "and by 13 at four times the side (`levels` in the rows). ingest decodes every pixel, because the SHA-256 of the "
    "pixels identifies an image. According to profiles at 128, 500 and 2,000 px, it spends its time on decoding (36, "
    "27 and 27%), the canvas (20, 32 and 30%), the sketch for near copies (34, 15 and 8%) and the hash (10, 26 and "
    "35%)."
)
WAY_TO_THE_STORE = (
    "each decoded canvas passes through a pipe to the main process, and then through the spool to the shards, where "
    "the sums and both digests of the store are computed. This takes 0.3 ms at 64 px and 1 ms at 224 px. The fixed "
    "cost consists of starting the processes and of decoding again the 64 images that are also stored at their "
    "original sizes."
)
TWO_PROCESSES = (
    "dvc starts the inventory, the only stage that always runs, because it finds out whether images or code have "
    "changed. It needs a second Python process."
)
EXPORTER = (
    "according to a profile, torch.onnx.export takes 85% of the time, to trace and decompose the graphs of two kinds "
    "of views. `import torch` alone takes 1.4 s and 520 MB in the CUDA build."
)
NETWORK = "the network takes so large a share of a step that savings elsewhere cannot suffice, as the bound shows."
SMALL_MAPS = (
    "according to a profile (one thread, 96 px), the time of the first two stages of the network shrinks like the "
    "areas, to a quarter at half the side. The time of the last stage, a third of a step, does not shrink at all: its "
    "feature maps of 3 x 3 pixels become 2 x 2, smaller than its kernels, and its convolutions reach 38 instead of 67 "
    "GFLOP/s. Forward and backward passes alone reach 0.73 of the prediction; rounding the maps up to whole pixels "
    "alone would leave 0.88. Views, loss and optimizer cost a little more."
)
ROUNDED_MAPS = (
    "according to a profile (one thread, 64 px), the last stage of the network, a third of a pass, takes as long at "
    "three quarters of the side as at the full side: its maps of 2 x 2 pixels would be 1.5 x 1.5, which is rounded up. "
    "Passes thus take 0.76 instead of 0.56 of their time at three quarters of the side, and 0.31 instead of 0.25 at "
    "half of it. Together these two predict the measured share."
)
LATER_STAGES = (
    "`curate`, `report`, `bundle` and two more variants of the backbone were added after the goal was set. According "
    "to a profile, finetune spends three quarters of its time on forward and backward passes: 81 models, 4,140 steps."
)
PROBES = (
    "according to a profile, 75 logistic regressions (15 sets of features, five strengths each) take a third of the "
    "time, k-means 6% and the nearest neighbours 2%. The passes of a ResNet-8 at 16 px take only a tenth of a "
    "millisecond per image; evaluation-wide measures the ratio for a larger network."
)
ENCODED_TWICE = (
    "a second forward pass in micro-batches of 64 adds 0.3 of a step of this small network. Even kept micro-batches "
    "add 0.1, because each calls every operation for few images. Together this makes about 1.4 the lower bound."
)
WHOLE_BATCH = (
    "embeddings, heads and the loss of the whole batch take 10 KiB per image here, a noticeable share for so small a "
    "network."
)
GAPS = "glibc does not return the memory that a micro-batch frees, and the next micro-batch does not fill its gaps."
VIEWS = (
    "according to profiles, making the views takes 8 to 11% of the run, looks at the embeddings 2%, and gradient "
    "clipping, reading images and measuring the size of steps 1 to 2% each. Bare steps have their views ready and do "
    "not clip gradients. Since so small a network takes only 0.4 ms per view, all of this is noticeable."
)
VIEWS_OF_PHOTOGRAPHS = (
    "according to a profile (two threads, bf16), making the views takes 4% of a step, looks at the embeddings 2% and "
    "gradient clipping 1%; bare steps do none of this. In fp32 a step takes twice as long, and these shares halve."
)
GAPS_OF_VIEWS = (
    "in turns on an idle machine (bf16), bare steps peaked at 1,244 to 1,276 MiB, runs without looks at 1,263 to 1,331 "
    "MiB and runs with looks at 1,314 to 1,331 MiB. A run makes new views in each step, a look passes 256 images "
    "through the encoder, and the heap keeps the gaps that these leave. At 32 and 224 px, the activations of a batch "
    "are larger, and this matters less."
)
SAME_ACTIVATIONS = (
    "both sides train the same network, whose activations dominate. Bare steps on ready views need nearly as much "
    "memory as our whole run (2,267 of 2,295 MiB at 96 px, 780 of them for imports), so only a network that stores "
    "less for its backward pass would need less. The additional memory of lightly is that of its loader's processes."
)
