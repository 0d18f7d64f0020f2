"""Stand-ins for a host's layers: ones that compute where their input is, and ones that wait for weights.

ComfyUI's layers cast what they own to the device and dtype of each input, and with dynamic memory a Linear or
an Embedding has no weight at all until a state dict is loaded.
"""

from copy import copy
from types import SimpleNamespace

from torch import nn

KINDS = (
    "Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d",
    "GroupNorm", "LayerNorm", "RMSNorm", "Embedding",
)  # fmt: skip


def _casting(kind: type[nn.Module]) -> type[nn.Module]:
    class Casting(kind):
        def forward(self, x):
            dtype = self.weight.dtype if isinstance(self, nn.Embedding) else x.dtype
            moved = copy(self)
            moved._parameters = {
                name: p if p is None else p.to(x.device, dtype) for name, p in self._parameters.items()
            }
            return kind.forward(moved, x)

    return Casting


class LazyLinear(nn.Linear):
    """No weight until one is loaded."""

    def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
        nn.Module.__init__(self)
        self.in_features, self.out_features = in_features, out_features
        self.weight = self.bias = None

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors):
        for name in ("weight", "bias"):
            if (tensor := state_dict.get(prefix + name)) is not None:
                setattr(self, name, nn.Parameter(tensor, requires_grad=False))


class LazyEmbedding(nn.Embedding):
    """No weight until one is loaded."""

    def __init__(self, num_embeddings, embedding_dim, device=None, dtype=None):
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = self.max_norm = None
        self.norm_type, self.scale_grad_by_freq, self.sparse = 2.0, False, False
        self.weight = None

    _load_from_state_dict = LazyLinear._load_from_state_dict


CASTING = SimpleNamespace(**{name: _casting(getattr(nn, name)) for name in KINDS})
LAZY = SimpleNamespace(
    **{name: getattr(nn, name) for name in KINDS} | {"Linear": LazyLinear, "Embedding": LazyEmbedding}
)
