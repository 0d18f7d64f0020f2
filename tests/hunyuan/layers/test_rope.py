import torch
from pack.hunyuan.layers.rope import grid_rotary_table, rotary_table, rotate


def test_each_pair_is_turned_by_its_own_angle():
    x = torch.randn(2, 3, 7, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    frequencies = 10_000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    turn = torch.polar(
        torch.ones(7, 4, dtype=torch.float64), torch.outer(torch.arange(7.0).double(), frequencies)
    )
    expected = torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (4, 2))) * turn).flatten(-2)
    turned = rotate(x.float(), rotary_table(torch.arange(7), 8))
    torch.testing.assert_close(turned, expected.float(), rtol=1e-5, atol=1e-5)


def test_turning_is_float32_inside_and_keeps_the_dtype():
    x = torch.randn(1, 2, 5, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    table = rotary_table(torch.arange(5), 8)
    assert torch.equal(rotate(x, table), rotate(x.float(), table).bfloat16())


def test_coordinates_turn_channels_of_their_own():
    axes = [torch.arange(4), torch.arange(4) + 9]
    table = grid_rotary_table(axes, (4, 2), 256.0)
    parts = [rotary_table(axis, size, 256.0) for axis, size in zip(axes, (4, 2), strict=True)]
    x = torch.randn(1, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    apart = torch.cat([rotate(x[..., :4], parts[0]), rotate(x[..., 4:], parts[1])], dim=-1)
    assert torch.equal(rotate(x, table), apart)
