"""Merge a LoRA into a Foley transformer's checkpoint.

    python tools/merge_lora.py CHECKPOINT LORA OUT [--strength 1.0]

Reads and writes one tensor at a time; names, shapes and dtypes stay. OUT appears complete or not at all.
"""

import argparse
import sys
from pathlib import Path

import _pack  # noqa: F401 - makes hunyuan_av importable
from convert import new_metadata
from hunyuan_av.hunyuan.media.files import replacing
from hunyuan_av.model_loaders.checkpoint import open_checkpoint
from hunyuan_av.model_loaders.kinds import FOLEY_TRANSFORMER
from hunyuan_av.model_loaders.lora import added, read_lora
from hunyuan_av.model_loaders.safetensors_file import write_safetensors
from hunyuan_av.model_loaders.strict import require


def merge(source: Path, lora: Path, target: Path, strength: float = 1.0) -> int:
    """Write `source` with the LoRA added. Returns to how many tensors something was added.

    Raises: ValueError if the LoRA does not fit, `source` is no Foley transformer or `target` is an input;
            OSError.
    """
    checkpoint = open_checkpoint(source)
    require(checkpoint, FOLEY_TRANSFORMER)
    if target.exists() and (target.samefile(source) or target.samefile(lora)):
        raise ValueError(f"{target} is one of the inputs. Give another name.")
    additions = read_lora(lora, checkpoint.shapes)

    def read(name: str):
        weight = checkpoint[name]
        return added(weight, additions[name], strength) if name in additions else weight

    stated = new_metadata(checkpoint) | {"lora": lora.name, "lora_strength": f"{strength:g}"}
    with replacing(target) as part:
        write_safetensors(part, checkpoint.shapes, checkpoint.dtypes, read=read, metadata=stated)
    return len(additions)


def main() -> int:
    parser = argparse.ArgumentParser(description="Merge a LoRA into a Foley transformer's checkpoint.")
    parser.add_argument("source", type=Path, metavar="CHECKPOINT")
    parser.add_argument("lora", type=Path, metavar="LORA")
    parser.add_argument("target", type=Path, metavar="OUT")
    parser.add_argument("--strength", type=float, default=1.0)
    args = parser.parse_args()
    try:
        count = merge(args.source, args.lora, args.target, args.strength)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.target}: {count} tensors changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
