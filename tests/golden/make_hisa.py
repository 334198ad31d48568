#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes hisa.json: what HISA selects on random operands, computed with NumPy, step by step as the
method is defined (arXiv 2603.28458, docs/numerics.md): every block is scored, means of incomplete
blocks included, and only then are the first and the last one forced.

Operands are multiples of 1/8 of a generator that the tests repeat. In float32 all sums are exact,
so that the sets are the same whatever the order of a sum; in FP8 they are not.
"""
import json
import sys

import numpy as np

HEADS, WIDTH, BLOCK, BLOCKS, TOP_K = 4, 32, 16, 5, 24
# First position and number of queries of each sequence: below and above BLOCK * BLOCKS candidates,
# with complete and with incomplete last blocks.
QUERIES = [(24, 20), (70, 40), (150, 33), (24, 1), (301, 7)]
f32 = np.float32


class Eighths:
    """Multiples of 1/8 in [-1, 1] from a linear congruential generator."""

    def __init__(self, seed):
        self.state = seed

    def take(self, *shape):
        values = np.empty(int(np.prod(shape)), f32)
        for i in range(values.size):
            self.state = (self.state * 1664525 + 1013904223) % 2**32
            values[i] = (self.state >> 16) % 17 / 8 - 1
        return values.reshape(shape)


def to_bf16(x):
    bits = np.asarray(x, f32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(f32)


def to_e4m3(x):
    """The nearest e4m3 value, ties to even, saturating at 448."""
    x = np.clip(np.asarray(x, f32), -448, 448)
    exponent = np.frexp(x)[1]
    step = np.ldexp(f32(1), np.maximum(exponent - 4, -9)).astype(f32)
    return (np.round(x / step) * step).astype(f32)


def deployed(x):
    """Rows as engines have them: bf16, Hadamard, bf16, e4m3 with a power-of-two scale per row."""
    x = to_bf16(x)
    step = 1
    while step < x.shape[-1]:
        pairs = x.reshape(*x.shape[:-1], -1, 2, step)
        x = np.stack([pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :]],
                     axis=-2).reshape(x.shape)
        step *= 2
    x = to_bf16(x * f32(1 / np.sqrt(f32(x.shape[-1]))))
    largest = np.maximum(np.abs(x).max(-1, keepdims=True), f32(1e-4))
    scale = np.exp2(np.ceil(np.log2(largest / f32(448)))).astype(f32)
    return to_e4m3(x / scale), scale


def scores(q, w, keys, scale):
    """sum_h w_h ReLU(q_h . k * scale), keys [n, WIDTH], scale [n, 1]."""
    products = (q @ keys.T) * scale.T
    return (w[:, None] * np.maximum(products, f32(0))).sum(0, dtype=f32)


def best(values, count):
    """Positions of the highest values, the lower position first among equals."""
    order = np.lexsort((np.arange(values.size), -values))
    return np.sort(order[:count])


def pool(keys, scale, fp8):
    means = []
    for first in range(0, len(keys), BLOCK):
        block = (keys[first:first + BLOCK] * scale[first:first + BLOCK]).astype(f32)
        means.append(block.sum(0, dtype=f32) / f32(len(block)))
    means = np.array(means, f32)
    if not fp8:
        return means, np.ones((len(means), 1), f32)
    block_scale = np.maximum(np.abs(means).max(-1, keepdims=True) / f32(448), f32(1e-10))
    return to_e4m3(means / block_scale), block_scale.astype(f32)


def select(q, w, keys, key_scale, means, mean_scale, position):
    count = position + 1  # candidates
    ranks = scores(q, w, means, mean_scale)
    valid = -(-count // BLOCK)
    ranks[valid:] = -np.inf
    ranks[0] = ranks[valid - 1] = np.inf
    chosen = [b for b in best(to_bf16(ranks), min(BLOCKS, ranks.size)) if b < valid]
    tokens = np.concatenate([np.arange(b * BLOCK, min((b + 1) * BLOCK, count)) for b in chosen])
    of_tokens = scores(q, w, keys[tokens], key_scale[tokens])
    return [int(t) for t in tokens[best(of_tokens, TOP_K)]]


def sets_of(fp8):
    # Queries of all sequences, then head weights, then keys.
    random = Eighths(23)
    rows = sum(count for _, count in QUERIES)
    q = random.take(rows, HEADS, WIDTH)
    w = random.take(rows, HEADS)
    keys = random.take(sum(first + count for first, count in QUERIES), WIDTH)
    key_scale = np.ones((len(keys), 1), f32)
    if fp8:
        q, q_scale = deployed(q)
        w = (w * q_scale[..., 0]).astype(f32)
        keys, key_scale = deployed(keys)
    sets, row, key = [], 0, 0
    for first, count in QUERIES:
        of_sequence = slice(key, key + first + count)
        k, s = keys[of_sequence], key_scale[of_sequence]
        means, mean_scale = pool(k, s, fp8)
        for i in range(count):
            sets.append(select(q[row], w[row], k, s, means, mean_scale, first + i))
            row += 1
        key += first + count
    return sets


def main():
    document = {"heads": HEADS, "width": WIDTH, "block": BLOCK, "blocks": BLOCKS, "k": TOP_K,
                "queries": QUERIES, "seed": 23, "sets": sets_of(False), "fp8_sets": sets_of(True)}
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(document, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
