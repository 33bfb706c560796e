"""Print the evidence, the settings and the estimates in readable lines."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ssl_pipeline.planning.draft import Setting
from ssl_pipeline.planning.estimate import StageEstimate
from ssl_pipeline.planning.evidence import Evidence, Spread
from ssl_pipeline.planning.machine import Machine
from ssl_pipeline.planning.proposal import Proposal
from ssl_pipeline.terminal import counted, shown

__all__ = ["told_estimates", "told_evidence", "told_proposal", "told_rejects", "told_shortly"]

LATE = 1.1
"""Multiple of the time limit from which the output warns that the stages take longer."""
NAMED = 3
"""Maximum number of unusable images to name per reason."""
_TURNED = {
    "horizontal_flip": "mirrored left to right",
    "vertical_flip": "mirrored top to bottom",
    "quarter_turn": "turned by 90 degrees",
}


def told_evidence(evidence: Evidence, machine: Machine) -> str:
    """Return lines that describe the evidence and the machine."""
    return "\n".join([*_evidence_lines(evidence), _machine_line(machine)])


def told_proposal(proposal: Proposal) -> str:
    """Return lines that list the settings with their reasons, the time and memory of each stage, and advice."""
    lines = [*_setting_lines(proposal.settings), "", *_minutes_lines(proposal.estimates)]
    if _is_late(proposal):
        lines.append(
            f"That exceeds the limit of {60 * proposal.hours:,.0f} minutes; {_longest(proposal)} takes the longest. "
            "Increase --hours, or run only the stages before it."
        )
    return "\n".join([*lines, *(f"Note: {sentence}" for sentence in proposal.advice)])


def told_estimates(estimates: Iterable[StageEstimate]) -> str:
    """Return lines with the estimated time and memory of each stage."""
    return "\n".join(_minutes_lines(estimates))


def told_rejects(evidence: Evidence) -> str:
    """Return the reasons why images are unusable, each with the number of images and the first paths."""
    kinds = sorted(evidence.rejects.items())
    return "; ".join(f"{len(paths):,} {shown(kind, 100)}: {_first(paths)}" for kind, paths in kinds)


def _first(paths: Sequence[str]) -> str:
    more = [f"and {len(paths) - NAMED:,} more"] if len(paths) > NAMED else []
    return ", ".join([*(shown(path, 100) for path in sorted(paths)[:NAMED]), *more])


def told_shortly(evidence: Evidence, machine: Machine, proposal: Proposal) -> list[str]:
    """Return three lines that summarise the findings and the decisions, and one line per piece of advice."""
    labels, config = evidence.labelling, proposal.config
    found, bad = f"{labels.images:,}", evidence.unusable
    if labels.classes:
        found += f", of which {labels.labelled:,} are labelled, in {counted(labels.classes, 'class', 'classes')}"
    else:
        found += ", without labels"
    if labels.clips:
        found += f"; frames of {counted(labels.clips, 'clip')}"
    if labels.captioned:
        found += f"; {'all' if labels.captioned == labels.images else f'{labels.captioned:,}'} have captions"
    if bad:
        found += f"; {bad:,} of {evidence.sampled + bad:,} tried unusable ({told_rejects(evidence)})"
    late = f", more than the limit of {60 * proposal.hours:,.0f}: {_longest(proposal)} takes the longest"
    planned = {setting.key: setting.value for setting in proposal.settings}
    network = _value(planned["pretrain.backbone"])
    size = planned["augment.views"]["global"]["size"]
    ingest, pretrain = config.ingest, config.pretrain
    start = "" if pretrain.init == "random" else f" from {shown(pretrain.init, 60)}"
    pixels = evidence.spec if ingest.pixels.name == "as_is" else "8-bit RGB"
    return [
        f"  Images: {found}.",
        f"  Settings: {pixels}, {ingest.resize} to {ingest.canvas} px, views of {size} px, "
        f"{network}{start}, {pretrain.recipe}, {pretrain.epochs} epochs, {pretrain.batch_size} images per step.",
        f"  Time: about {counted(max(1, round(proposal.minutes)), 'minute')} on {counted(machine.cores, 'core')}"
        f"{' and ' + _gpus(machine) if machine.name else ''}{late if _is_late(proposal) else ''}. "
        f"`ssl-pipeline plan --hours {proposal.hours:g} --explain --dry-run` prints the reasons.",
        *(f"  Note: {sentence}" for sentence in proposal.advice),
    ]


def _is_late(proposal: Proposal) -> bool:
    return proposal.minutes > LATE * 60 * proposal.hours


def _longest(proposal: Proposal) -> str:
    return max(proposal.estimates, key=lambda stage: stage.minutes).stage


def _evidence_lines(evidence: Evidence) -> Iterator[str]:
    labels = evidence.labelling
    yield f"Images: {labels.images:,}, of which {evidence.sampled:,} were examined."
    for kind, paths in sorted(evidence.rejects.items()):
        yield f"  {counted(len(paths), 'unusable image')} ({shown(kind, 100)}): {_first(paths)}."
    if labels.classes:
        classes = counted(labels.classes, "class", "classes")
        each = f"{labels.smallest:,} to {labels.largest:,} images per class"
        yield f"Labels: {labels.labelled:,} images in {classes}, {each}."
    if labels.clips:
        yield f"Clips: {labels.clips:,}."
    if labels.captioned:
        yield f"Captions: {counted(labels.captions, 'different caption')} for {counted(labels.captioned, 'image')}."
    if labels.groups:
        yield f"Groups: {labels.groups:,}."
    if labels.splits:
        yield "Splits of the source: " + ", ".join(f"{name} {count:,}" for name, count in labels.splits.items()) + "."
    yield f"Shorter side: {_spread(evidence.short_side, '.0f')} px; width / height: {_spread(evidence.aspect, '.2f')}."
    yield f"Pixels: {evidence.spec}, read as {evidence.pixels.name}; {evidence.grey:.0%} of the images are grey."
    yield f"Saturation: {evidence.saturation:.2f} on average, out of 1."
    detail = ", ".join(f"{share:.0%} at {side} px" for side, share in evidence.detail.items())
    yield f"Sharpness: share of the contrast that remains: {detail}." if detail else "Sharpness: the images are tiny."
    yield f"Near copies: {evidence.copies:.0%} of the images."
    for turn, told in evidence.told.items():
        yield (
            f"A classifier tells images from their copies {_TURNED[turn]} in {told.share:.0%} [{told.low:.0%}, "
            f"{told.high:.0%}] of the cases; chance is 50%."
        )
    yield (
        "Groups, near copies and class balance do not affect the settings: ingest keeps groups and near copies within "
        "one split, and reports/linear_eval/details.json has the balanced accuracy."
    )
    yield f"Decoding: {evidence.images_per_second:,.0f} images/s."


def _machine_line(machine: Machine) -> str:
    gpu = f", {_gpus(machine)} with {machine.device_memory / 2**30:,.0f} GiB" if machine.name else ", no GPU"
    return f"Machine: {counted(machine.cores, 'core')}, {machine.memory / 2**30:,.0f} GiB{gpu}, {machine.precision}."


def _gpus(machine: Machine) -> str:
    return f"{machine.gpus} x {machine.name}" if machine.gpus > 1 else machine.name


def _setting_lines(settings: Sequence[Setting]) -> Iterator[str]:
    for setting in settings:
        if not setting.left:
            yield f"{setting.key}: {_value(setting.value)}"
            yield f"    {setting.reason}"
    for number, setting in enumerate(one for one in settings if one.left):
        if not number:
            yield "Not changed, because you have set them (--overwrite replaces them):"
        yield f"{setting.key}: would be {_value(setting.value)}"
        yield f"    {setting.reason}"


def _minutes_lines(estimates: Iterable[StageEstimate]) -> Iterator[str]:
    total = 0.0
    for stage in estimates:
        each = f"each of {stage.processes} GPUs" if stage.processes > 1 else "the GPU"
        gpu = f", {stage.device_memory / 2**30:.1f} GiB of {each}" if stage.device_memory else ""
        if stage.processes > 1 and not gpu:
            gpu = f" for {stage.processes} processes, which share the cores"
        yield f"{stage.stage:12} {stage.minutes:6.1f} minutes, {stage.memory / 2**30:.1f} GiB{gpu}"
        total += stage.minutes
    yield f"{'all':12} {total:6.1f} minutes"


def _spread(spread: Spread, form: str) -> str:
    return f"{spread.median:{form}} ({spread.low:{form}} to {spread.high:{form}})"


def _value(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
