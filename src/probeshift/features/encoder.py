"""The encoder half of a sparse autoencoder: residual stream [token, d_model] -> feature activations [token, feature].

    pre = normalised(x - b) @ W + c, and then one of
    relu       max(pre, 0)
    jumprelu   pre where pre > threshold, else 0: the threshold decides and is not taken off
    topk       the k largest of each token, if above 0
    batchtopk  the k * tokens largest of all tokens given at once, if above 0 (with a stored threshold it is jumprelu)

Always in float32: 16-bit rounding flips features near their threshold. Sources: Rajamanoharan et al. 2024 (JumpReLU); Gao et
al. 2024 (TopK); Bussmann et al. 2024 (BatchTopK).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["relu", "jumprelu", "topk", "batchtopk"]
KINDS: tuple[Kind, ...] = ("relu", "jumprelu", "topk", "batchtopk")
NORMALISATIONS = ("none", "constant_norm_rescale", "layer_norm")
BLOCK = 8192  # features computed at once
_EPS = 1e-5  # beside the standard deviation, as layer_norm encoders were trained with


@dataclass(frozen=True)
class SparseEncoder:
    """Weights of one encoder, float32. `fingerprint` is the hash of its file.

    `weights` is [d_model, feature], `biases` [feature], `input_bias` [d_model] is taken off the input (after it was normalised);
    `thresholds` [feature] or one number for jumprelu. `decoder` [feature, d_model] and `output_bias` [d_model] serve to check
    the fit. `l0` is the number of active features per token its maker states, None where unsaid; `layer` the 0-based block whose
    output it reads.
    """

    name: str
    kind: Kind
    weights: Tensor
    biases: Tensor
    input_bias: Tensor
    decoder: Tensor
    output_bias: Tensor
    fingerprint: str
    thresholds: Tensor | None = None
    k: int | None = None
    normalisation: str = "none"
    l0: float | None = None
    layer: int | None = None

    @property
    def d_model(self) -> int:
        return self.weights.shape[0]

    @property
    def n_features(self) -> int:
        return self.weights.shape[1]

    def encode(self, states: Tensor) -> Tensor:
        """All activations [token, feature] of the given tokens."""
        return torch.cat([acts for _, acts in self.blocks(states)], dim=1)

    def blocks(self, states: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Activations in blocks of features, so that a wide encoder never makes [token, feature] at once; topk must."""
        inputs = self._inputs(states)
        if self.kind in ("topk", "batchtopk"):
            yield slice(0, self.n_features), self._largest(inputs @ self.weights + self.biases)
            return
        for start in range(0, self.n_features, BLOCK):
            part = slice(start, min(start + BLOCK, self.n_features))
            pre = inputs @ self.weights[:, part] + self.biases[part]
            yield part, self._active(pre, part)

    def decode(self, acts: Tensor, part: slice = slice(None)) -> Tensor:
        """What a block of features adds to the reconstruction of the normalised input, without the output bias."""
        return acts @ self.decoder[part]

    def normalised(self, states: Tensor) -> Tensor:
        """Activations in float32 as the encoder was trained to see them."""
        states = states.to(self.weights.device, torch.float32)
        if self.normalisation == "constant_norm_rescale":
            return states * (self.d_model**0.5 / states.norm(dim=-1, keepdim=True))
        if self.normalisation == "layer_norm":
            centred = states - states.mean(dim=-1, keepdim=True)
            return centred / (centred.std(dim=-1, keepdim=True) + _EPS)
        return states

    def _inputs(self, states: Tensor) -> Tensor:
        return self.normalised(states) - self.input_bias

    def _active(self, pre: Tensor, part: slice) -> Tensor:
        if self.kind == "relu" or self.thresholds is None:
            return pre.clamp_min(0.0)
        return torch.where(pre > self.thresholds[part], pre, 0.0)

    def _largest(self, pre: Tensor) -> Tensor:
        assert self.k is not None
        k = min(self.k, self.n_features)
        flat = pre if self.kind == "topk" else pre.flatten()[None]
        values, places = torch.topk(flat, k if self.kind == "topk" else k * len(pre), dim=-1, sorted=False)
        return torch.zeros_like(flat).scatter_(-1, places, values.clamp_min(0.0)).reshape(pre.shape)
