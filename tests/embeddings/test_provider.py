"""`ssl-pipeline embed` with two execution providers, whose rows differ in the last digits."""

from typing import Any

import pytest

from ssl_pipeline.runtime import Backbone
from tests.embeddings.conftest import Embed


def test_another_provider_embeds_anew(call: Embed, monkeypatch: pytest.MonkeyPatch):
    assert call("images").exit_code == 0
    assert "is up to date: the images, the model and the provider have not changed" in call("images").stdout
    made = Backbone.__init__

    def elsewhere(self: Backbone, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        self.provider = "OpenVINOExecutionProvider"

    call("images", "--out", "half.parquet", "--shard", "1/2")
    monkeypatch.setattr(Backbone, "__init__", elsewhere)
    assert call("images").stdout.endswith("23 images embedded, 48 numbers each; none rejected.\n")
    done = call("images", "--out", "half.parquet", "--shard", "2/2")  # rows of two providers are never mixed
    assert "not reused; changed since: provider." in done.output
    assert "Not done yet: 1." in done.stdout
