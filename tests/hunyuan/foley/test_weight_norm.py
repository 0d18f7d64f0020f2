"""Folding weight norm, compared with torch's own two implementations of it."""

from collections.abc import Iterator, Mapping

import pytest
import torch
from pack.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig, fold_weight_norm, published_shapes
from torch import Tensor, nn

FORMS = {"older": nn.utils.weight_norm, "newer": nn.utils.parametrizations.weight_norm}


class FileOnDemand(Mapping[str, Tensor]):
    """Tensors that note when they are read."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.read: list[str] = []

    def __getitem__(self, name: str) -> Tensor:
        self.read.append(name)
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_folded_weight_is_the_one_torch_computes(form, kind):
    layer = FORMS[form](kind(5, 3, 4))
    for number, parameter in enumerate(layer.parameters()):
        parameter.data *= 1.5 + number  # so that the length is not the direction's own
    folded = fold_weight_norm({f"block.1.{name}": t.data for name, t in layer.state_dict().items()})
    assert folded.keys() == {"block.1.weight", "block.1.bias"}
    plain = kind(5, 3, 4)
    plain.load_state_dict({name.removeprefix("block.1."): t for name, t in folded.items()})
    x = torch.randn(1, 5, 9)
    torch.testing.assert_close(plain(x), layer(x))


def test_folded_tensors_pass_through_untouched():
    tensors = {"decoder.model.0.weight": torch.randn(3, 2, 7), "decoder.model.6.alpha": torch.ones(1, 3, 1)}
    folded = fold_weight_norm(tensors)
    assert folded.keys() == tensors.keys()
    assert all(folded[name] is tensors[name] for name in tensors)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype):
    g, v = torch.rand(4, 1, 1).to(dtype), torch.randn(4, 300, 7).to(dtype)
    weight = fold_weight_norm({"a.weight_g": g, "a.weight_v": v})["a.weight"]
    exact = g.double() * v.double() / v.double().flatten(1).norm(dim=1)[:, None, None]
    assert weight.dtype == dtype
    torch.testing.assert_close(weight.double(), exact, rtol=torch.finfo(dtype).eps * 0.51, atol=1e-7)


def test_tensors_that_are_not_wanted_are_not_read():
    config = AudioVAEConfig(encoder_dim=2, latent_dim=3, decoder_dim=32)
    shapes = published_shapes(AudioVAE(config, part="both", device="meta"))
    file = FileOnDemand({name: torch.rand(shape) for name, shape in shapes.items()})
    decoder = AudioVAE(config)
    decoder.load_state_dict(fold_weight_norm(file, decoder.state_dict().keys()))
    assert sorted(file.read) == sorted(published_shapes(decoder))


def test_direction_without_length_is_named():
    with pytest.raises(ValueError, match=r"decoder\.0\.weight_v has no decoder\.0\.weight_g"):
        fold_weight_norm({"decoder.0.weight_v": torch.ones(2, 2, 1)})


def test_published_names_give_transposed_convolutions_a_length_per_input_channel():
    shapes = published_shapes(AudioVAE(AudioVAEConfig(), part="both", device="meta"))
    assert len(shapes) == 298
    assert shapes["decoder.model.1.block.1.weight_g"] == (2048, 1, 1)
    assert shapes["decoder.model.1.block.1.weight_v"] == (2048, 1024, 16)
    assert shapes["encoder.block.5.block.4.weight_g"] == (4096, 1, 1)
    assert shapes["quant_conv.weight"] == (256, 128, 1)
