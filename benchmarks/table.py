"""The benchmarks of docs/benchmarks.md.

To add one: a module that prints JSON lines as a click command `main`, a row here, and its goals, here or in
`benchmarks.goals`. `minutes` is what it takes on two idle cores; it is ended
after twice as long. All that `make bench` runs has to fit into half an hour.
"""

from benchmarks import goals
from benchmarks.report import Benchmark, Figure
from benchmarks.studies import STUDIES

__all__ = ["BENCHMARKS", "SHORT_MINUTES"]

SHORT_MINUTES = 30
"""The most that `make bench` takes; what does not fit in is left out."""


def _sides(*sides: int) -> tuple[str, ...]:
    return tuple(word for side in sides for word in ("--side", str(side)))


BENCHMARKS = (
    Benchmark(
        "views",
        ("benchmarks.views",),
        "Views per second of SimCLR's policy on photographs, relative to other libraries, with one thread each. All "
        "resize bilinearly; ours and torchvision's views are antialiased.",
        1.5,
        tuple(goals.views()),
    ),
    Benchmark(
        "tiles",
        ("benchmarks.tiles",),
        "NT-Xent's sums over anchors x keys, forward and backward: tiles relative to a dense matrix, in one thread.",
        1,
        tuple(goals.tiles()),
    ),
    Benchmark(
        "lightly-32",
        ("benchmarks.against_lightly", "--side", "32", "--steps", "3", "--rounds", "2"),
        "Pretraining a ResNet-18 by SimCLR on JPEG files, relative to lightly as its documentation builds it, in "
        "batches of 128 at 32 px, with two threads.",
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
        "Pretraining of the default run on the bundled digits, everything included, relative to its bare steps "
        "(forward, loss, backward, optimizer) on views that are ready, in one thread.",
        1,
        tuple(goals.default_epoch()),
    ),
    Benchmark(
        "micro-batches",
        ("benchmarks.virtual_batches",),
        "Steps over 512 digits in micro-batches of 64, relative to steps in one pass, and the growth of memory with "
        "the number of micro-batches; one thread.",
        1.25,
        tuple(goals.micro_batches()),
    ),
    Benchmark(
        "resolution",
        ("benchmarks.resolution", "speed", "--side", "96", "--batch", "32", "--rounds", "2"),
        "Whole steps of a ResNet-18 with a schedule of sizes (half the side, three quarters, all of it), relative to "
        "full size throughout, with two threads.",
        2,
        tuple(goals.resolution(96)),
        threads=2,
    ),
    Benchmark(
        "default-run",
        ("benchmarks.default_run",),
        "The default run on the bundled digits by `dvc repro`, with two threads; then augment alone, with one.",
        2.5,
        tuple(goals.default_run()),
        threads=2,
    ),
    Benchmark(
        "ingest",
        ("benchmarks.ingest", "--rounds", "2"),
        "Decoding photographs and all of ingest, relative to a bare loop of Pillow (draft, decode, resize), in "
        "processor time of all processes.",
        1.5,
        tuple(goals.ingest()),
        data="clothing/clothing.zip",
    ),
    Benchmark(
        "store",
        ("benchmarks.store",),
        "Opening a store of a million images and reading its labels, in processor time.",
        0.5,
        tuple(goals.store()),
    ),
    Benchmark(
        "large-photographs",
        ("benchmarks.large_photographs",),
        "Photographs through the backbone.onnx of a ResNet-18, whose graph resizes them, relative to resizing with "
        "Pillow before the graph; one thread.",
        1,
        tuple(goals.large_photographs()),
        long=True,
    ),
    Benchmark(
        "families",
        ("benchmarks.families",),
        "One network of each of 23 families of timm, with random weights: built, trained for a step, exported, "
        "compared with torch, and written as int8. docs/forms.md has the table.",
        15,
        tuple(goals.families()),
        long=True,
    ),
    Benchmark(
        "runtimes",
        ("benchmarks.runtimes",),
        "The float32 graphs that ship, of a ResNet-18 and a ViT-Tiny with random weights: OpenVINO in float32 compared "
        "with onnxruntime on the golden inputs of a bundle, in units of the largest component of an output's row.",
        1,
        tuple(goals.runtimes()),
        long=True,
    ),
    Benchmark(
        "embeddings",
        ("benchmarks.embeddings",),
        "Memory that kNN and k-means need beside embeddings of 512 numbers, as their number grows; one process per "
        "point.",
        1,
        tuple(goals.embeddings()),
    ),
    Benchmark(
        "inventory",
        ("benchmarks.inventory", "20000"),
        "What a run without work costs for each file of its source, in processor time.",
        0.25,
        (
            Figure("microseconds per unchanged file", {"what": "unchanged"}, "microseconds", ("≤", 20.0)),
            Figure("the same, to `os.scandir` and `stat`", {"what": "unchanged"}, "ratio"),
        ),
    ),
    Benchmark(
        "start-up",
        ("benchmarks.start_up", "7"),
        "Commands that have nothing to do, in processor time, relative to others that do nothing.",
        0.5,
        tuple(goals.start_up()),
    ),
    Benchmark(
        "evaluation",
        ("benchmarks.evaluation", "--rounds", "2"),
        "The linear evaluation of 10,000 + 10,000 images, relative to the bare passes that it cannot avoid; one "
        "thread.",
        5.5,
        tuple(goals.evaluation()),
        long=True,
    ),
    Benchmark(
        "epoch-resnet18",
        ("benchmarks.epoch", *_sides(32, 96, 224), "--steps", "8", "--rounds", "2", "--threads", "2"),
        "Pretraining a ResNet-18 by SimCLR on photographs, everything included, relative to its bare steps, with two "
        "threads; looks at the encoder and checkpoints are added by their shares of a long run.",
        5,
        tuple(goals.epoch()),
        threads=2,
    ),
    Benchmark(
        "resolution-sides",
        ("benchmarks.resolution", "speed", *_sides(32, 64, 224), "--batch", "32", "--rounds", "1"),
        "The same as resolution in one thread, at other sizes. Below 64 px a network hardly reduces images, and "
        "what does not shrink with them weighs more.",
        12,
        (*goals.resolution(64), *goals.resolution(224), *goals.resolution(32, goal=False)),
        long=True,
    ),
    Benchmark(
        "resolution-knn",
        ("benchmarks.resolution", "knn", "--epochs", "6", "--seeds", "3"),
        "kNN accuracy on the photographs of clothing at 64 px: that of the schedule minus that of full size, three "
        "seeds, six epochs each, paired by seed and image.",
        20,
        (
            Figure(
                "difference of accuracies, lower end of the interval",
                {"what": "difference"},
                "low",
                ("≥", -0.005),
                missed="the interval of so few test images is wider than the half point that is asked for.",
            ),
            Figure("difference of accuracies, mean", {"what": "difference"}, "difference", spread="interval"),
        ),
        long=True,
        data="clothing",
    ),
    *STUDIES,
    Benchmark(
        "race",
        ("benchmarks.race",),
        "kNN accuracy on CIFAR-10 JPEG q75 and the processor time that it takes, with our SimCLR and lightly's: a "
        "ResNet-8, the same images, six epochs in batches of 64, three seeds, one thread. lightly's SimCLR runs with "
        "the optimizer of its documentation, and once more with ours.",
        12,
        tuple(goals.race()),
        long=True,
        data="cifar10",
    ),
    Benchmark(
        "recipes",
        ("benchmarks.recipes_again",),
        "Eight recipes with the budget of docs/recipes.md on CIFAR-10 JPEG q75, compared with the accuracies recorded "
        "there for the same seed; one thread.",
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
        "The same as micro-batches, with 1,024 digits in micro-batches of 128 and a ResNet-18: a network and a "
        "micro-batch of the size that they have when a batch does not fit.",
        12,
        tuple(goals.micro_batches()),
        long=True,
    ),
    Benchmark(
        "evaluation-wide",
        ("benchmarks.evaluation", "--side", "32", "--width", "32", "--rounds", "1"),
        "The same as evaluation with a ResNet-8 of twice the width, at twice the side.",
        17,
        tuple(goals.evaluation()),
        long=True,
    ),
    Benchmark(
        "embed",
        ("benchmarks.embed", "--images", "10000", "--images", "50000"),
        "`ssl-pipeline embed` of photographs of 128 px with a ResNet-8 at 64 px, relative to a bare loop that decodes "
        "each with Pillow and runs the session on it; both include their start-up.",
        6,
        tuple(goals.embed()),
        long=True,
        threads=2,
        data="clothing/clothing.zip",
    ),
    Benchmark(
        "serve",
        ("benchmarks.serve",),
        "The service of examples/serve over loopback, relative to a loop that decodes with Pillow and runs the bare "
        "session.",
        3,
        tuple(goals.serve()),
        long=True,
        threads=2,
        data="clothing/clothing.zip",
    ),
    Benchmark(
        "drift",
        ("benchmarks.drift",),
        "The share of 200 batches of held-out images, unchanged and changed, that raise an alarm at a rate of 1%.",
        15,
        tuple(goals.drift()),
        long=True,
        data=".",
    ),
    Benchmark(
        "many-images",
        ("benchmarks.many_images", "10000", "100000"),
        "The growth of the main process's memory in ingest of 10,000 and of 100,000 JPEG files of 40 px.",
        15,
        tuple(goals.many_images()),
        long=True,
        threads=2,
    ),
)
