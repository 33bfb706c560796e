"""The printed lines of a plan agree with each other."""

from dataclasses import replace

import pytest

from ssl_pipeline.planning.estimate import FIXED
from ssl_pipeline.planning.evidence import Labelling
from tests.planning.test_proposal import PHOTOS, plan


@pytest.mark.parametrize(("images", "hours"), [(60, 0.1), (10_000, 1.0), (10_000, 0.05)])
def test_reasons_and_estimates_tell_one_number_of_epochs_and_of_minutes(images: int, hours: float):
    found = plan(replace(PHOTOS, labelling=Labelling(images, 0, 0, 0, 0, 0, {})), hours=hours)
    reasons = {setting.key: setting.reason for setting in found.settings}
    assert "epochs" not in reasons["pretrain.backbone"]  # the network is chosen before the other stages are known
    assert ("Even this smallest network" in reasons["pretrain.backbone"]) == (hours == 0.05)
    own = float(reasons["pretrain.epochs"].split("about ")[1].split(" of ")[0])
    estimated = next(stage.minutes for stage in found.estimates if stage.stage == "pretrain") - FIXED["pretrain"] / 60
    assert own == pytest.approx(estimated, abs=0.06)
    assert ("There is time for more" in reasons["pretrain.epochs"]) == (found.minutes < 0.9 * 60 * hours)
