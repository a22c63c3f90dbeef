"""Median over the images of a stack, fast: a sorting network over whole images.

``numpy.nanmedian`` along the first axis gathers the values of each pixel one by one; here the
images are compared with each other pairwise, which is 5 to 10 times faster for up to about 100
images.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["robust_variance", "stack_median"]

# pixels sorted at a time: more would leave the cache, fewer cost more calls (measured)
_BLOCK = 16384
# 1 / (75 % quantile of the normal distribution)
_MAD_TO_SIGMA = 1.4826022


def stack_median(stack: NDArray) -> NDArray:
    """Return the median over axis 0, leaving out what is not finite.

    Parameters
    ----------
    stack : ndarray of float, shape (n, ...)

    Returns
    -------
    ndarray, shape (...)
        In the type of `stack`, the same numbers as ``numpy.nanmedian``; NaN where no value is
        finite.
    """
    n = len(stack)
    flat = np.ascontiguousarray(stack).reshape(n, -1)
    median = np.empty(flat.shape[1], flat.dtype)
    for start in range(0, flat.shape[1], _BLOCK):
        block = flat[:, start : start + _BLOCK].copy()
        bad = ~np.isfinite(block)
        part = slice(start, start + block.shape[1])
        if not bad.any():
            _compare(block, _median_network(n))
            median[part] = _middle(block[(n - 1) // 2], block[n // 2])
            continue
        # the bad ones go to the end, each pixel having its own number of good ones
        block[bad] = np.inf
        _compare(block, _network(n))
        count = n - np.count_nonzero(bad, axis=0)
        column = np.arange(block.shape[1])
        lower = block[np.maximum(count - 1, 0) // 2, column]
        upper = block[np.minimum(count // 2, n - 1), column]
        median[part] = np.where(count > 0, _middle(lower, upper), np.nan)
    return median.reshape(stack.shape[1:])


def robust_variance(residuals: NDArray) -> NDArray[np.float64]:
    """Return the variance over axis 0 from the median of the absolute residuals.

    Parameters
    ----------
    residuals : ndarray of float, shape (n, ...)
        Deviations from the median over axis 0; what is not finite is left out.

    Returns
    -------
    ndarray of float64, shape (...)
        Its mean over many pixels is the variance of normal noise, for any n (>= 3).
    """
    deviation = stack_median(np.abs(residuals)).astype(np.float64)
    return deviation**2 * (_MAD_TO_SIGMA**2 / _bias(min(len(residuals), 128)))


@lru_cache
def _bias(n: int) -> float:
    """Return the mean of the squared, scaled median deviation of n normal values of variance 1."""
    # by simulation: no closed form is known for small n; 40000 samples give it to 0.5 %
    values = np.random.default_rng(n).standard_normal((n, 40_000))
    # in parts: the copies of all of them together would be larger than many an exposure
    parts = (values[:, start : start + 4000] for start in range(0, values.shape[1], 4000))
    deviation = np.concatenate([stack_median(np.abs(part - stack_median(part))) for part in parts])
    return float(np.mean(deviation**2) * _MAD_TO_SIGMA**2)


def _middle(lower: NDArray, upper: NDArray) -> NDArray:
    return (lower + upper) / lower.dtype.type(2)


def _compare(block: NDArray, network: tuple[tuple[int, int], ...]) -> None:
    smaller = np.empty(block.shape[1], block.dtype)
    for low, high in network:
        np.minimum(block[low], block[high], out=smaller)
        np.maximum(block[low], block[high], out=block[high])
        block[low] = smaller


@lru_cache
def _network(n: int) -> tuple[tuple[int, int], ...]:
    """Return the comparisons that sort n values: Batcher (1968), doi:10.1145/1468075.1468121."""
    pairs = []
    span = 1
    while span < n:
        step = span
        while step:
            for first in range(step % span, n - step, 2 * step):
                for low in range(first, min(first + step, n - step)):
                    if low // (2 * span) == (low + step) // (2 * span):
                        pairs.append((low, low + step))
            step //= 2
        span *= 2
    return tuple(pairs)


@lru_cache
def _median_network(n: int) -> tuple[tuple[int, int], ...]:
    """Return those comparisons on which the middle values depend."""
    needed = {(n - 1) // 2, n // 2}
    pairs = []
    for pair in reversed(_network(n)):
        if needed.intersection(pair):
            needed.update(pair)
            pairs.append(pair)
    return tuple(reversed(pairs))
