"""The visual encoder over transformers' SigLIP, against the published program's features."""

import json
from pathlib import Path

import pytest
import torch
from pack.hunyuan.foley.visual_encoder import VisualEncoder
from safetensors.torch import load_file
from torch import Tensor
from transformers import SiglipVisionConfig, SiglipVisionModel


def golden(goldens: Path) -> tuple[VisualEncoder, dict[str, Tensor], dict[str, float]]:
    sidecar = json.loads((goldens / "foley" / "siglip_a.json").read_text())
    tensors = load_file(goldens / "foley" / "siglip_a.safetensors")
    encoder = VisualEncoder(SiglipVisionModel(SiglipVisionConfig(**sidecar["config"])).eval())
    weights = {n.removeprefix("weights."): t for n, t in tensors.items() if n.startswith("weights.")}
    encoder.load_state_dict(weights, strict=True)
    return encoder, tensors, sidecar["suggested_tolerance"]


@torch.no_grad()
def test_features_are_the_published_ones(goldens):
    encoder, tensors, tolerance = golden(goldens)
    features = encoder(tensors["case0.in.pixel_values"])
    torch.testing.assert_close(features, tensors["case0.out.image_features"], **tolerance)


@torch.no_grad()
def test_an_image_is_seen_alone_in_any_batch(goldens):
    encoder, tensors, tolerance = golden(goldens)
    images = tensors["case0.in.pixel_values"]
    apart = torch.cat([encoder(image[None]) for image in images])
    torch.testing.assert_close(apart, encoder(images), **tolerance)


def test_names_and_shapes_are_the_published_ones():
    published = json.loads((Path(__file__).parents[2] / "keys" / "siglip2_vision_keys.json").read_text())
    with torch.device("meta"):
        encoder = VisualEncoder(SiglipVisionModel(SiglipVisionConfig(image_size=512)))
    assert {name: list(value.shape) for name, value in encoder.state_dict().items()} == published


def test_an_image_of_another_size_is_named(goldens):
    encoder, *_ = golden(goldens)
    assert encoder.image_size == 64
    with pytest.raises(ValueError, match=r"takes images of 64 x 64 .* not \(1, 3, 32, 64\)"):
        encoder(torch.zeros(1, 3, 32, 64))
