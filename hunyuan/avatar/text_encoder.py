"""What a prompt and a portrait say to the sampler: LLaVA states with their mask, and CLIP-L's pooled vector.

Axes: b batch, n tokens, d channels.
"""

import torch
from torch import Tensor

from .clip_text import ClipText
from .conditions import AvatarPrompt
from .llava import Llava
from .prompt_text import MAX_TOKENS, PromptTokenizer, Tokenizer


class TextEncoder:
    """LLaVA and CLIP-L, each with its tokenizer; a host may hold the two networks apart.

    Raises: ValueError if the tokenizer does not know the network's image token.
    """

    def __init__(self, llava: Llava, tokenizer: Tokenizer, clip: ClipText) -> None:
        self.llava, self.clip = llava, clip
        self.tokenize = PromptTokenizer(tokenizer)
        if self.tokenize.tail[-1:] != [llava.config.image_token]:
            raise ValueError(
                f"LLaVA's tokenizer reads <image> as token {self.tokenize.tail[-1:]}, the network expects "
                f"{llava.config.image_token}. Use the tokenizer from the folder of the weights."
            )

    def see(self, pixel_values: Tensor) -> Tensor:
        """The portrait as tokens, once for both prompts.

        pixel_values: (1, 3, 336, 336), from `llava_pixels`. Returns (1, 576, d).
        """
        return self.llava.see(pixel_values)

    def encode(self, prompt: str, image: Tensor) -> AvatarPrompt:
        """A prompt, positive or negative, and the portrait.

        image: from `see`; LLaVA computes on its device.
        """
        ids = torch.tensor(self.tokenize(prompt), device=image.device)
        states, mask = guiding_states(self.llava, ids, image, self.tokenize.head_tokens)
        return AvatarPrompt(states=states, mask=mask, pooled=self.clip.encode(prompt))


def guiding_states(llava: Llava, ids: Tensor, image: Tensor, head_tokens: int) -> tuple[Tensor, Tensor]:
    """States and mask as the transformer was trained with them.

    ids:         (n,) int64, the whole template without padding. image: (1, 576, d).
    head_tokens: leading tokens that do not guide, 95 as published.
    Returns:     states (1, 831, d), that is 256 tokens of which one became 576; mask (1, 831) int64.
    """
    states, padding = llava(ids, image)
    states = states[:, head_tokens:]
    length = MAX_TOKENS + image.shape[1] - 1
    padding = padding.expand(-1, length - states.shape[1], -1)
    mask = as_trained_mask(len(ids) - head_tokens, image.shape[1])
    return torch.cat([states, padding], dim=1), mask.to(states.device)


def as_trained_mask(tokens: int, image_tokens: int) -> Tensor:
    """Which of the states count: (1, 831) int64.

    As trained: the ones of the image stand at the end, not after the text where its states are. Their number
    is right, so attention that takes as many leading states is; attention that goes by their places misses
    some of the image and sees padding.

    tokens: of prompt and tail, the image as one of them.
    """
    mask = torch.zeros(1, MAX_TOKENS + image_tokens - 1, dtype=torch.int64)
    mask[:, :tokens] = 1
    mask[:, MAX_TOKENS:] = 1
    return mask
