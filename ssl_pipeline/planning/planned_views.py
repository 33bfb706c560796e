"""Plan views that preserve the content of images and change everything else, in line with the evidence."""

from typing import Any, NamedTuple

from ssl_pipeline.planning.evidence import Evidence

__all__ = ["PlannedViews", "has_one_way_up", "plan_views"]

TOLD_APART = 0.65
"""Lower bound of the classifier's accuracy above which images and their mirror images count as different."""
TOO_ALIKE = 0.6
"""Upper bound of the classifier's accuracy up to which images count as having no upright orientation."""
GREY = 0.9
"""Share of grey images from which a data set counts as grey."""
PALE = 0.03
"""Mean saturation up to which a data set also counts as grey: the usual jitter changes such colours by less than 2%."""
BLURRED = 64
"""Side in px from which views are blurred; SimCLR (2002.05709, appendix B.9) omits blur at 32 px."""


class PlannedViews(NamedTuple):
    """Policies by kind of view, in the form of params.yaml, and the reason for them."""

    views: dict[str, Any]
    reason: str


def has_one_way_up(evidence: Evidence, turn: str) -> bool:
    """Return whether the transformation changes the meaning of images: a mirrored digit is a different symbol."""
    told = evidence.told.get(turn)
    return told is not None and told.low > TOLD_APART


def plan_views(evidence: Evidence, size: int, described: bool = False) -> PlannedViews:
    """Plan strong views for pretraining and gentle views for fine-tuning.

    Args:
        evidence: Fingerprint of the images.
        size: Side of a view, in px.
        described: Whether images are learned with their captions, which mirrored images may contradict.
    """
    reasons = ["no flips and no rotations, as captions may mention directions"] if described else []
    turns = {} if described else _turns(evidence, reasons)
    rotation = turns.pop("rotation", None)
    signs = has_one_way_up(evidence, "horizontal_flip")
    least = 0.35 if signs else 0.2
    main: dict[str, Any] = {
        "size": size,
        "random_resized_crop": {"p": 1.0, "scale": [least, 1.0], "ratio": [0.75, 1.333]},
        **turns,
        **({"rotation": rotation} if rotation else {}),
        **_colours(evidence, reasons),
    }
    if size >= BLURRED:
        main["gaussian_blur"] = {"p": 0.5, "sigma": [0.1, round(2.0 * size / 224, 2)]}
    plain: dict[str, Any] = {
        "size": size,
        "random_resized_crop": {"p": 1.0, "scale": [0.7 if signs else 0.6, 1.0], "ratio": [0.85, 1.18]},
        **turns,
        **({"rotation": {**rotation, "p": 0.5}} if rotation else {}),
    }
    return PlannedViews({"global": main, "plain": plain}, "; ".join(reasons) + ".")


def _turns(evidence: Evidence, reasons: list[str]) -> dict[str, Any]:
    """Return the flips and rotations that preserve the content of images, and append the reasons."""
    told, found = evidence.told, dict[str, Any]()
    sideways = told.get("horizontal_flip")
    if has_one_way_up(evidence, "horizontal_flip"):
        assert sideways is not None
        reasons.append(
            "small rotations but no flips, as a classifier can tell images from their mirror images "
            f"({sideways.share:.0%} correct; chance is 50%)"
        )
        return {"rotation": {"p": 0.8, "degrees": 15}}
    found["horizontal_flip"] = {"p": 0.5}
    reasons.append(
        "horizontal flips, as a classifier can hardly tell images from their mirror images "
        f"({sideways.share:.0%} correct; chance is 50%)"
        if sideways
        else "horizontal flips, as for photographs: there are too few images to test a classifier on mirror images"
    )
    if _alike(evidence, "vertical_flip"):
        found["vertical_flip"] = {"p": 0.5}
        reasons.append(f"vertical flips as well ({told['vertical_flip'].share:.0%})")
        if _alike(evidence, "quarter_turn"):
            found["rotation"] = {"p": 0.5, "degrees": 180}
            reasons.append("rotations by any angle, as images have no upright orientation")
    return found


def _alike(evidence: Evidence, turn: str) -> bool:
    return turn in evidence.told and evidence.told[turn].high <= TOO_ALIKE


def _colours(evidence: Evidence, reasons: list[str]) -> dict[str, Any]:
    jitter = {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.0, "hue": 0.0}
    if evidence.spec.rgb is None:
        reasons.append("no changes of hue, as the bands are not colours")
        return {"color_jitter": jitter}
    if evidence.grey >= GREY or evidence.saturation <= PALE:
        pale = f"nearly grey (saturation {evidence.saturation:.2f})"
        reasons.append(f"no changes of colour, as the images are {'grey' if evidence.grey >= GREY else pale}")
        return {"color_jitter": jitter, "gaussian_noise": {"p": 0.2, "std": 0.05}}
    reasons.append("colour changes as for photographs")
    return {"color_jitter": {**jitter, "saturation": 0.4, "hue": 0.1}, "grayscale": {"p": 0.2}}
