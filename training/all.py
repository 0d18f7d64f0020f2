"""Everything, from seeds to the files that are shipped; what is done already is not done again.

    python -m hunyuan_av.training.all --out DIR [--steps-scale X] [--seed S] [--device D]

DIR gets "clips" (rendered), "features" (cached), "generated" (latents for the decoder), "runs" (one folder
per network) and "pocket" (what is shipped).
"""

import argparse
from dataclasses import replace
from pathlib import Path

from ..model_loaders.foley import load_audio_vae
from ..model_loaders.foley_folder import find_foley
from . import audio_teacher, audio_vae, clips, decoder, features, generated, synchformer, towers, transformer
from .export import export
from .loop import Plan

RENDERED, CACHED, HELD_OUT = 1000, 6000, 60  # clips


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and write all pocket networks.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps-scale", type=float, default=1.0, help="of all numbers of steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    def planned(plan: Plan) -> Plan:
        steps = max(1, round(plan.steps * args.steps_scale))
        return replace(plan, steps=steps, seed=args.seed, device=args.device)

    names = "clips", "features", "generated", "runs", "pocket"
    rendered, cached, made, runs, pocket = (args.out / name for name in names)
    clips.render(rendered, "train", 0, RENDERED)
    found = clips.Clips(rendered)
    audio_vae.train(runs / "audio_vae", found, planned(audio_vae.PLAN), planned(audio_vae.OUTLINE_PLAN).steps)
    synchformer.train(
        runs / "synchformer", found, planned(synchformer.PLAN), planned(synchformer.OFFSET_PLAN).steps
    )
    towers.train(runs / "towers", found, planned(towers.VISION_PLAN), planned(towers.TEXT_PLAN).steps)
    audio_teacher.training(runs / "audio_teacher", found, planned(audio_teacher.PLAN)).run()

    encoders = features.Encoders.trained(runs, found, args.device)
    features.build(cached, encoders, "train", 0, CACHED, tuple(features.PARTS))
    features.build(cached, encoders, "held-out", 0, HELD_OUT, tuple(features.PARTS))
    seen = features.Features(cached, encoders.text.cpu(), device=args.device)
    transformer.training(runs / "transformer", seen, planned(transformer.PLAN)).run()
    export(runs, rendered, pocket)

    network = transformer.trained(runs / "transformer").to(args.device)
    generated.build(made, network, seen, 0, generated.CLIPS)
    vae = load_audio_vae(find_foley(pocket).audio_vae, part="both")
    decoder.training(runs / "decoder", decoder.Generated(made), planned(decoder.PLAN), vae).run()
    export(runs, rendered, pocket)


if __name__ == "__main__":
    main()
