"""Weight norm of the published audio autoencoder, folded into plain weights when it is loaded.

A file holds a length g and a direction v for every convolution inside the encoder and the decoder; the
network has w = g v / ||v||, the norm over all dimensions but the first: the output channel of a convolution,
but the input channel of a transposed one.
"""

from collections.abc import Container, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

FORMS = (  # endings of a length and its direction: torch's older weight norm and its newer one
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)
ENDINGS = tuple(ending for form in FORMS for ending in form)


def fold_weight_norm(
    tensors: Mapping[str, Tensor], wanted: Container[str] | None = None
) -> dict[str, Tensor]:
    """The tensors of a file under the network's names, with every length and direction made one weight.

    tensors: either form of weight norm, already folded weights, or a mixture. A mapping that reads its file
             on demand is asked for each tensor once.
    wanted:  folded names to return; the others are not read. All of them when None.
    Returns: folded weights are computed in float32 and keep the dtype of their direction.
    Raises:  ValueError if a direction has no length.
    """
    return {
        name: _fold(*(tensors[part] for part in parts)) if len(parts) == 2 else tensors[name]
        for name, parts in _parts(tensors).items()
        if wanted is None or name in wanted
    }


def fused_shapes(shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """The shapes that `fold_weight_norm` would give, without reading a tensor."""
    return {name: tuple(shapes[parts[-1]]) for name, parts in _parts(shapes).items()}


def published_shapes(vae: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an `AudioVAE` as the published file has them: with the older weight norm."""
    shapes = {}
    for name, tensor in vae.state_dict().items():
        shape = tuple(tensor.shape)
        if name.startswith(("encoder.", "decoder.")) and name.endswith(".weight"):
            shapes[f"{name}_g"] = (shape[0], *(1 for _ in shape[1:]))
            shapes[f"{name}_v"] = shape
        else:
            shapes[name] = shape
    return shapes


def _parts(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """By folded name, the name or the (length, direction) names of what it is made from."""
    present = set(names)
    parts: dict[str, tuple[str, ...]] = {}
    for name in names:
        for length, direction in FORMS:
            if name.endswith(direction):
                layer = name.removesuffix(direction)
                parts[f"{layer}.weight"] = (f"{layer}{length}", name)
        if not name.endswith(ENDINGS):
            parts[name] = (name,)
    for made_from in parts.values():
        if missing := set(made_from) - present:
            raise ValueError(
                f"Incomplete weight norm: {made_from[-1]} has no {missing.pop()} beside it. "
                "Download the file again."
            )
    return parts


def _fold(length: Tensor, direction: Tensor) -> Tensor:
    v = direction.float()
    norm = torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True)
    return (v * (length.float() / norm)).to(direction.dtype)
