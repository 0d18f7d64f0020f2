"""What a guided step of Avatar costs at its published size, by count: on the meta device nothing is computed.

    python tools/avatar_cost.py [--heard SHARE]

A step over one window of 129 frames, both halves of guidance. Most steps guide speech alone, and their halves
share the first blocks; the early ones have a negative prompt, too. The floor is arithmetic: the FLOPs at an
assumed rate.
"""

import argparse
import sys
from dataclasses import dataclass

from torch import Tensor
from torch.utils.flop_counter import sdpa_flop_count

import _pack  # noqa: F401 - makes hunyuan_av importable
from activation_peak import AVATAR_SIZES, EARLY, LATE, avatar_network, avatar_step
from hunyuan_av.hunyuan.avatar.config import PUBLISHED, AvatarConfig
from hunyuan_av.hunyuan.avatar.schedule import AvatarStep
from hunyuan_av.hunyuan.layers.attention import attention

RATE = 660e12  # FLOP per second, assumed: two thirds of what an H200 does at most in bfloat16


class CountedAttention:
    """Attention, whose calls and FLOPs are counted."""

    def __init__(self) -> None:
        self.calls = self.flop = 0

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        self.calls += 1
        self.flop += sdpa_flop_count(q.shape, k.shape, v.shape)
        return attention(q, k, v, mask)


@dataclass(frozen=True)
class StepCost:
    """FLOPs of a step, of which so many are attention's; kernels that it launches; bytes at its peak.

    moved: bytes that all but products, convolutions and attention read and write.
    """

    flop: int
    attention: int
    launches: int
    moved: int
    peak_bytes: int


def step_cost(
    height: int, width: int, plan: AvatarStep, heard: float, config: AvatarConfig = PUBLISHED
) -> StepCost:
    counting = CountedAttention()
    network = avatar_network(config, attention=counting)
    cost = avatar_step(network, height, width, plan=plan, heard=heard)
    return StepCost(cost.flop, counting.flop, cost.launches, cost.moved.total(), cost.peak_bytes)


def main() -> int:
    parser = argparse.ArgumentParser(description="Count what a guided step of Avatar costs.")
    parser.add_argument("--heard", type=float, default=0.25, help="share of the picture inside a mask")
    heard = parser.parse_args().heard
    for height, width in AVATAR_SIZES:
        for name, plan in (("late", LATE), ("early", EARLY)):
            cost = step_cost(height, width, plan, heard)
            print(
                f"{height} x {width}, {name}: {cost.flop / 1e15:.2f} PFLOP, attention"
                f" {cost.attention / cost.flop:.1%}, {cost.launches} kernels,"
                f" {cost.moved / 1e12:.2f} TB moved beside products,"
                f" peak {cost.peak_bytes / 2**30:.1f} GiB,"
                f" floor {cost.flop / RATE:.1f} s at {RATE / 1e12:.0f} TFLOP/s (assumed)"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
