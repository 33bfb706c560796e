"""Views that keep what images are of and change all else: which operations, and how strong, by the evidence."""

from typing import Any, NamedTuple

from ssl_pipeline.planning.evidence import Evidence

__all__ = ["PlannedViews", "has_one_way_up", "plan_views"]

TOLD_APART = 0.65
"""From a lower bound of this share on, images and their mirrors count as different things."""
TOO_ALIKE = 0.6
"""Up to an upper bound of this share, images have no upper side."""
GREY = 0.9
"""Share of grey images from which on a data set counts as grey."""
PALE = 0.03
"""Mean saturation up to which it does so as well: the usual jitter changes such colours by less than 2%."""
BLURRED = 64
"""px from which on views are blurred: SimCLR (2002.05709, appendix B.9) leaves it out at 32."""


class PlannedViews(NamedTuple):
    """Kind of view -> its policy, as params.yaml has it, and why it is so."""

    views: dict[str, Any]
    reason: str


def has_one_way_up(evidence: Evidence, turn: str) -> bool:
    """Say whether images turned in that way are something else: a mirrored digit is another sign."""
    told = evidence.told.get(turn)
    return told is not None and told.low > TOLD_APART


def plan_views(evidence: Evidence, size: int, described: bool = False) -> PlannedViews:
    """Plan views of a size in px: strong ones to pretrain on, and gentle ones to fine-tune on.

    Args:
        evidence: The fingerprint of the images.
        size: Side of a view, px.
        described: Whether captions are learned with the images, which mirrored images may contradict.
    """
    reasons = ["no flips and no rotations, as captions may say which way something points"] if described else []
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
    """Which flips and rotations leave images what they are."""
    told, found = evidence.told, dict[str, Any]()
    sideways = told.get("horizontal_flip")
    if has_one_way_up(evidence, "horizontal_flip"):
        assert sideways is not None
        reasons.append(
            "small rotations but no flips, as a classifier tells images from their mirror images "
            f"({sideways.share:.0%} right; 50% by guessing)"
        )
        return {"rotation": {"p": 0.8, "degrees": 15}}
    found["horizontal_flip"] = {"p": 0.5}
    reasons.append(
        "horizontal flips, as a classifier hardly tells images from their mirror images "
        f"({sideways.share:.0%} right; 50% by guessing)"
        if sideways
        else "horizontal flips, as for photographs: the images are too few to try a classifier of mirrors"
    )
    if _alike(evidence, "vertical_flip"):
        found["vertical_flip"] = {"p": 0.5}
        reasons.append(f"vertical flips, too ({told['vertical_flip'].share:.0%})")
        if _alike(evidence, "quarter_turn"):
            found["rotation"] = {"p": 0.5, "degrees": 180}
            reasons.append("rotations by any angle, as images have no upper side")
    return found


def _alike(evidence: Evidence, turn: str) -> bool:
    return turn in evidence.told and evidence.told[turn].high <= TOO_ALIKE


def _colours(evidence: Evidence, reasons: list[str]) -> dict[str, Any]:
    jitter = {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.0, "hue": 0.0}
    if evidence.spec.rgb is None:
        reasons.append("no changes of hue, as the bands are no colours")
        return {"color_jitter": jitter}
    if evidence.grey >= GREY or evidence.saturation <= PALE:
        pale = f"of saturation {evidence.saturation:.2f}, which is hardly seen"
        reasons.append(f"no changes of colour, as the images are {'grey' if evidence.grey >= GREY else pale}")
        return {"color_jitter": jitter, "gaussian_noise": {"p": 0.2, "std": 0.05}}
    reasons.append("colours changed as for photographs")
    return {"color_jitter": {**jitter, "saturation": 0.4, "hue": 0.1}, "grayscale": {"p": 0.2}}
