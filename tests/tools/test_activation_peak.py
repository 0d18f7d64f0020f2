"""What the hosts plan for networks of published size, held against a count of what these make."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch_versions import needs_float8_products

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from pack.host.planned_memory import unpacking_bytes
from pack.host.standalone.activations import peak_bytes
from pack.hunyuan.layers.packing import PACKINGS

import activation_peak
from activation_peak import AVATAR_SIZES, FOLEY_SECONDS, PUBLISHED, XL, XXL, FoleyConfig, Row
from bench_count import Count

LEAST, MOST = 1.05, 2.0  # of the count


def check(rows: list[Row]) -> None:
    wrong = [f"{row.what}: {row.ratio:.2f}" for row in rows if not LEAST <= row.ratio <= MOST]
    assert not wrong


def few_blocks(config: FoleyConfig) -> FoleyConfig:
    """Blocks of a kind are alike: with fewer of them, the peak is the same."""
    return replace(config, joint_depth=2, audio_depth=2)


@pytest.mark.parametrize("config", [XL, XXL])
def test_what_foley_is_planned_covers_the_count_and_not_twice_over(config):
    network = activation_peak.foley_network(few_blocks(config))
    check(
        [activation_peak.foley_row(network, seconds, batch) for seconds in FOLEY_SECONDS for batch in (1, 4)]
    )


def test_foley_in_float32_is_covered_too():
    network = activation_peak.foley_network(few_blocks(XXL), torch.float32)
    check([activation_peak.foley_row(network, 8.0, 1)])


def test_unpacking_a_layer_is_planned_for_in_every_format():
    shape, counted = (1536, 6144), {}
    for name, packing in PACKINGS.items():
        stored = torch.empty(packing.stored_shape(shape), dtype=packing.dtype, device="meta")
        scale = torch.empty(shape[0], 1, device="meta") if packing.has_scale else None
        counted[name] = peak_bytes(partial(packing.unpack, stored, scale, shape, torch.float32))
    assert LEAST <= unpacking_bytes(shape) / max(counted.values()) <= 1.25


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(
    "kind", ["avatar_network", pytest.param("float8_products_network", marks=needs_float8_products)]
)
def test_what_avatar_is_planned_covers_the_count_and_not_twice_over(kind, rows):
    """Halves of guidance one after the other, and both at once; small pictures, too."""
    network = getattr(activation_peak, kind)(replace(PUBLISHED, double_depth=4, single_depth=3))
    sizes = [(128, 128), (256, 256), (320, 320), (416, 416), *AVATAR_SIZES]
    check([activation_peak.avatar_row(network, *size, rows) for size in sizes])


def test_what_the_decoders_are_planned_covers_the_count_and_not_twice_over():
    check(list(activation_peak.decoder_rows()))


def test_a_peak_is_what_lives_at_once():
    x = torch.empty(1000, device="meta")
    with torch.inference_mode(), Count() as cost:
        y = x + 1  # 4000 bytes
        z = (y + 1).view(10, 100)  # 8000
        del y
        z = z * 2  # 8000 until the old z goes
        z = torch.cat([z, z])  # 12000
    assert cost.peak_bytes == 12_000
    assert z.shape == (20, 100)
