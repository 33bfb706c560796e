"""ONNX files are complete, checked and reproducible, and reveal nothing about the machine that made them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.export import Dim

from ssl_pipeline.deployment import onnx_file
from ssl_pipeline.deployment.onnx_file import traced, write_graph, write_proto
from ssl_pipeline.errors import PipelineError


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.convolution(first).mean((2, 3)) - second


def write(path: Path, opset: int = 18) -> None:
    torch.manual_seed(0)
    write_graph(
        Tiny().eval(),
        (torch.zeros(2, 3, 5, 6), torch.zeros(2, 4)),
        path,
        input_names=["first", "second"],
        output_names=["difference"],
        dynamic_shapes=({0: (batch := Dim("batch")), 2: Dim("height")}, {0: batch}),
        opset=opset,
        metadata={"zebra": "1", "ant": "äöü"},
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "made" / "tiny.onnx"
    write(path)
    return path


def test_it_runs_with_the_names_and_the_free_dimensions_that_were_asked_for(path: Path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [node.shape for node in session.get_inputs()] == [["batch", 3, "height", 6], ["batch", 4]]
    torch.manual_seed(0)
    module = Tiny().eval()
    for batch, height in ((1, 3), (7, 9)):
        first, second = torch.randn(batch, 3, height, 6), torch.randn(batch, 4)
        (actual,) = session.run(["difference"], {"first": first.numpy(), "second": second.numpy()})
        np.testing.assert_allclose(actual, module(first, second).detach().numpy(), atol=1e-6)


def test_the_same_module_gives_the_same_bytes(path: Path, tmp_path: Path):
    write(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_nothing_tells_of_the_machine_that_made_it(path: Path):
    content = path.read_bytes()
    for trace in (".py", "site-packages", str(Path(__file__).parents[1]), str(Path.home()), "Tiny"):
        assert trace.encode() not in content


def test_the_format_is_the_oldest_that_has_the_operators(path: Path):
    """Operator set 18 came with version 8 of the format, which onnxruntime 1.14 can read."""
    assert onnx.load(path).ir_version == 8


def test_metadata_is_replaced_and_sorted(path: Path, tmp_path: Path):
    model = onnx.load(path)
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [
        ("ant", "äöü"),
        ("opset", "18"),
        ("zebra", "1"),
    ]
    write_proto(model, tmp_path / "other.onnx", {"only": "this"})
    assert [entry.key for entry in onnx.load(tmp_path / "other.onnx").metadata_props] == ["only", "opset"]


def test_another_operator_set(tmp_path: Path):
    write(tmp_path / "new.onnx", opset=23)
    assert onnx.load(tmp_path / "new.onnx").opset_import[0].version == 23
    assert onnx.load(tmp_path / "new.onnx").ir_version == 11
    onnxruntime.InferenceSession(tmp_path / "new.onnx", providers=["CPUExecutionProvider"])


def branching() -> onnx.ModelProto:
    """Return a graph with subgraphs, with notes at every depth."""
    branches = {}
    for name, operator in (("then_branch", "Relu"), ("else_branch", "Neg")):
        node = helper.make_node(operator, ["x"], [name], doc_string="folder/of/somebody/net.py")
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1], doc_string="folder/of/somebody/net.py")
        branches[name] = helper.make_graph([node], name, [], [output])
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("yes", TensorProto.BOOL, []),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("If", ["yes"], ["y"], **branches)], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model.graph.node[0].metadata_props.add(key="trace", value="folder/of/somebody/net.py")
    return model


def test_notes_inside_branches_go_too(tmp_path: Path):
    write_proto(branching(), tmp_path / "branches.onnx", {})
    assert b"somebody" not in (tmp_path / "branches.onnx").read_bytes()


def test_an_invalid_graph_leaves_no_file(tmp_path: Path):
    model = branching()
    model.graph.node[0].input[0] = "missing"
    with pytest.raises(onnx.checker.ValidationError):
        write_proto(model, tmp_path / "broken.onnx", {})
    assert list(tmp_path.iterdir()) == []


def test_what_one_file_cannot_hold_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnx_file, "_MAX_BYTES", 100)
    with pytest.raises(PipelineError, match=r"holds at most 2 GB.*pretrain\.backbone"):
        write_proto(branching(), tmp_path / "large.onnx", {})
    assert list(tmp_path.iterdir()) == []


class MaskedAttention(nn.Module):
    """Attention of patches with a bias for each pair of positions, as in MaxViT and BEiT: (N, L, 8) -> (N, L, 8)."""

    def __init__(self):
        super().__init__()
        self.heads, self.places = nn.Linear(8, 24), nn.Parameter(torch.randn(1, 2, 4, 4))

    def forward(self, tokens: Tensor) -> Tensor:
        count, length, width = tokens.shape
        query, key, value = self.heads(tokens).reshape(count, length, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mask = self.places.transpose(2, 3).contiguous()  # computed, as if from a table of distances
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return mixed.transpose(1, 2).reshape(count, length, width)


def test_attention_with_a_mask_can_be_exported():
    module, tokens = MaskedAttention().eval(), torch.randn(3, 4, 8)
    names = {"input_names": ["tokens"], "output_names": ["mixed"]}
    model = traced(module, (tokens,), **names, dynamic_shapes=({0: Dim("batch")},))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"tokens": tokens[:2].numpy()})
    np.testing.assert_allclose(found, module(tokens[:2]).detach(), atol=1e-5)
