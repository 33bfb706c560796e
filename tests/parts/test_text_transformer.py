"""The text tower equals torch's transformer with the same weights, is read at the end token, and ignores padding."""

import pytest
import torch
from torch import Tensor, nn

from ssl_pipeline.parts.text_transformer import TextTransformer
from ssl_pipeline.tokenizer import END, START
from ssl_pipeline.types import TextNeeds

NEEDS, WIDTH, HEADS, DEPTH, DIM = TextNeeds(vocabulary=300, context=9), 16, 4, 2, 6
TEXTS = [[START, 70, 80, 90, END], [START, 71, END], [START, 5, 6, 7, 8, 9, 10, 11, END]]


@pytest.fixture
def tower() -> TextTransformer:
    torch.manual_seed(0)
    made = TextTransformer(NEEDS, DIM, width=WIDTH, depth=DEPTH, heads=HEADS).double()
    for weight in made.parameters():  # including those that are initialised to 0 or 1
        nn.init.normal_(weight, std=0.3)
    return made


def padded(texts: list[list[int]], length: int) -> tuple[Tensor, Tensor]:
    tokens = torch.tensor([text + [0] * (length - len(text)) for text in texts])
    return tokens, (tokens != 0).long()


def by_torch(tower: TextTransformer, text: list[int]) -> Tensor:
    """Compute the embedding (P,) of one text without padding by torch's encoder layers with the tower's weights."""
    states = tower.tokens.weight[text] + tower.places[: len(text)]
    causal = nn.Transformer.generate_square_subsequent_mask(len(text), dtype=torch.float64)
    for block in tower.blocks:
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        ).double()
        own = {
            "norm1": block.norm,
            "self_attn.in_proj_": block.attention,
            "self_attn.out_proj": block.out,
            "norm2": block.second_norm,
            "linear1": block.inner,
            "linear2": block.outer,
        }
        state = {}
        for name, part in own.items():
            joint = name if name.endswith("_") else f"{name}."
            state |= {f"{joint}weight": part.weight, f"{joint}bias": part.bias}
        layer.load_state_dict(state)
        states = layer(states[None], src_mask=causal, is_causal=True)[0]
    found: Tensor = tower.norm(states)[-1] @ tower.projection.weight.T
    return found


def test_it_is_torch_s_transformer_with_causal_attention_read_at_the_end_token(tower: TextTransformer):
    found = tower(*padded(TEXTS, 9))
    wanted = torch.stack([by_torch(tower, text) for text in TEXTS])
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_padding_and_the_other_texts_of_a_batch_change_no_embedding(tower: TextTransformer):
    whole = tower(*padded(TEXTS, 9))
    for number, text in enumerate(TEXTS):
        alone = tower(*padded([text], len(text)))[0]
        torch.testing.assert_close(alone, whole[number], rtol=1e-10, atol=1e-10)
    tokens, mask = padded(TEXTS, 9)
    other = tower(tokens.where(mask > 0, 123), mask)
    assert torch.equal(other, whole)


def test_words_and_their_order_matter(tower: TextTransformer):
    tokens, mask = padded([[START, 70, 80, END], [START, 80, 70, END], [START, 70, 81, END]], 9)
    found = tower(tokens, mask)
    assert torch.pdist(found).min() > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "heads must divide width, 16, got 3"),
        ({"heads": 0}, "heads must be at least 1"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"width": 0}, "width must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, int], message: str):
    with pytest.raises(ValueError, match=message):
        TextTransformer(NEEDS, DIM, **({"width": WIDTH, "depth": DEPTH, "heads": HEADS} | changes))


@pytest.mark.parametrize(("numbers", "message"), [((258, 8), "vocabulary must be at least"), ((300, 2), "context")])
def test_needs_out_of_range_are_refused(numbers: tuple[int, int], message: str):
    with pytest.raises(ValueError, match=message):
        TextNeeds(*numbers)
