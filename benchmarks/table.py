"""The benchmarks of docs/benchmarks.md.

To add one, write a module with a click command `main` that prints JSON lines, and add a row here and its goals, here or
in `benchmarks.goals`. `minutes` is its duration on two idle cores; a benchmark is stopped when it takes twice as long.
All benchmarks of `make bench` together must fit into half an hour.
"""

from benchmarks import goals
from benchmarks.report import Benchmark, Figure
from benchmarks.studies import STUDIES

__all__ = ["BENCHMARKS", "SHORT_MINUTES"]

SHORT_MINUTES = 30
"""Time limit of `make bench`, minutes; benchmarks that do not fit are skipped."""


def _sides(*sides: int) -> tuple[str, ...]:
    return tuple(word for side in sides for word in ("--side", str(side)))


_IN_FP32 = ("--precision", "fp32")
BENCHMARKS = (
    Benchmark(
        "views",
        ("benchmarks.views",),
        "Views per second of SimCLR's policy on photographs, relative to other libraries, with one thread each. All "
        "libraries resize bilinearly; our views and torchvision's are antialiased.",
        1.5,
        tuple(goals.views()),
    ),
    Benchmark(
        "tiles",
        ("benchmarks.tiles",),
        "Time of NT-Xent's sums over anchors x keys, forward and backward: in tiles, relative to a dense matrix, with "
        "one thread.",
        1,
        tuple(goals.tiles()),
    ),
    Benchmark(
        "lightly-32",
        ("benchmarks.against_lightly", "--side", "32", "--steps", "3", "--rounds", "2"),
        "Pretraining a ResNet-18 by SimCLR on JPEG files, relative to lightly's SimCLR as its documentation builds it, "
        "in batches of 128 at 32 px, with two threads.",
        5.5,
        tuple(goals.lightly(32, 1.4)),
        threads=2,
        archive="cifar10/train.zip",
    ),
    Benchmark(
        "lightly-96",
        ("benchmarks.against_lightly", "--side", "96", "--steps", "3", "--rounds", "2"),
        "The same at 96 px, with larger files.",
        5.5,
        tuple(goals.lightly(96, 1.1)),
        threads=2,
        archive="clothing/clothing.zip",
    ),
    Benchmark(
        "epoch-default",
        ("benchmarks.default_epoch",),
        "Time of pretraining in the default run on the bundled digits, everything included, relative to its bare steps "
        "(forward pass, loss, backward pass, optimizer) on views that are ready, with one thread.",
        1,
        tuple(goals.default_epoch()),
    ),
    Benchmark(
        "micro-batches",
        ("benchmarks.virtual_batches",),
        "Time of steps over 512 digits in micro-batches of 64, relative to steps in one pass, and the growth of memory "
        "with the number of micro-batches, with one thread.",
        1.25,
        tuple(goals.micro_batches()),
    ),
    Benchmark(
        "resolution",
        ("benchmarks.resolution", "speed", "--side", "96", "--batch", "32", "--rounds", "2"),
        "Speed-up of whole steps of a ResNet-18 by a schedule of sizes (half the side, three quarters, full side), "
        "relative to full size throughout, with two threads.",
        2,
        tuple(goals.resolution(96)),
        threads=2,
    ),
    Benchmark(
        "default-run",
        ("benchmarks.default_run",),
        "Duration of the default run on the bundled digits by `dvc repro`, with two threads; then augment alone, with "
        "one thread.",
        2.5,
        tuple(goals.default_run()),
        threads=2,
    ),
    Benchmark(
        "ingest",
        ("benchmarks.ingest", "--rounds", "2"),
        "Speed of decoding photographs and of the whole stage ingest, relative to a bare loop of Pillow (draft mode, "
        "decoding, resizing), in processor time of all processes.",
        1.5,
        tuple(goals.ingest()),
        data="clothing/clothing.zip",
    ),
    Benchmark(
        "store",
        ("benchmarks.store",),
        "Processor time to open a store of a million images and to read its labels.",
        0.5,
        tuple(goals.store()),
    ),
    Benchmark(
        "large-photographs",
        ("benchmarks.large_photographs",),
        "Speed of embedding photographs with the backbone.onnx of a ResNet-18, whose graph resizes them, relative to "
        "resizing with Pillow before the graph, with one thread; and the memory needed in addition to the photograph.",
        1,
        tuple(goals.large_photographs()),
        long=True,
    ),
    Benchmark(
        "families",
        ("benchmarks.families",),
        "One network with random weights from each of 23 families of timm: it is built, trained for a step, exported, "
        "compared with torch, and written as int8. docs/forms.md has the table.",
        15,
        tuple(goals.families()),
        long=True,
    ),
    Benchmark(
        "runtimes",
        ("benchmarks.runtimes",),
        "The float32 graphs that ship, for a ResNet-18 and a ViT-Tiny with random weights. OpenVINO in float32 is "
        "compared with onnxruntime on the golden inputs of a bundle; a difference is relative to the largest component "
        "of its row of the output.",
        1,
        tuple(goals.runtimes()),
        long=True,
    ),
    Benchmark(
        "embeddings",
        ("benchmarks.embeddings",),
        "Memory that kNN and k-means need in addition to embeddings of 512 dimensions, extrapolated to a million; each "
        "point is measured in a new process.",
        1,
        tuple(goals.embeddings()),
    ),
    Benchmark(
        "inventory",
        ("benchmarks.inventory", "20000"),
        "Processor time per file of the source when nothing has changed.",
        0.25,
        (
            Figure("microseconds per unchanged file", {"what": "unchanged"}, "microseconds", ("≤", 20.0)),
            Figure("the same, relative to `os.scandir` and `stat`", {"what": "unchanged"}, "ratio"),
        ),
    ),
    Benchmark(
        "start-up",
        ("benchmarks.start_up", "7"),
        "Processor time of commands that have nothing to do, relative to reference commands that do nothing.",
        0.5,
        tuple(goals.start_up()),
    ),
    Benchmark(
        "evaluation",
        ("benchmarks.evaluation", "--rounds", "2"),
        "Time of the linear evaluation of 10,000 + 10,000 images, relative to the bare passes that it needs, with one "
        "thread.",
        5.5,
        tuple(goals.evaluation()),
        long=True,
    ),
    Benchmark(
        "epoch-resnet18",
        ("benchmarks.epoch", *_sides(32, 96, 224), "--steps", "8", "--rounds", "2", "--threads", "2"),
        "Time of pretraining a ResNet-18 by SimCLR on photographs, everything included, relative to its bare steps, "
        "with two threads. Looks at the embeddings and checkpoints are added by their shares of a long run.",
        5,
        tuple(goals.epoch()),
        threads=2,
    ),
    Benchmark(
        "epoch-fp32",
        ("benchmarks.epoch", *_sides(32, 96, 224), "--steps", "8", "--rounds", "2", "--threads", "2", *_IN_FP32),
        "The same as `epoch-resnet18` in fp32, for which the goals were set: without hardware for bf16 both are one.",
        8,
        tuple(goals.epoch()),
        long=True,
        threads=2,
    ),
    Benchmark(
        "resolution-sides",
        ("benchmarks.resolution", "speed", *_sides(32, 64, 224), "--batch", "32", "--rounds", "1"),
        "The same as `resolution` with one thread, at other sizes. Below 64 px, the network hardly reduces images, and "
        "costs that do not shrink with them weigh more.",
        12,
        (*goals.resolution(64), *goals.resolution(224), *goals.resolution(32, goal=False)),
        long=True,
    ),
    *STUDIES,
    Benchmark(
        "race",
        ("benchmarks.race",),
        "kNN accuracy on CIFAR-10 JPEG q75, and the processor time to reach it, with our SimCLR and lightly's: a "
        "ResNet-8, the same images, six epochs in batches of 64, three seeds, one thread. lightly's SimCLR runs once "
        "with the optimizer of its documentation, and once with ours.",
        12,
        tuple(goals.race()),
        long=True,
        data="cifar10",
    ),
    Benchmark(
        "recipes",
        ("benchmarks.recipes_again",),
        "Accuracies of eight recipes with the budget of docs/recipes.md on CIFAR-10 JPEG q75, minus the accuracies "
        "recorded there for the same seed, with one thread.",
        25,
        (
            Figure(
                "mean difference of accuracies",
                {"what": "mean difference of accuracies"},
                "difference",
                ("≥", -0.005),
                spread="span",
            ),
        ),
        long=True,
        data="cifar10",
    ),
    Benchmark(
        "micro-batches-of-128",
        ("benchmarks.virtual_batches", "--size", "128", "--rounds", "3", "--backbone", "torchvision/resnet18"),
        "The same as `micro-batches`, with 1,024 digits in micro-batches of 128 and a ResNet-18: realistic sizes for a "
        "batch that does not fit into memory.",
        12,
        tuple(goals.micro_batches()),
        long=True,
    ),
    Benchmark(
        "evaluation-wide",
        ("benchmarks.evaluation", "--side", "32", "--width", "32", "--rounds", "1"),
        "The same as `evaluation`, with a ResNet-8 of twice the width, at twice the side.",
        17,
        tuple(goals.evaluation()),
        long=True,
    ),
    Benchmark(
        "embed",
        ("benchmarks.embed", "--images", "10000", "--images", "50000"),
        "Speed of `ssl-pipeline embed` on photographs of 128 px with a ResNet-8 at 64 px, relative to a bare loop that "
        "decodes each photograph with Pillow and runs the session on it. Both times include start-up.",
        6,
        tuple(goals.embed()),
        long=True,
        threads=2,
        data="clothing/clothing.zip",
    ),
    Benchmark(
        "serve",
        ("benchmarks.serve",),
        "Speed of the service of examples/serve over loopback, relative to a loop that decodes with Pillow and runs "
        "the bare session.",
        3,
        tuple(goals.serve()),
        long=True,
        threads=2,
        data="clothing/clothing.zip",
    ),
    Benchmark(
        "drift",
        ("benchmarks.drift",),
        "Share of batches of held-out images that raise an alarm at a rate of 1%: 200 unchanged batches, and 50 "
        "batches of each kind of changed images.",
        15,
        tuple(goals.drift()),
        long=True,
        data=".",
    ),
    Benchmark(
        "many-images",
        ("benchmarks.many_images", "10000", "100000"),
        "Growth of the main process's memory when ingest reads 10,000 and 100,000 JPEG files of 40 px.",
        15,
        tuple(goals.many_images()),
        long=True,
        threads=2,
    ),
)
