"""Runners for the goldens of Foley's encoders and what is fed to them: frames, text, and the sync score."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from golden import Golden, Rows, build, recording, shapes_of
from hunyuan_av.hunyuan.foley.desync import Synchformer, SynchformerConfig, class_grid, desync_score
from hunyuan_av.hunyuan.foley.sync_audio import audio_segments, mel_spectrogram, normalised_log_mel
from hunyuan_av.hunyuan.foley.sync_encoder import PREFIX, SyncEncoder, SyncEncoderConfig, segments_of
from hunyuan_av.hunyuan.foley.text_encoder import TextEncoder
from hunyuan_av.hunyuan.foley.timing import SYNC_RATE, VISUAL_RATE, FoleyTiming
from hunyuan_av.hunyuan.foley.visual_encoder import VisualEncoder
from hunyuan_av.hunyuan.media.video import (
    FramePicker,
    normalise,
    normalise_crops,
    resize_and_crop,
    resize_squashed,
)

# --- encoders ----------------------------------------------------------------------------------------------


def siglip_vision(golden: Golden) -> Rows:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    encoder = VisualEncoder(SiglipVisionModel(SiglipVisionConfig(**golden.sidecar["config"])))
    build_tower(encoder, golden.weights)
    hidden: list[Tensor] = []
    hook = encoder.vision_model.post_layernorm.register_forward_hook(lambda _m, _i, out: hidden.append(out))
    for case in golden.cases:
        features = encoder(golden[f"{case}in.pixel_values"])
        yield golden.compare(f"{case}out.image_features", features, golden.tolerance())
        if golden.has(f"{case}mid.last_hidden_state"):
            yield golden.compare(f"{case}mid.last_hidden_state", hidden[-1], golden.tolerance())
    hook.remove()


def clap_text(golden: Golden) -> Rows:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from transformers import ClapTextConfig, ClapTextModel

    model = ClapTextModel(ClapTextConfig(**golden.sidecar["config"]), add_pooling_layer=False)
    encoder = TextEncoder(model, Tokenizer(BPE()))
    build_tower(encoder, golden.weights)
    for case in golden.cases:
        states = encoder(golden[f"{case}in.input_ids"], golden[f"{case}in.attention_mask"])
        yield golden.compare(f"{case}out.last_hidden_state", states, golden.tolerance())


def build_tower(encoder: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """The part of a complete model that our encoders hold; constant buffers stay as they are."""
    names = set(encoder.state_dict())
    tower = next(name.split(".", 1)[0] for name in names) + "."
    given = {name if name.startswith(tower) else tower + name: tensor for name, tensor in weights.items()}
    given = {name: tensor for name, tensor in given.items() if name in names}
    missing = (
        names - set(given) - {f"{tower}embeddings.{buffer}" for buffer in ("position_ids", "token_type_ids")}
    )
    if missing:
        raise ValueError(f"The golden lacks {sorted(missing)}.")
    encoder.load_state_dict(given, strict=False)
    encoder.eval()


def synchformer_visual(golden: Golden) -> Rows:
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in golden.weights.items()}
    config = SyncEncoderConfig.from_shapes(shapes_of(weights), golden.sidecar["config"]["num_heads"])
    encoder = SyncEncoder(config, device="meta")
    build(encoder, weights)
    for case in golden.cases:
        segments = recorded_segments(golden, case)
        if golden.has(f"{case}in.first_segment_row0"):
            yield golden.compare(f"{case}in.first_segment_row0", segments[0, 0, :, :, 0], (1e-6, 0.0))
        stages = every_stage(encoder, segments.transpose(0, 1))
        for name in golden.names:
            if name.startswith((f"{case}mid.", f"{case}out.")):
                yield golden.compare(name, stages[name.removeprefix(case)], golden.tolerance())


def every_stage(encoder: SyncEncoder, segments: Tensor) -> dict[str, Tensor]:
    """Every intermediate of one forward pass, under the goldens' names. segments: (1, s, 16, 3, h, w)."""
    stages: dict[str, Tensor] = {}
    modules = {f"mid.block{i}": block for i, block in enumerate(encoder.blocks)}
    modules["mid.normed_patch_tokens"] = encoder.norm
    with recording(modules, stages):
        features = encoder(segments)
    stages["mid.tokens_with_pos"] = encoder.embed(segments[0])
    stages["out.features_flat"] = features
    stages["out.features"] = features.unflatten(1, (segments.shape[1], -1)).transpose(0, 1)
    return stages


def recorded_segments(golden: Golden, case: str) -> Tensor:
    """The input in any of its three forms, as (s, 1, 16, 3, h, w)."""
    if golden.has(f"{case}in.segments"):
        return golden[f"{case}in.segments"]
    if golden.has(f"{case}in.segments_uint8"):
        return normalise_crops(golden[f"{case}in.segments_uint8"])
    return segments_of(normalise_crops(pattern(golden.sidecar["pattern"])))[:, None]


def pattern(p: Mapping[str, Any]) -> Tensor:
    """The integer formula in the sidecar: (frames, 3, h, w), uint8."""
    sizes = (p["frames"], 3, p["height"], p["width"])
    t, c, y, x = torch.meshgrid(*(torch.arange(size) for size in sizes), indexing="ij")
    levels = t * p["a"] + c * p["b"] + y * p["cy"] + x * p["cx"] + x * y // 7 * (c + 1) + p["off"]
    return (levels % 256).to(torch.uint8)


def desync(golden: Golden) -> Rows:
    heads = golden.sidecar["config"]
    config = SynchformerConfig.from_shapes(
        shapes_of(golden.weights), num_heads=heads["transformer_heads"], audio_heads=heads["ast_heads"]
    )
    network = Synchformer(config, device="meta")
    build(network, golden.weights)
    groups = {"mid": golden.tolerance("mel"), "out": golden.tolerance("audio_features and logits")}
    for case in golden.cases:
        sound = golden[f"{case}in.waveform_16k"]
        visual = golden[f"{case}in.visual_features"].flatten(1, 2)
        for name, mine in compared_sound(network, sound, visual).items():
            if golden.has(case + name):
                yield golden.compare(case + name, mine, groups.get(name.split(".")[0], (1e-6, 0.0)))
        offsets = network.offsets(visual, sound)
        scores = {"per_crop": offsets[0].abs(), "desync_of_this_pair": desync_score(offsets)[0]}
        for name, mine in scores.items():
            if name in golden.sidecar:
                yield golden.compare_values(name, mine, torch.tensor(golden.sidecar[name]), (1e-6, 0.0))


def compared_sound(network: Synchformer, sound: Tensor, visual: Tensor) -> dict[str, Tensor]:
    """sound: (1, samples) at 16 kHz. visual: (1, 8 s, d)."""
    audio = network.afeat_extractor(sound)
    mel = mel_spectrogram(audio_segments(sound)[0])
    return {
        "mid.mel_segment0": mel[:1],
        "mid.normalised_logmel_segment0_and_last": normalised_log_mel(mel)[[0, -1]],
        "out.audio_features": audio.unflatten(1, (-1, 6)),
        "out.logits_first14": network(visual[:, : 14 * 8], audio[:, : 14 * 6]),
        "out.logits_last14": network(visual[:, -14 * 8 :], audio[:, -14 * 6 :]),
        "extra.class_grid": class_grid(),
    }


# --- frames ------------------------------------------------------------------------------------------------


def preprocess(golden: Golden) -> Rows:
    for case in golden.cases:
        frame = golden[f"{case}in.image_hwc_uint8"].numpy()
        squashed = torch.from_numpy(resize_squashed(frame)).permute(2, 0, 1)
        cropped = resize_and_crop(frame)
        mine = {
            "out.siglip_resized_chw_uint8_stride4": squashed[:, 1::4, 1::4],
            "out.sync_resized_cropped_chw_uint8": cropped,
        }
        for name, values in {"siglip": normalise(squashed), "sync": normalise_crops(cropped)}.items():
            mine[f"out.{name}_norm_crop64"] = values[:, :64, :64]
            mine[f"out.{name}_norm_mean_std"] = torch.stack([values.mean((1, 2)), values.std((1, 2))])
        for name, values in mine.items():
            if golden.has(case + name):
                exact = values.dtype == torch.uint8
                yield golden.compare(
                    case + name, values, (0.0, 0.0) if exact else golden.tolerance("normalised")
                )


def frame_sampling(golden: Golden) -> Rows:
    longest = golden.sidecar["max_seconds"]
    for case in golden.sidecar["cases"]:
        numerator, denominator = case["time_base"]
        times = [float(pts) * numerator / denominator for pts in presentation_times(case)]
        visual, sync = (pick(times, rate, longest) for rate in (VISUAL_RATE, SYNC_RATE))
        timing = FoleyTiming.from_sync_frames(len(sync))
        mine = {
            "selected_8fps": visual, "count_8fps": len(visual),
            "selected_25fps": sync, "count_25fps": len(sync),
            "audio_seconds": timing.seconds, "latent_frames": timing.latent_frames,
            "sync_segments": timing.sync_segments, "output_samples": timing.samples,
        }  # fmt: skip
        for name, value in mine.items():
            if name in case:
                yield golden.equal(f"{case['label']}.{name}", value, case[name])


def presentation_times(case: Mapping[str, Any]) -> list[int]:
    if "pts" in case:
        return case["pts"]
    return [case["pts_start"] + i * case["pts_step"] for i in range(case["n_frames"])]


def pick(times: Sequence[float], rate: int, longest: float) -> list[int]:
    picker = FramePicker(rate, longest)
    return [i for i, time in enumerate(times) for _ in range(picker.take(time))]


RUNNERS: dict[str, Callable[[Golden], Rows]] = {
    "siglip_vision": siglip_vision,
    "clap_text": clap_text,
    "synchformer_visual": synchformer_visual,
    "desync": desync,
    "preprocess": preprocess,
    "frame_sampling": frame_sampling,
}
