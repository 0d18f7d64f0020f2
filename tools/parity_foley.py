"""One runner for each kind of Foley golden: the recorded inputs through this project, row by row."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from golden import Golden, Row, Rows, build, recording, relative_l2, shapes_of
from hunyuan_av.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig, fold_weight_norm
from hunyuan_av.hunyuan.foley.config import FoleyConfig
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer
from hunyuan_av.hunyuan.foley.velocity import FoleyPrompt, GuidedVelocity
from hunyuan_av.hunyuan.layers.embeddings import nearest_exact
from hunyuan_av.hunyuan.sampling.denoise import denoise
from hunyuan_av.hunyuan.sampling.guidance import GuidanceScales
from hunyuan_av.hunyuan.sampling.schedule import TIME_SCALE, flow_sigmas
from hunyuan_av.hunyuan.sampling.solvers import Solver, euler, heun, midpoint, rk4


def build_transformer(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> FoleyTransformer:
    """From the shapes alone, as the loader does, and checked against the sidecar's configuration."""
    found = FoleyConfig.from_shapes(shapes_of(weights))
    stated = (
        config["hidden_size"],
        config["num_heads"],
        config["depth_triple_blocks"],
        config["depth_single_blocks"],
    )
    if stated != (found.hidden_size, found.num_heads, found.joint_depth, found.audio_depth):
        raise ValueError(f"The shapes say {found}, the sidecar {stated}.")
    network = FoleyTransformer(found, device="meta")
    build(network, weights)
    return network


# --- transformer -------------------------------------------------------------------------------------------


def mmdit(golden: Golden) -> Rows:
    transformer = build_transformer(golden.weights, golden.sidecar["config"])
    tolerance = golden.tolerance("out.x")
    for case in golden.cases:
        middle = record(transformer, golden, case)
        for name in golden.names:
            if name.startswith(f"{case}mid.") or name == f"{case}out.x":
                yield golden.compare(name, middle[name.removeprefix(case)], tolerance)
    yield from half_precision(golden, transformer)


def record(transformer: FoleyTransformer, golden: Golden, case: str) -> dict[str, Tensor]:
    """Every intermediate of one forward pass, under the goldens' names."""
    middle: dict[str, Tensor] = {}
    modules = {
        "mid.time_vec": transformer.time_in,
        "mid.cond_emb": transformer.cond_in,
        "mid.visual_emb": transformer.visual_proj,
        "mid.sync_emb": transformer.sync_in,
        "mid.audio_emb": transformer.audio_embedder,
        "mid.final_layer": transformer.final_layer,
        **{f"mid.single{i}.audio": block for i, block in enumerate(transformer.single_blocks)},
    }
    hooks = [
        block.register_forward_hook(both_streams(middle, i), with_kwargs=True)
        for i, block in enumerate(transformer.joint_blocks)
    ]
    with recording(modules, middle):
        middle["out.x"] = velocity(transformer, golden, case)
    for hook in hooks:
        hook.remove()
    return middle


def both_streams(middle: dict[str, Tensor], i: int) -> Callable:
    """The last joint block leaves its visual stream out; the goldens have it, so it is asked for again."""

    def hook(block: nn.Module, inputs: tuple, _options: dict, out: tuple[Tensor, Tensor | None]) -> None:
        audio, visual = out if out[1] is not None else block.forward(*inputs, audio_only=False)
        middle[f"mid.triple{i}.audio"], middle[f"mid.triple{i}.v_cond"] = out[0], visual
        if not torch.allclose(audio, out[0], atol=1e-5):
            raise ValueError(f"Joint block {i} gives another audio stream when it leaves the visual one out.")

    return hook


def velocity(
    transformer: FoleyTransformer, golden: Golden, case: str, dtype: torch.dtype = torch.float32
) -> Tensor:
    x, text, visual, sync = (golden[f"{case}in.{name}"] for name in ("x", "cond", "clip_feat", "sync_feat"))
    conditions = transformer.prepare(text.to(dtype), visual, sync)
    return transformer(x.to(dtype), golden[f"{case}in.t"], conditions).float()


def half_precision(golden: Golden, transformer: FoleyTransformer) -> Rows:
    """The bf16 run: its distance to the float32 output, beside that of the published mixed precision."""
    figures = golden.sidecar.get("bf16", {}).get("relative_l2_vs_fp32", [])
    for case, figure in zip(golden.cases, figures, strict=False):
        name = f"{case}extra.x_bf16_autocast"
        if golden.has(name):
            transformer.to(torch.bfloat16)
            golden.seen.add(name)
            distance = relative_l2(
                velocity(transformer, golden, case, torch.bfloat16), golden[f"{case}out.x"]
            )
            note = f"relative L2 to float32; the published run has {figure:.4g}"
            yield golden.row(
                name, distance, f"{3 * figure:.3g}", passed=distance < 3 * figure, info=True, note=note
            )


# --- sampling ----------------------------------------------------------------------------------------------

FIELDS = {"vA": lambda x, _sigma: -x, "vB": lambda x, sigma: -x * sigma + 0.25}
PUBLISHED_NAMES: dict[str, Solver] = {"euler": euler, "heun-2": heun, "midpoint-2": midpoint}


def scheduler(golden: Golden) -> Rows:
    atol, rtol = golden.tolerance("schedules")
    for name in golden.names:
        if match := re.fullmatch(r"(.+)\.steps(\d+)\.(sigmas|timesteps)", name):
            sigmas = published_sigmas(match[1], int(match[2]), golden)
            values = sigmas if match[3] == "sigmas" else sigmas[:-1] * TIME_SCALE
            scale = 1 if match[3] == "sigmas" else TIME_SCALE
            yield golden.compare(name, values, (scale * atol, rtol))
        elif match := re.fullmatch(r"traj\.out\.(\w+)\.(v[AB])(?:\.([\w-]+))?\.states", name):
            yield trajectory(golden, name, *match.groups())


def published_sigmas(who: str, steps: int, golden: Golden) -> Tensor:
    """The schedule of a solver, or one of the published options that no released configuration uses."""
    if who == "not_reversed":
        return 1 - flow_sigmas(steps)
    if who == "flux_shift":
        mu = 0.5 + (golden.sidecar["other"]["flux_n_tokens"] - 256) * (1.15 - 0.5) / 3840
        e_mu, sigmas = torch.tensor(mu).exp(), flow_sigmas(steps)
        return e_mu / (e_mu + 1 / sigmas - 1)
    return flow_sigmas(steps, shift=float(who.removeprefix("shift")) if who.startswith("shift") else 1.0)


def trajectory(golden: Golden, name: str, mode: str, field: str, who: str | None) -> Row:
    """Our solver over the recorded field. What the published program gets wrong is shown, not demanded."""
    solver = PUBLISHED_NAMES.get(who or "", rk4)
    steps = golden.sidecar["trajectory"]["steps"]
    x = golden["traj.in.x0"]
    states = torch.stack([x, *denoise(FIELDS[field], x, flow_sigmas(steps), solver)])
    defect = (mode == "literal_loop" and who != "euler") or (mode == "full_integration" and who == "kutta-4")
    return golden.compare(name, states, golden.tolerance("trajectories"), info=defect)


def end_to_end(golden: Golden) -> Rows:
    """The whole loop: features and initial latents to final latents to sound."""
    transformer = build_transformer(part(golden.weights, "foley."), golden.sidecar["config"])
    vae = build_audio_vae(part(golden.weights, "dac."), golden.sidecar["dac_config"])
    latents_tolerance, audio_tolerance = golden.tolerance("final_latents"), golden.tolerance("audio")
    for case, settings in zip(golden.cases, golden.sidecar["cases"], strict=True):
        seen, predictions, latents = sample(transformer, golden, case, settings)
        outputs = {
            "mid.model_input_states": (torch.stack(seen), latents_tolerance),
            "mid.first_prediction": (predictions[0], latents_tolerance),
            "out.final_latents": (latents, latents_tolerance),
            "out.audio": (vae.decode(latents), audio_tolerance),
        }
        for name, (mine, tolerance) in outputs.items():
            if golden.has(case + name):
                yield golden.compare(case + name, mine, tolerance)


def sample(
    transformer: FoleyTransformer, golden: Golden, case: str, settings: Mapping[str, Any]
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Every state the model was shown, every prediction it made, and the final latents."""
    prompt = FoleyPrompt(
        positive=golden[f"{case}in.text_feat"],
        negative=golden[f"{case}in.uncond_text_feat"],
        visual=golden[f"{case}in.siglip2_feat"],
        sync=golden[f"{case}in.syncformer_feat"],
    )
    latents, seen, predictions = golden[f"{case}in.initial_latents"], [], []

    def watch(_module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        seen.append(inputs[0][-latents.shape[0] :])  # the conditional rows come last
        predictions.append(out)

    hook = transformer.register_forward_hook(watch)
    velocity = GuidedVelocity(transformer, prompt, GuidanceScales.all(settings["cfg"]))
    *_, final = denoise(velocity, latents, flow_sigmas(settings["steps"]))
    hook.remove()
    return seen, predictions, final


def part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


# --- audio autoencoder -------------------------------------------------------------------------------------


def dac_vae(golden: Golden) -> Rows:
    vae = build_audio_vae(golden.weights, golden.sidecar["config"])
    tolerances = {"audio": golden.tolerance("audio"), "decoded_mean": golden.tolerance("audio")}
    for case in golden.cases:
        for name, mine in run_vae(vae, golden, case).items():
            if golden.has(case + name):
                exact = name == "mid.padded_audio"
                tolerance = tolerances.get(name.removeprefix("out."), golden.tolerance("moments"))
                yield golden.compare(case + name, mine, (0.0, 0.0) if exact else tolerance)


def run_vae(vae: AudioVAE, golden: Golden, case: str) -> dict[str, Tensor]:
    """Encoded and decoded, or decoded only, with what the goldens show of the way."""
    if not golden.has(f"{case}in.audio"):
        middle: dict[str, Tensor] = {}
        blocks = vae.decoder.model
        modules = {"mid.after_decoder_input_conv": blocks[0], "mid.after_decoder_block1": blocks[1]}
        with recording(modules, middle):
            middle["out.audio"] = vae.decode(golden[f"{case}in.latents"])
        return middle

    padded: list[Tensor] = []
    hook = vae.encoder.register_forward_pre_hook(lambda _m, inputs: padded.append(inputs[0]))
    posterior = vae.encode(golden[f"{case}in.audio"])
    hook.remove()
    return {
        "mid.padded_audio": padded[0],
        "out.moments": posterior.moments,
        "out.mean": posterior.mean,
        "out.logvar": posterior.logvar,
        "out.std": posterior.std,
        "out.decoded_mean": vae.decode(posterior.mode),
    }


def build_audio_vae(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> AudioVAE:
    vae = AudioVAE(AudioVAEConfig.from_kwargs(config), part="both", device="meta")
    build(vae, fold_weight_norm(weights))
    return vae


# --- indexes -----------------------------------------------------------------------------------------------


def nearest_exact_indexes(golden: Golden) -> Rows:
    for pair in golden.sidecar["pairs"]:
        source, target = pair["src_len"], pair["dst_len"]
        yield golden.equal(f"{source}->{target}", nearest_exact(source, target).tolist(), pair["index"])


RUNNERS: dict[str, Callable[[Golden], Rows]] = {
    "mmdit": mmdit,
    "scheduler": scheduler,
    "end_to_end": end_to_end,
    "dac_vae": dac_vae,
    "nearest_exact": nearest_exact_indexes,
}
