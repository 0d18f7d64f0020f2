"""Re-save a checkpoint as safetensors, which opens faster and can hold nothing but tensors, or as GGUF.

    python tools/convert.py IN OUT.safetensors [--dtype DTYPE]
    python tools/convert.py IN OUT.gguf [--packing Q8_0|Q6_K|Q4_K]

Reads whatever the loaders read, one tensor at a time. Names, shapes and the arguments a file states about
itself are kept; the metadata says which file the tensors came from. OUT appears complete or not at all.
GGUF is for Foley's transformer alone: what may be narrow is packed, all else keeps 16 bits, vectors 32.
"""

import argparse
import json
import logging
import sys
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

import _pack  # noqa: F401 - makes hunyuan_av importable
from hunyuan_av.hunyuan.layers.packing import PACKINGS, Packing
from hunyuan_av.hunyuan.media.files import digest, replacing
from hunyuan_av.model_loaders.checkpoint import Checkpoint, open_checkpoint
from hunyuan_av.model_loaders.dtypes import FLOAT8, WEIGHT_DTYPES, cast
from hunyuan_av.model_loaders.foley_packed import open_transformer, packable_layers
from hunyuan_av.model_loaders.gguf_file import write_gguf
from hunyuan_av.model_loaders.kinds import identify
from hunyuan_av.model_loaders.safetensors_file import write_safetensors

logger = logging.getLogger(__name__)

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in WEIGHT_DTYPES}
PACKINGS_WRITTEN = ("Q8_0", "Q6_K", "Q4_K")


def convert(source: Path, target: Path, dtype: torch.dtype | None = None) -> Checkpoint:
    """Write the tensors of `source` to `target`, and return the new file, opened.

    dtype:  of floating-point tensors; None keeps theirs. With an 8-bit dtype, biases and the scales of norms
            become bfloat16: they are few, and too coarse in 8 bits.
    Raises: ValueError if both are the same file, or a value lies outside the dtype; OSError.
    """
    checkpoint = open_checkpoint(source)
    if target.exists() and target.samefile(source):
        raise ValueError(f"{target} is the input itself. Give another name.")

    with replacing(target) as part:
        write_safetensors(
            part,
            checkpoint.shapes,
            {name: new_dtype(checkpoint, name, dtype) for name in checkpoint},
            read=lambda name: new_tensor(checkpoint, name, dtype),
            metadata=new_metadata(checkpoint),
        )
    return open_checkpoint(target)


def convert_gguf(source: Path, target: Path, packing: str = PACKINGS_WRITTEN[0]) -> Checkpoint:
    """Write a Foley transformer to a GGUF file, and return it, opened.

    packing: of the layers that may be narrow; what does not fit it keeps 16 bits, and is said.
    Raises:  ValueError for another network, for one file as both, for a value outside float16; OSError.
    """
    transformer, checkpoint = open_transformer(source)
    if target.exists() and target.samefile(source):
        raise ValueError(f"{target} is the input itself. Give another name.")
    narrow = {f"{name}.weight" for name in packable_layers(transformer)}
    forms = {name: new_form(checkpoint, name, PACKINGS[packing], narrow) for name in checkpoint}

    def read(name: str) -> Tensor:
        form = forms[name]
        tensor = checkpoint[name]
        if isinstance(form, Packing):
            return tensor
        return cast(tensor, form, f"{name} of {checkpoint.path.name}")

    with replacing(target) as part:
        write_gguf(part, checkpoint.shapes, forms, read, metadata=new_metadata(checkpoint))
    return open_checkpoint(target)


def new_form(
    checkpoint: Checkpoint, name: str, packing: Packing, narrow: Collection[str]
) -> Packing | torch.dtype:
    shape, stored = checkpoint.shapes[name], checkpoint.dtypes[name]
    if name in narrow and packing.fits(shape):
        return packing
    if sum(size > 1 for size in shape) < 2:
        return torch.float32
    kept = torch.bfloat16 if stored in (torch.bfloat16, *FLOAT8) else torch.float16
    if name in narrow:
        logger.warning(
            "%s of shape %s is no whole number of %s blocks: it keeps 16 bits.", name, shape, packing.name
        )
    return kept


def new_dtype(checkpoint: Checkpoint, name: str, asked: torch.dtype | None) -> torch.dtype:
    stored = checkpoint.dtypes[name]
    if asked is None or not stored.is_floating_point:
        return stored
    is_vector = sum(size > 1 for size in checkpoint.shapes[name]) < 2
    return torch.bfloat16 if asked in FLOAT8 and is_vector else asked


def new_tensor(checkpoint: Checkpoint, name: str, asked: torch.dtype | None) -> Tensor:
    tensor, dtype = checkpoint[name], new_dtype(checkpoint, name, asked)
    return tensor if tensor.dtype == dtype else cast(tensor, dtype, f"{name} of {checkpoint.path.name}")


def new_metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """What the file says about itself as far as it is text, its arguments as JSON, and where it came from."""
    kept = {name: value for name, value in checkpoint.metadata.items() if isinstance(value, str)}
    stated = {"config": json.dumps(checkpoint.config)} if checkpoint.config else {}
    origin = {"format": "pt", "source": checkpoint.path.name, "source_sha256": digest(checkpoint.path)}
    return kept | stated | origin


def run(arguments: argparse.Namespace) -> Checkpoint:
    is_gguf = arguments.target.suffix == ".gguf"
    wrong = arguments.dtype if is_gguf else arguments.packing
    if wrong is not None:
        raise ValueError(
            f"{wrong} is not for {arguments.target.name}: --packing is of .gguf files, --dtype of all others."
        )
    if is_gguf:
        return convert_gguf(arguments.source, arguments.target, arguments.packing or PACKINGS_WRITTEN[0])
    return convert(arguments.source, arguments.target, DTYPES.get(arguments.dtype))


def main() -> int:
    parser = argparse.ArgumentParser(description="Re-save a checkpoint as safetensors or GGUF.")
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT")
    parser.add_argument(
        "--dtype", choices=DTYPES, help="of floating-point tensors; they keep theirs without it"
    )
    parser.add_argument("--packing", choices=PACKINGS_WRITTEN, help="of a .gguf file (default: Q8_0)")
    arguments = parser.parse_args()
    try:
        written = run(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = written.path.stat().st_size
    print(f"{written.path}: {identify(written).what}, {len(written)} tensors, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
