"""SigLIP 2 frame features: what is in the picture, 8 times a second.

The vision tower is transformers' own class; this module gives it one face in every version of that library.
Source: SigLIP 2, arXiv:2502.14786.
"""

from typing import Any

from torch import Tensor, nn


class VisualEncoder(nn.Module):
    """A SigLIP vision tower and its attention pooling; parameters are named as published, `vision_model.*`.

    model: a transformers `SiglipVisionModel`. Version 4 wraps the tower once more than version 5.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.vision_model: Any = getattr(model, "vision_model", model)

    @property
    def image_size(self) -> int:
        """Height and width of the images it takes, in pixels."""
        return self.vision_model.config.image_size

    def forward(self, pixel_values: Tensor) -> Tensor:
        """One vector for each image, not normalised.

        pixel_values: (n, 3, size, size), RGB in [-1, 1].
        Returns:      (n, d), 768 wide as published, in the dtype of the weights.
        Raises:       ValueError for images of another size.
        """
        size = self.image_size
        if pixel_values.ndim != 4 or pixel_values.shape[2:] != (size, size):
            raise ValueError(
                f"The visual encoder takes images of {size} x {size} as (n, 3, {size}, {size}), "
                f"not {tuple(pixel_values.shape)}."
            )
        # As trained: the pooled vector is used as it is, where SigLIP itself would scale it to length 1.
        return self.vision_model(pixel_values=pixel_values).pooler_output
