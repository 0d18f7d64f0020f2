import json
from dataclasses import replace
from pathlib import Path

import pytest
from pack.hunyuan.avatar.config import PUBLISHED, AvatarConfig, rope_sizes
from pack.hunyuan.avatar.transformer import AvatarTransformer

KEYS = Path(__file__).parents[2] / "keys" / "avatar_keys.json"


def shapes(config: AvatarConfig) -> dict[str, list[int]]:
    network = AvatarTransformer(config, device="meta")
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def test_the_published_network_has_the_published_names_and_shapes():
    assert shapes(PUBLISHED) == json.loads(KEYS.read_text())


def test_the_published_network_has_the_published_number_of_parameters():
    network = AvatarTransformer(PUBLISHED, device="meta")
    assert sum(parameter.numel() for parameter in network.parameters()) == 12_991_493_184


@pytest.mark.parametrize("emotion", [False, True])
def test_shapes_tell_the_configuration(tiny_config, emotion):
    for config in (tiny_config, PUBLISHED):
        config = replace(config, emotion=emotion)
        assert AvatarConfig.from_shapes(shapes(config)) == config


def test_a_file_without_the_adapters_names_what_is_missing(tiny_config):
    names = {name: shape for name, shape in shapes(tiny_config).items() if "adapter" not in name}
    with pytest.raises(KeyError, match=r"audio_adapter_blocks\.0\.to_q\.weight"):
        AvatarConfig.from_shapes(names)


@pytest.mark.parametrize("head_size", range(16, 257, 8))
def test_rotary_shares_are_even_and_fill_the_head(head_size):
    time, rows, columns = rope_sizes(head_size)
    assert time + rows + columns == head_size
    assert rows == columns
    assert time > 0
    assert not any(share % 2 for share in (time, rows, columns))


def test_rotary_shares_of_the_published_head():
    assert rope_sizes(128) == (16, 56, 56)


def test_shares_that_do_not_fill_the_heads_are_refused(tiny_config):
    with pytest.raises(ValueError, match=r"2 heads with even shares \(4, 6, 8\) .* hidden size of 32"):
        replace(tiny_config, rope_sizes=(4, 6, 8))
