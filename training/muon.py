"""Muon (Jordan et al. 2024; arXiv:2502.16982) for matrices, and Adam for everything else.

A matrix takes its momentum with all singular values brought near 1. On these small networks it reaches in a
hundred steps what Adam alone reaches in many hundreds, which is what makes training on a CPU possible.
"""

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
BETAS, EPS = (0.9, 0.98), 1e-8
ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)  # of the iteration that pulls singular values towards 1
# Where data enters and leaves: there each direction has a scale of its own.
BORDERS = ("embeddings.", "embedder.", "final_layer.")
SMALLEST_SIDE = 8  # a matrix with fewer rows or columns than this has no directions to balance


class Muon(torch.optim.Optimizer):
    """`rate` of the matrices and `learning_rate` of the rest are both multiplied by `factor`.

    factor: a tensor, so that a step launches the same whatever it holds, and CUDA graphs can record it.
    """

    def __init__(self, network: nn.Module, rate: float, learning_rate: float, weight_decay: float) -> None:
        learned = {name: p for name, p in network.named_parameters() if p.requires_grad}
        balanced = {name for name, p in learned.items() if rate and is_matrix(name, p)}
        groups = [
            {"params": [learned[n] for n in learned if n in balanced], "balanced": True, "lr": rate},
            {"params": [learned[n] for n in learned if n not in balanced], "balanced": False},
        ]
        groups = [group for group in groups if group["params"]]
        super().__init__(groups, {"lr": learning_rate, "weight_decay": weight_decay})
        self.factor = torch.ones((), device=next(iter(learned.values())).device)

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            rate = group["lr"] * self.factor
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            changes = self._balanced(parameters) if group["balanced"] else self._adam(parameters)
            if decaying := [parameter for parameter in parameters if parameter.ndim > 1]:
                torch._foreach_mul_(decaying, 1 - rate * group["weight_decay"])
            torch._foreach_sub_(parameters, torch._foreach_mul(changes, rate))

    def _balanced(self, parameters: list[nn.Parameter]) -> list[Tensor]:
        """Matrices of one shape are balanced together: on a GPU their number hardly costs time."""
        changes: dict[nn.Parameter, Tensor] = {}
        for alike in by_shape(parameters):
            gradients = torch.stack([parameter.grad.flatten(1) for parameter in alike])
            momenta = [self._kept(parameter, "momentum") for parameter in alike]
            torch._foreach_mul_(momenta, MOMENTUM)
            torch._foreach_add_(momenta, [parameter.grad for parameter in alike])
            ahead = gradients + MOMENTUM * torch.stack([momentum.flatten(1) for momentum in momenta])
            scale = max(1, ahead.shape[-2] / ahead.shape[-1]) ** 0.5
            for parameter, change in zip(alike, balance(ahead) * scale, strict=True):
                changes[parameter] = change.view_as(parameter)
        return [changes[parameter] for parameter in parameters]

    def _adam(self, parameters: list[nn.Parameter]) -> list[Tensor]:
        gradients = [parameter.grad for parameter in parameters]
        means = [self._kept(parameter, "mean") for parameter in parameters]
        squares = [self._kept(parameter, "square") for parameter in parameters]
        steps = [self._kept(parameter, "step", ()) for parameter in parameters]
        # All at once, as torch's own optimizers do.
        torch._foreach_add_(steps, 1.0)
        first, second = (
            torch._foreach_neg(torch._foreach_sub(torch._foreach_pow(beta, steps), 1.0)) for beta in BETAS
        )
        torch._foreach_lerp_(means, gradients, 1 - BETAS[0])
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - BETAS[1])
        roots = torch._foreach_sqrt(torch._foreach_div(squares, second))
        torch._foreach_add_(roots, EPS)
        return list(torch._foreach_div(torch._foreach_div(means, first), roots))

    def _kept(self, parameter: nn.Parameter, name: str, shape: tuple[int, ...] | None = None) -> Tensor:
        """What is remembered of a parameter, at first zeros, by default of its shape."""
        state = self.state[parameter]
        if name not in state:
            state[name] = parameter.new_zeros(parameter.shape if shape is None else shape)
        return state[name]


def by_shape(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    groups: dict[torch.Size, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(parameter.shape, []).append(parameter)
    return list(groups.values())


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Weights of layers, but neither tables of embeddings nor learned tokens."""
    sides = (parameter.shape[0], parameter[0].numel()) if parameter.ndim > 1 else (1, 1)
    border = any(part in name for part in BORDERS)
    return min(sides) >= SMALLEST_SIDE and name.endswith("weight") and not border


def balance(matrix: Tensor) -> Tensor:
    """The nearest matrix with singular values near 1: (..., m, n), of the same shape and dtype."""
    x = matrix.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrix.dtype)
