"""How many bytes networks need beside their weights, as the hosts plan it.

By count over all that one guided step, or one tile, makes (`python tools/activation_peak.py`), with room for
what the count does not see: workspaces of kernels, and what an allocator wastes. A test holds one against the
other.
"""

import math

from ..hunyuan.avatar.config import PATCH, AvatarConfig
from ..hunyuan.avatar.timing import WINDOW_LATENTS
from ..hunyuan.avatar.tokenwise import CHUNK
from ..hunyuan.foley.audio_vae_config import AudioVAEConfig
from ..hunyuan.foley.config import FoleyConfig

# ComfyUI plans so many bytes, times a model's factor, for each byte of a number and latent place.
UNIT = 0.01 * 2**20

# Numbers alive at once for each latent frame and channel of the network.
FOLEY_NUMBERS = 33
# Numbers alive at once for each channel of Avatar's network: for each token, and for each that is in a chunk.
AVATAR_NUMBERS, CHUNK_NUMBERS = 17, 8
AVATAR_TEXT = 831  # tokens, the most: 256 of the prompt and 575 of the portrait
# Bytes for each number in a chunk that is rounded to 8 bits before a product.
ROUNDING = 8
# Bytes alive at once for each number of a weight that is unpacked, from the format that takes most.
UNPACKING = 14
# Tensors as large as the widest layer's output, alive at once in the audio autoencoder.
AUDIO_TENSORS = 6


def foley_factor(config: FoleyConfig) -> float:
    """`memory_usage_factor` of Foley's transformer."""
    return FOLEY_NUMBERS * config.hidden_size / UNIT


def unpacking_bytes(shape: tuple[int, ...]) -> int:
    """For a packed weight of this shape, while its layer computes."""
    return UNPACKING * math.prod(shape)


def avatar_factor(config: AvatarConfig) -> float:
    """`memory_usage_factor` of Avatar's transformer, as if there were tokens of the picture alone."""
    return AVATAR_NUMBERS * config.hidden_size * _image_tokens(PATCH**2) / (WINDOW_LATENTS * PATCH**2) / UNIT


def avatar_share(latent_pixels: int) -> float:
    """How many times what follows from the factor is needed: a small picture has a prompt and chunks, too."""
    return _avatar_numbers(latent_pixels) / (AVATAR_NUMBERS * _image_tokens(latent_pixels))


def avatar_bytes(
    config: AvatarConfig, latent_pixels: int, rows: int, itemsize: int, *, float8_products: bool = False
) -> int:
    """For a step over one window. rows: of all halves together."""
    numbers = config.hidden_size * _avatar_numbers(latent_pixels)
    chunk = min(avatar_tokens(latent_pixels), CHUNK) if float8_products else 0
    return rows * (numbers * itemsize + chunk * (config.hidden_size + config.mlp_size) * ROUNDING)


def avatar_tokens(latent_pixels: int) -> int:
    """Of a window, with the portrait before it and the longest prompt behind it."""
    return _image_tokens(latent_pixels) + AVATAR_TEXT


def _avatar_numbers(latent_pixels: int) -> int:
    tokens = avatar_tokens(latent_pixels)
    return AVATAR_NUMBERS * tokens + CHUNK_NUMBERS * min(tokens, CHUNK)


def _image_tokens(latent_pixels: int) -> int:
    """Of a window, with the portrait before it."""
    return (1 + WINDOW_LATENTS) * latent_pixels // PATCH**2


def planned_bytes(factor: float, places: int, itemsize: int) -> float:
    """What ComfyUI plans from a factor. places: latent frames, or latent pixels, of all rows together."""
    return UNIT * factor * places * itemsize


def audio_decode_bytes(config: AudioVAEConfig, latent_frames: int, itemsize: int = 4) -> int:
    """For sound from so many latent frames, of all rows together: the widest layers have the full rate."""
    channels = config.decoder_dim >> len(config.decoder_rates)
    return AUDIO_TENSORS * itemsize * channels * config.hop * latent_frames


def audio_encode_bytes(config: AudioVAEConfig, samples: int, itemsize: int = 4) -> int:
    """For the latents of so many samples of sound, of all rows together."""
    return AUDIO_TENSORS * itemsize * config.encoder_dim * samples
