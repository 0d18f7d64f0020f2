"""What the transformer is made to hear before it says it: the outline of the sound.

At most noise levels the outline shows in the noisy latents, so that little of the velocity's loss teaches to
find it in the picture. The heads ask the states of some audio blocks for it as it is, without the noise.

Axes: b batch, n tokens, d channels.
"""

from collections.abc import Mapping

from torch import Tensor

from . import outline
from .heads import Heads, Place


class Hearing(Heads):
    """Heads that read the outline off the states between the audio blocks.

    The first and the last of these blocks are not asked.
    """

    def __init__(self, hidden_size: int, audio_depth: int) -> None:
        middle = range(1, audio_depth - 1) or [audio_depth - 1]
        super().__init__(hidden_size, outline.CHANNELS, [("audio", i) for i in middle])

    def error(self, states: Mapping[Place, Tensor], latents: Tensor) -> Tensor:
        """Mean square error, about 1 for one who does not know. latents: (b, c, n), without noise."""
        return self.mean_error(states, latents[:, -outline.CHANNELS :].mT / outline.LEVEL)
