"""Weights as int8: symmetric, one scale per output, chosen for the least squared error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.weights import Array

HIDDEN_STEPS = 127  # h is a multiple of 1/127
WEIGHT_LIMIT = 64  # 255 * 64 * 2 fits in the int16 in which CPUs without VNNI add pairs of products
CLIPPING = tuple(float(share) for share in np.linspace(1.0, 0.6, 21))


@dataclass(frozen=True, slots=True)
class QuantizedMatrix:
    """values: int8 [inputs, outputs] within +-64.  scale: float32 [outputs]; weight = value * scale, nearly."""

    values: NDArray[np.int8]
    scale: Array

    @property
    def product_scale(self) -> Array:
        """What an int32 sum over quantized h is multiplied by: float32 [outputs]."""
        return (self.scale / np.float32(HIDDEN_STEPS)).astype(np.float32)


def quantize(weights: Array) -> QuantizedMatrix:
    """Quantize [outputs, inputs]; a row of zeros stays zero.

    Clipping a row's few largest weights lets all others be rounded more finely. Each row takes the share of its largest
    weight that gives the least squared error; over plain rounding it halves what int8 costs in bits per byte.
    """
    largest = np.abs(weights).max(axis=1).astype(np.float64)
    best = np.full(len(weights), np.inf)
    scale = np.ones(len(weights), np.float32)
    for share in CLIPPING:
        candidate = np.maximum(largest * share / WEIGHT_LIMIT, np.finfo(np.float32).tiny).astype(np.float32)
        error = ((_round(weights, candidate) * candidate[:, None] - weights.astype(np.float64)) ** 2).sum(axis=1)
        better = error < best
        best, scale = np.where(better, error, best), np.where(better, candidate, scale)
    return QuantizedMatrix(np.ascontiguousarray(_round(weights, scale).astype(np.int8).T), scale)


def _round(weights: Array, scale: Array) -> NDArray[np.float64]:
    return np.clip(np.rint(weights / scale[:, None].astype(np.float64)), -WEIGHT_LIMIT, WEIGHT_LIMIT)
