"""Tiles of the video autoencoder, with networks simple enough to know the answer."""

from itertools import count

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.avatar.video_tiles import Tile, blend, tiled_in_space, tiled_in_time

SPACE = {"encode": Tile(32, 4), "decode": Tile(4, 32)}
TIME = {"encode": Tile(16, 4), "decode": Tile(4, 16)}


def shrink_space(x):
    return x[..., ::8, ::8]


def stretch_space(x):
    return x.repeat_interleave(8, dim=-2).repeat_interleave(8, dim=-1)


def shrink_time(x):
    return x[:, :, ::4]


def stretch_time(x):
    return torch.cat([x[:, :, :1], x[:, :, 1:].repeat_interleave(4, dim=2)], dim=2)


def constants(target_length, dim):
    """A network whose n-th answer is n everywhere."""
    numbers = count()

    def network(x):
        shape = list(x.shape)
        shape[dim] = target_length(shape[dim])
        return torch.full(shape, float(next(numbers)))

    return network


def frames_decoded(latents):
    return 4 * latents - 3


@given(height=st.integers(1, 14), width=st.integers(1, 14))
@settings(max_examples=25, deadline=None)
def test_tiles_of_a_network_without_memory_join_seamlessly_in_space(height, width):
    latents = torch.rand(1, 2, 1, height, width)
    decoded = tiled_in_space(stretch_space, latents, SPACE["decode"])
    torch.testing.assert_close(decoded, stretch_space(latents))
    torch.testing.assert_close(tiled_in_space(shrink_space, decoded, SPACE["encode"]), latents)


@given(frames=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_tiles_of_a_network_without_memory_join_seamlessly_in_time(frames):
    latents = torch.rand(1, 2, frames, 1, 1)
    decoded = torch.cat(list(tiled_in_time(stretch_time, latents, TIME["decode"])), dim=2)
    torch.testing.assert_close(decoded, stretch_time(latents))
    encoded = torch.cat(list(tiled_in_time(shrink_time, decoded, TIME["encode"])), dim=2)
    torch.testing.assert_close(encoded, latents)


@pytest.mark.parametrize(
    ("latents", "fade"), [(33, 16), (37, 16), (38, 4), (39, 8), (40, 12), (41, 16), (50, 4), (102, 16)]
)
def test_the_last_fade_in_time_runs_over_the_frames_that_there_are(latents, fade):
    network = constants(frames_decoded, dim=2)
    video = torch.cat(list(tiled_in_time(network, torch.zeros(1, 1, latents, 1, 1), Tile(16, 64))), dim=2)
    tiles = -(-(latents - 1) // 12)
    expected = [0.0] * 49
    for tile in range(1, tiles):
        length = fade if tile == tiles - 1 else 16
        expected += [tile - 1 + k / length for k in range(length)] + [float(tile)] * (48 - length)
    assert video.flatten().tolist() == pytest.approx(expected[: frames_decoded(latents)])


def test_a_last_tile_of_one_frame_is_not_computed():
    seen = []

    def network(x):
        seen.append(x.shape[2])
        return stretch_time(x)

    pieces = list(tiled_in_time(network, torch.rand(1, 1, 25, 1, 1), Tile(16, 64)))
    assert seen == [17, 13]
    assert [piece.shape[2] for piece in pieces] == [49, 48]


def test_tiles_in_space_are_blended_with_the_one_above_and_then_with_the_one_to_the_left():
    network = constants(lambda height: height, dim=-2)
    found = tiled_in_space(network, torch.zeros(1, 1, 1, 14, 14), Tile(8, 8))[0, 0, 0]

    def faded(before, after, cell):
        return before + (after - before) * min(cell / 2, 1)

    for row in range(6, 12):
        for column in range(6, 12):
            above_left, above = 0.0, faded(0, 1, column - 6)
            left = faded(above_left, 3, row - 6)
            tile = faded(above if row < 8 else 4, 4, row - 6)
            expected = faded(left, tile, column - 6)
            assert found[row, column] == pytest.approx(expected), (row, column)


def test_a_fade_begins_with_the_earlier_tile_alone():
    before, after = torch.zeros(1, 1, 1, 1, 5), torch.ones(1, 1, 1, 1, 5)
    assert blend(before, after, 4, dim=-1).flatten().tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_what_fits_into_one_tile_goes_through_the_network_whole():
    x = torch.rand(1, 1, 16, 4, 4)
    assert tiled_in_space(lambda x: x, x, SPACE["decode"]) is x
    assert next(tiled_in_time(lambda x: x, x, TIME["encode"])) is x
