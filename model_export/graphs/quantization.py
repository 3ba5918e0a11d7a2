"""Weights as int8: symmetric, one scale per output, rounded so that the errors of a row cancel on what the model reads.

Plain rounding makes each weight's error as small as it can be. What counts is the error of the sums: the inputs, h of
some units, are correlated, so a weight's rounding error can be made up for by the weights that come after it. That is
GPTQ (Frantar et al. 2023, after optimal brain surgeon, Hassibi & Stork 1993), with the covariance of the inputs as its
Hessian. What the sums are off on average after that is added to the bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.weights import Array

HIDDEN_STEPS = 127  # h is a multiple of 1/127
WEIGHT_LIMIT = 64  # 255 * 64 * 2 fits in the int16 in which CPUs without VNNI add pairs of products
CLIPPING = (1.0, 0.95, 0.9, 0.8, 0.6)  # shares of a row's largest weight that its scale is tried for
_DAMPING = 0.01  # of the mean variance: what was not seen to vary may vary a little
_BLOCK = 128  # inputs whose errors are passed on together; any number gives the same result, nearly

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a matrix is multiplied by, in steps of 1/127: mean [inputs] and covariance [inputs, inputs], float64."""

    mean: Float64
    covariance: Float64

    @classmethod
    def unknown(cls, width: int) -> Inputs:
        """Zero on average, all alike and independent: rounding to the nearest is the best then."""
        return cls(np.zeros(width), np.eye(width))


@dataclass(frozen=True, slots=True)
class QuantizedMatrix:
    """values: int8 [inputs, outputs] within +-64.  scale: float32 [outputs]; weight = value * scale, nearly.

    missing: float32 [outputs], by how much the products with h fall short on average; to be added to the bias.
    """

    values: NDArray[np.int8]
    scale: Array
    missing: Array

    @property
    def product_scale(self) -> Array:
        """What an int32 sum over quantized h is multiplied by: float32 [outputs]."""
        return (self.scale / np.float32(HIDDEN_STEPS)).astype(np.float32)


def quantize(weights: Array, inputs: Inputs) -> QuantizedMatrix:
    """Quantize [outputs, inputs]; a row of zeros stays zero.

    Clipping a row's few largest weights lets all others be rounded more finely. Each row takes the share of its largest
    weight that gives the least expected square of the products' error.
    """
    real = weights.astype(np.float64)
    spread = _Spread.of(inputs.covariance)
    largest = np.abs(real).max(axis=1)
    best = np.full(len(real), np.inf)
    scale, values = np.ones(len(real), np.float32), np.zeros(real.shape)
    for share in CLIPPING:
        candidate = np.maximum(largest * share / WEIGHT_LIMIT, np.finfo(np.float32).tiny).astype(np.float32)
        rounded = spread.round(real, candidate.astype(np.float64))
        missed = real - rounded * candidate[:, None]
        error = np.einsum("oi,oi->o", missed @ inputs.covariance, missed)
        better = error < best
        best, scale = np.where(better, error, best), np.where(better, candidate, scale)
        values = np.where(better[:, None], rounded, values)
    missing = (real - values * scale[:, None].astype(np.float64)) @ inputs.mean / HIDDEN_STEPS
    return QuantizedMatrix(np.ascontiguousarray(values.astype(np.int8).T), scale, missing.astype(np.float32))


@dataclass(frozen=True, slots=True)
class _Spread:
    """How the error of one input's weight is spread over the inputs that come after it.

    order: the inputs, those that vary most first.  factor: float64, upper triangular; the Cholesky factor of the
    inverse covariance in that order.
    """

    order: NDArray[np.int64]
    factor: Float64

    @classmethod
    def of(cls, covariance: Float64) -> _Spread:
        variances = np.diag(covariance)
        order = np.argsort(-variances, kind="stable")
        damped = covariance[np.ix_(order, order)] + np.eye(len(order)) * max(_DAMPING * variances.mean(), 1e-9)
        return cls(order, np.linalg.cholesky(np.linalg.inv(damped)).T)

    def round(self, weights: Float64, scale: Float64) -> Float64:
        """Whole numbers within +-64, float64 [outputs, inputs], for weights [outputs, inputs] at these scales."""
        left = np.ascontiguousarray(weights.T[self.order])  # by inputs: one input's weights lie together
        rounded = np.empty_like(left)
        count = len(left)
        for start in range(0, count, _BLOCK):
            end = min(start + _BLOCK, count)
            errors = np.empty((end - start, left.shape[1]))
            for place in range(start, end):
                values = np.clip(np.rint(left[place] / scale), -WEIGHT_LIMIT, WEIGHT_LIMIT)
                error = (left[place] - values * scale) / self.factor[place, place]
                left[place + 1 : end] -= np.outer(self.factor[place, place + 1 : end], error)
                rounded[place], errors[place - start] = values, error
            left[end:] -= self.factor[start:end, end:].T @ errors
        back = np.empty_like(rounded)
        back[self.order] = rounded
        return np.ascontiguousarray(back.T)
