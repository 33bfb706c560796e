"""What pretraining leaves behind: the model, the pretext task's graph, the curves, and what went wrong."""

from pathlib import Path

from ssl_pipeline.data.store import Split
from ssl_pipeline.models.rebuild import ModelCard, save_model
from ssl_pipeline.products import atomic_folder, write_json
from ssl_pipeline.training.curves import History, write_curves, write_picture
from ssl_pipeline.training.pretext_graph import write_pretext_graph
from ssl_pipeline.types import PretextTask

__all__ = ["save"]


def save(task: PretextTask, card: ModelCard, history: History, pool: Split, models: Path, reports: Path) -> None:
    """Write both folders of products, each whole or not at all.

    Raises:
        PipelineError: The pretext task's graph does not compute what torch computes.
    """
    with atomic_folder(models) as folder:
        card = save_model(folder, task.encoder, task.energy_head, card)
        write_pretext_graph(task, card, pool, folder / "pretext.onnx")
    with atomic_folder(reports) as folder:
        write_curves(history, folder)
        write_picture(history, folder / "curves.png")
        write_json(folder / "warnings.json", history.warnings)
