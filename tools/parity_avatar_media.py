"""One runner for each kind of golden of Avatar's encoders and images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from golden import Golden, Row
from hunyuan_av.hunyuan.avatar.audio_adapter import token_mask
from hunyuan_av.hunyuan.avatar.face_detector import Faces, faces_in, yolo_grids, yolo_size
from hunyuan_av.hunyuan.avatar.face_mask import face_mask, face_rectangle, latent_mask
from hunyuan_av.hunyuan.avatar.llava import Llava
from hunyuan_av.hunyuan.avatar.llava_config import LlavaConfig
from hunyuan_av.hunyuan.avatar.log_mel import log_mel
from hunyuan_av.hunyuan.avatar.reference_image import bucket, llava_pixels, resize, vae_pixels
from hunyuan_av.hunyuan.avatar.speech_encoder import SpeechEncoder, frame_windows, pad_with_silence
from hunyuan_av.hunyuan.avatar.text_encoder import guiding_states
from hunyuan_av.hunyuan.avatar.timing import PUBLISHED_FRAMES, AvatarTiming
from hunyuan_av.hunyuan.avatar.video_tiles import Tile, tiled_in_space
from hunyuan_av.hunyuan.avatar.video_vae import VideoVAE
from hunyuan_av.hunyuan.avatar.video_vae_blocks import FrameCausalAttention
from hunyuan_av.hunyuan.avatar.video_vae_config import VideoVAEConfig

Rows = Iterator[Row]


def shapes_of(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


def compare_all(golden: Golden, found: Mapping[str, Tensor]) -> Rows:
    """A row for each tensor, all under the sidecar's one tolerance."""
    tolerance = golden.tolerance()
    for name, tensor in found.items():
        yield golden.compare(name, tensor, tolerance)


# --- video VAE ---------------------------------------------------------------------------------------------


def vae(golden: Golden) -> Rows:
    network, pixels = build_vae(golden), golden["in.pixels"]
    whole = network.encode(pixels)
    still = pixels[:, :, :1].expand_as(pixels)
    tile = Tile(network.config.tile_size, network.config.tile_latents)
    in_space = tiled_in_space(lambda piece: network.encode(piece).moments, pixels, tile)
    yield from compare_all(
        golden,
        {
            "out.moments_full": whole.moments,
            "out.sample": whole.sample(golden["in.sample_noise"]),
            "out.moments_spatial_tiled": in_space,
            "out.moments_tiled": network.encode_tiled(pixels).moments,
            "out.moments_tiled_static": network.encode_tiled(still).moments,
            "out.video_full": network.decode(golden["in.latents"]),
            "out.video_tiled": network.decode_tiled(golden["in.latents"]),
        },
    )


def build_vae(golden: Golden) -> VideoVAE:
    settings = dict(golden.sidecar["config"])
    causal = settings.pop("mid_block_causal_attn")
    network = VideoVAE(VideoVAEConfig.from_shapes(shapes_of(golden.weights), settings), device="meta")
    network.load_state_dict(golden.weights, strict=True, assign=True)
    for module in network.modules():
        if isinstance(module, FrameCausalAttention) and not causal:
            module.attend = partial(see_all_frames, module)
    return network.eval()


def see_all_frames(layer: FrameCausalAttention, q: Tensor, k: Tensor, v: Tensor, _places: int) -> Tensor:
    """The published attention with its switch off, which no released configuration does."""
    return layer.attention(q, k, v)


# --- prompt and portrait -----------------------------------------------------------------------------------


def llava_text(golden: Golden) -> Rows:
    config, weights = golden.sidecar["config"], golden.weights
    sizes = LlavaConfig.from_shapes(
        shapes_of(weights),
        vision_heads=config["vision_heads"],
        text_heads=config["text_heads"],
        image_token=config["image_token"],
    )
    sizes = replace(sizes, text=replace(sizes.text, rope_theta=config["rope_theta"]))
    network = Llava(sizes, device="meta")
    used = {name: value for name, value in weights.items() if not name.startswith(sizes.unused)}
    network.load_state_dict(used, strict=True, assign=True)

    image = network.see(golden["in.pixel_values"])
    for case, tokens in enumerate(config["valid_tokens"]):
        ids = golden[f"in.input_ids_{case}"][0, :tokens]
        states, mask = guiding_states(network, ids, image, config["crop_start"])
        yield golden.compare(f"out.embeds_{case}", states, golden.tolerance())
        yield golden.compare(f"out.mask_{case}", mask, (0.0, 0.0))


# --- speech ------------------------------------------------------------------------------------------------


def log_mel_columns(golden: Golden) -> Rows:
    config, waveform = golden.sidecar["config"], golden["in.waveform"]
    mel = log_mel(waveform)
    yield golden.equal("mel_shape", [1, *mel.shape], config["mel_shape"])
    frames = AvatarTiming.from_samples(len(waveform)).audio_frames
    yield golden.equal("audio_len_frames", frames, config["audio_len_frames"])
    head, tail = mel[:, : config["stored_columns"]], mel[:, 2999]
    yield from compare_all(golden, {"out.mel_head": head, "out.mel_tail_column": tail})


def whisper_encoder(golden: Golden) -> Rows:
    config = golden.sidecar["config"]
    encoder = SpeechEncoder(build_whisper(config))
    encoder.load_state_dict(golden.weights, strict=True)
    states = encoder(golden["in.mel_fp16"])
    yield golden.compare("out.hidden_states_cols", states[:, config["columns"]], golden.tolerance())


def build_whisper(config: Mapping[str, Any]) -> nn.Module:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    sizes = WhisperConfig(
        d_model=config["d_model"],
        encoder_layers=config["layers"],
        encoder_attention_heads=config["heads"],
        encoder_ffn_dim=config["ffn"],
        num_mel_bins=config["mels"],
        max_source_positions=config["positions"],
    )
    return WhisperEncoder(sizes).eval()


def whisper_windows(golden: Golden) -> Rows:
    states = golden["in.hidden_states"]
    for case in golden.sidecar["cases"]:
        index = case["index"]
        timing = AvatarTiming(case["audio_len_frames"], limit=PUBLISHED_FRAMES)
        windows = pad_with_silence(frame_windows(states, timing.used_frames, case["fps"]))
        yield golden.equal(f"used_frames_{index}", timing.used_frames, case["used_frames"])
        yield golden.equal(f"padded_frames_{index}", windows.shape[1], case["padded_frames"])
        yield golden.compare(f"out.audio_prompts_{index}", windows, golden.tolerance())


# --- portrait ----------------------------------------------------------------------------------------------


def image_preproc(golden: Golden) -> Rows:
    size = golden.sidecar["config"]["image_size"]
    resized = resize(golden["in.image_uint8"].numpy(), size)
    yield golden.compare("out.resized_uint8", torch.tensor(resized), golden.tolerance("resized"))
    published = golden["out.resized_uint8"].numpy()
    found = vae_pixels(published)[0, :, 0]
    yield golden.compare("out.vae_input_fp16", found, golden.tolerance("vae_input"))
    yield golden.compare("out.llava_fp16", llava_pixels(published)[0], golden.tolerance("llava"))


def resize_rows(golden: Golden) -> Rows:
    for width, height, size, *published in golden.sidecar["rows"]:
        found = bucket(height, width, size)
        yield golden.equal(f"{width}x{height} at {size}", [*found[::-1]], published)


def face_detector(golden: Golden) -> Rows:
    for case in golden.sidecar["cases"]:
        index, image_size = case["index"], (case["image_h"], case["image_w"])
        net_size = yolo_size(*image_size)
        grids = [list(grid.shape) for grid in yolo_grids(*net_size)]
        yield golden.equal(f"net_size_{index}", net_size, (case["net_h"], case["net_w"]))
        yield golden.equal(f"grid_shapes_{index}", grids, case["grid_shapes"])
        faces = faces_in(golden[f"in.pred_{index}"][0], net_size, image_size)
        yield golden.equal(f"faces_{index}", len(faces), case["faces"])
        found = {"boxes_xywh": faces.boxes, "landmarks": faces.landmarks, "scores": faces.scores}
        yield from compare_all(golden, {f"out.{name}_{index}": value for name, value in found.items()})


def face_choice(golden: Golden) -> Rows:
    for index, row in enumerate(golden.sidecar["rows"]):
        boxes = torch.tensor(row["boxes_xywh"], dtype=torch.float64).view(-1, 4)
        faces = Faces(boxes=boxes, landmarks=torch.zeros(len(boxes), 5, 2), scores=torch.ones(len(boxes)))
        yield golden.equal(f"true_largest_{index}", faces.largest, row["true_largest"])
        yield golden.equal(f"reference_choice_{index}", published_choice(boxes), row["reference_choice"])


def published_choice(boxes: Tensor) -> int | None:
    """The released program compares every face with the first alone, so the last that is larger wins."""
    areas = (boxes[:, 2] * boxes[:, 3]).tolist()
    larger = [index for index, area in enumerate(areas) if area > areas[0]]
    return (larger or [0])[-1] if areas else None


def facemask(golden: Golden) -> Rows:
    enlarge, tolerance = golden.sidecar["area"], golden.tolerance()
    for case in golden.sidecar["cases"]:
        index, box, size = case["index"], case["selected_box_xywh"], (case["image_h"], case["image_w"])
        published = case["pixel_rect_x1y1x2y2"]
        whole = (0, 0, *size[::-1])
        found = face_rectangle(box, *size, enlarge) if box else whole
        yield golden.equal(f"pixel_rect_{index}", [*found], published)
        mask = latent_mask(face_mask(box, *size, enlarge)[None])
        yield golden.compare(f"out.latent_mask_{index}", mask[0, 0, 0], tolerance)
        tokens = token_mask(mask, 1).view_as(golden[f"out.token_mask_{index}"])
        yield golden.compare(f"out.token_mask_{index}", tokens, tolerance)


RUNNERS: dict[str, Callable[[Golden], Rows]] = {
    "vae": vae,
    "llava_text": llava_text,
    "log_mel": log_mel_columns,
    "whisper_encoder": whisper_encoder,
    "whisper_windows": whisper_windows,
    "image_preproc": image_preproc,
    "resize": resize_rows,
    "face_detector": face_detector,
    "face_choice": face_choice,
    "facemask": facemask,
}
