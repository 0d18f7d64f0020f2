"""The steps of a training as CUDA graphs: what a step launches is recorded once for each shape of its batch.

A step of a small network launches thousands of kernels that each take a fast card less time than they take to
be launched. What is recorded reads and writes at fixed places, so the batch is copied to places of its own.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from ..hunyuan.foley.graphed import Capture, cuda_capture

logger = logging.getLogger(__name__)

Tensors = dict[str, Tensor]
Compute = Callable[[Tensors], Tensors]  # from a batch, to what is to be known of the step


class RecordedSteps:
    """Calls `compute`: the first time with a shape of batch as it is, from the second on from a recording.

    Whatever it changes must lie at fixed places, and nothing in it may depend on numbers that the host has.
    Where a recording fails, that is logged with the reason, and all goes on without.
    """

    def __init__(self, compute: Compute, device: torch.device, capture: Capture | None = None) -> None:
        """capture: in the place of CUDA's, for tests."""
        self.compute = compute
        self._capture = capture or cuda_capture(device, rehearse=False)
        self._met: set[object] = set()
        self._recorded: dict[object, tuple[Tensors, Callable[[], Tensors]]] = {}
        self._plain = False

    @property
    def recorded(self) -> int:
        """How many shapes of batches are replayed."""
        return len(self._recorded)

    def __call__(self, batch: Tensors) -> Tensors:
        """The answer's tensors are overwritten by the next call."""
        shape = tuple((name, tensor.shape, tensor.dtype) for name, tensor in sorted(batch.items()))
        if self._plain or shape not in self._met:
            self._met.add(shape)
            return self.compute(batch)
        try:
            if shape not in self._recorded:
                self._record(shape, batch)
        except RuntimeError as error:  # nothing of a step has been done while it was recorded
            self._plain = True
            logger.warning("Training goes on without CUDA graphs, more slowly: %s", error)
            return self.compute(batch)
        inputs, replay = self._recorded[shape]
        for name, tensor in batch.items():
            inputs[name].copy_(tensor, non_blocking=True)
        return replay()

    def _record(self, shape: object, batch: Tensors) -> None:
        inputs = {name: tensor.clone() for name, tensor in batch.items()}
        self._recorded[shape] = inputs, self._capture(lambda: self.compute(inputs))
