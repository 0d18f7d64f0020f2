"""Adaptive layer norm (DiT, arXiv:2212.09748): shift, scale and gate from a condition vector."""

from torch import Tensor, nn

from .norm import layer_norm


class Modulation(nn.Module):
    """One linear layer, cut into `chunks` vectors, over a condition that already went through SiLU."""

    def __init__(self, hidden_size: int, chunks: int, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        self.chunks = chunks
        self.linear = operations.Linear(hidden_size, chunks * hidden_size, dtype=dtype, device=device)

    def forward(self, activated: Tensor) -> tuple[Tensor, ...]:
        """activated: (..., d). Returns `chunks` tensors of that shape."""
        return self.linear(activated).chunk(self.chunks, dim=-1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor, *, eps: float) -> Tensor:
    """Layer norm, then scale and shift: float32 inside, the condition's dtype outside."""
    return (layer_norm(x, eps) * (1 + scale) + shift).to(shift.dtype)
