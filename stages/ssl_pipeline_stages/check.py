"""Check in seconds, before anything runs, everything that a run needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.terminal import counted, shown
from ssl_pipeline_stages.guarded import guarded

if TYPE_CHECKING:  # imports torch
    from ssl_pipeline.config import Config
    from ssl_pipeline.planning.evidence import Evidence
    from ssl_pipeline.registry import Registry

IMAGES, SECONDS = 500, 3.0
"""Maximum number of images to examine, and the approximate time limit for it."""


@click.command()
@click.option(
    "--params", default="params.yaml", type=click.Path(path_type=Path), show_default=True, help="The parameters."
)
def check(params: Path) -> None:
    """Check images, names, options, sizes, plugins, a trial export and the disk, and estimate time and memory.

    Nothing is written. All mistakes are reported at once; the exit status is 0 if there are none.
    """
    raise SystemExit(guarded(lambda: _check(params)))


class _Report:
    """Report with one line per check and an exit status."""

    def __init__(self) -> None:
        self.status = 0
        self._told: set[str] = set()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Report an error that is raised in the block, and continue."""
        try:
            yield
        except PipelineError as error:
            self.status = max(self.status, error.exit_code)
            lines = [shown(line, 2000) for line in str(error).split("\n")]
            if self._told.issuperset(lines):  # earlier checks have reported the same mistakes
                return
            self._told.update(lines)
            click.echo(click.style(f"{name:8} refused: ", fg="red") + "\n         ".join(lines))

    def passed(self, name: str, said: str) -> None:
        """Report that a check has passed."""
        click.echo(click.style(f"{name:8} ok: ", fg="green") + said)


def _check(params: Path) -> None:
    from ssl_pipeline.data.source_contract import open_images
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.planning.evidence import examine
    from ssl_pipeline.planning.sample import take
    from ssl_pipeline.planning.words import told_rejects
    from ssl_pipeline_stages import checks, code, others
    from ssl_pipeline_stages.params import load_params
    from ssl_pipeline_stages.room import room

    config, registry, report = load_params(params), load_registry(), _Report()
    report.passed("params", f"{params} has every key; the options of plugins are checked below")
    with report.part("plugins"):
        found = code.used(registry, config)
        _check_options(config, registry)
        report.passed("plugins", ", ".join(f"{one.kind} {one.name}" for one in found))
    for look in others.encoders(config, registry):
        with report.part("encoders"):
            look()
    evidence = built = images = None
    with report.part("images"):
        section = config.ingest
        images = open_images(code.source(config))
        sample = take(images, section.pixels, section.background, IMAGES, SECONDS)
        evidence = examine(sample)
        bad = evidence.unusable
        said = f"{evidence.labelling.images:,} found, {evidence.sampled + bad:,} tried"
        said += f", {bad:,} unusable ({told_rejects(evidence)})" if bad else ""
        classes = evidence.labelling.classes
        labels = counted(classes, "class", "classes") if classes else "no labels"
        report.passed("images", f"{said}; {labels}; {evidence.spec}")
    with report.part("method"):
        built = checks.build(config, registry, *([evidence.spec] if evidence else []))
        if images is not None:
            checks.check_records(built, images.records)
        size = built.card.size
        report.passed(
            "method", f"{config.pretrain.recipe} on views of {size} px, from canvases of {config.ingest.canvas}"
        )
    if built:
        with report.part("export"):
            seconds = checks.check_export(built)
            report.passed("export", f"{built.card.backbone.name}, tried in {seconds:.0f} s")
    if built and evidence:
        with report.part("disk"):
            needed, free = room(config, built.task, evidence.labelling.images, evidence.spec)
            report.passed("disk", f"about {needed / 1e6:,.0f} MB needed, {free / 1e9:,.1f} GB free")
        with report.part("time"):
            _estimate(config, registry, evidence)
    raise SystemExit(report.status)


def _check_options(config: "Config", registry: "Registry") -> None:
    """Check names and types of the options of all plugins of the method before one is built, to report all mistakes."""
    from ssl_pipeline.recipes import method_of

    method, mistakes = method_of(registry, config.pretrain), []
    section = method.pretrain
    chosen = {**method.recipe.parts(), "backbone": section.backbone, "optimizer": section.optimizer.choice}
    for kind, choice in chosen.items():
        try:
            registry.validate(registry.find(kind, choice.name), choice)
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def _estimate(config: "Config", registry: "Registry", evidence: "Evidence") -> None:
    from ssl_pipeline.planning.machine import look_around
    from ssl_pipeline.planning.proposal import estimate_all
    from ssl_pipeline.planning.words import told_estimates

    machine = look_around()
    estimates = estimate_all(registry, config, evidence, machine)
    click.echo("\n" + told_estimates(estimates))
    for stage in estimates:
        if stage.memory > machine.memory or stage.device_memory > (machine.device_memory or float("inf")):
            lower = "lower finetune.batch_size" if stage.stage == "finetune" else "use smaller views"
            smaller = f"set pretrain.micro_batch: {stage.fitting}" if stage.fitting else lower
            click.echo(f"{stage.stage} may need more memory than this machine has: {smaller}.")
