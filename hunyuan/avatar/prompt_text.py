"""A prompt as the tokens that LLaVA reads: in its template, with the portrait after it.

The template is HunyuanVideo's for text to video (arXiv:2412.03603).
"""

import logging
import re
from typing import Protocol

logger = logging.getLogger(__name__)

QUALITY = "Authentic, Realistic, Natural, High-quality, Lens-Fixed"  # as released, before every prompt
NEGATIVE_PROMPT = (
    "Aerial view, aerial view, overexposed, low quality, deformation, a poor composition, bad hands, "
    "bad teeth, bad eyes, bad limbs, distortion, blurring, Lens changes"
)

HEAD = (
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: "
    "1. The main content and theme of the video."
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
    "4. background environment, light, style and atmosphere."
    "5. camera angles, movements, and transitions used in the video:<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n"
)
IMAGE = "<image>"
TAIL = f"<|eot_id|>\nThe person looks like{IMAGE}"
HEAD_TOKENS = 95  # of Llama 3's tokenizer, its begin-of-text included

MAX_TOKENS = 256  # of prompt and tail; as trained, shorter ones are padded to it


class Encoding(Protocol):
    """Token ids of a text, and the characters [start, end) each of them stands for."""

    @property
    def ids(self) -> list[int]: ...

    @property
    def offsets(self) -> list[tuple[int, int]]: ...


class Tokenizer(Protocol):
    """What is used of a `tokenizers.Tokenizer` that knows the special tokens below and adds begin-of-text."""

    def encode(self, sequence: str, *, add_special_tokens: bool = True) -> Encoding: ...


def with_quality(prompt: str) -> str:
    """A prompt as released, which always asks for quality first."""
    return f"{QUALITY}, {prompt}" if prompt.strip() else f"{QUALITY}."


class PromptTokenizer:
    """Prompts to the token ids of the whole template.

    head_tokens: how many ids come before the prompt's own; their states do not guide the sampler.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.head_tokens = len(tokenizer.encode(HEAD).ids)
        self.tail = tokenizer.encode(TAIL, add_special_tokens=False).ids

    def __call__(self, prompt: str) -> list[int]:
        """At most `head_tokens` + 256 ids, without padding.

        A prompt too long for that is cut, which is logged; the released program cuts the portrait and fails.
        """
        whole = self.tokenizer.encode(HEAD + prompt + TAIL)
        end = self.head_tokens + MAX_TOKENS - len(self.tail)
        if len(whole.ids) - len(self.tail) > end:
            self._warn(prompt, whole.offsets[end][0] - len(HEAD))
        return whole.ids[: -len(self.tail)][:end] + self.tail

    def _warn(self, prompt: str, cut: int) -> None:
        words = re.finditer(r"\S+", prompt)
        lost = next((prompt[word.start() :] for word in words if word.end() > cut), "")
        logger.warning(
            'Prompt too long: the model reads %d tokens, so not "%s".', MAX_TOKENS - len(self.tail), lost
        )
