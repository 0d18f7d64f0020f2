"""Networks that take turns on a device: each comes when one of its layers is called, and the others go.

Their values stay in host memory all the while, so that going costs nothing.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .streaming import slots_of


class Turns:
    """Groups of networks, of which one is on the device at a time; what a network is given follows it."""

    def __init__(self, groups: Sequence[Sequence[nn.Module]], device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.groups = [[slot for network in group for slot in slots_of(network)] for group in groups]
        self.at_rest = [[slot.tensor.detach() for slot in slots] for slots in self.groups]
        self.current: int | None = None
        for number, group in enumerate(groups):
            for network in group:
                network.register_forward_pre_hook(self._follow(number), with_kwargs=True)
                for module in network.modules():
                    if module._parameters or module._buffers:
                        module.register_forward_pre_hook(self._come(number))

    def _come(self, number: int):
        """For a layer, since a network may be used by parts."""

        def come(module: nn.Module, inputs: Any) -> None:
            if self.current != number:
                self._bring(number)

        return come

    def _follow(self, number: int):
        """For a network: callers look where it is, and put its inputs there, before it has come."""

        def come(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
            if self.current != number:
                self._bring(number)
            return tuple(self._here(x) for x in inputs), {name: self._here(x) for name, x in named.items()}

        return come

    def _bring(self, number: int) -> None:
        if self.current is not None:
            for slot, tensor in zip(self.groups[self.current], self.at_rest[self.current], strict=True):
                slot.put(tensor)
        # What is brought under inference mode shall serve outside it too.
        with torch.inference_mode(False), torch.no_grad():
            for slot, tensor in zip(self.groups[number], self.at_rest[number], strict=True):
                slot.put(tensor.to(self.device))
        self.current = number

    def _here(self, value: Any) -> Any:
        return value.to(self.device) if isinstance(value, Tensor) else value
