#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""FP8 block-scaled products as PyTorch computes them, which share no code with the program.

    pip install torch numpy safetensors
    tests/interop/check_fp8_products.py            # compares tests/golden/fp8_products with PyTorch
    tests/interop/check_fp8_products.py --write    # writes it anew

The file has, for each case, activations (F32), a weight (F8_E4M3) with its block scales (F32), the
quantized activations (F8_E4M3) and their scales (F32), and the product (F32). Quantization is that of
docs/numerics.md, in float32 and rounded by torch.float8_e4m3fn; products are summed in float64.
tests/model/fp8_golden_test.cpp compares the program with the file. Exit code 1 if the file is not what
PyTorch computes.
"""
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file

FILE = pathlib.Path(__file__).resolve().parents[1] / "golden/fp8_products/products.safetensors"
BLOCK = 128
# rows, columns of the weight, depth: whole blocks, and partial ones on both sides
CASES = {"whole": (3, 16, 128), "partial": (3, 16, 144), "blocks": (2, 144, 16)}


def quantize(x):
    """Groups of 128 columns: e4m3 numbers, and a float32 scale for each group."""
    numbers = torch.empty(x.shape, dtype=torch.float8_e4m3fn)
    scales = []
    for first in range(0, x.shape[1], BLOCK):
        group = x[:, first : first + BLOCK]
        scale = group.abs().amax(dim=1).clamp(min=1e-10) / 448.0
        scaled = (group / scale[:, None]).clamp(-448.0, 448.0)
        numbers[:, first : first + BLOCK] = scaled.to(torch.float8_e4m3fn)
        scales.append(scale)
    return numbers, torch.stack(scales, dim=1)


def widened(scales, rows, cols, block_rows):
    """Scales of blocks, one for every element."""
    return scales.double().repeat_interleave(block_rows, 0)[:rows].repeat_interleave(BLOCK, 1)[:, :cols]


def product(numbers, scales, weight, weight_scales):
    x = numbers.to(torch.float64) * widened(scales, *numbers.shape, 1)
    w = weight.to(torch.float64) * widened(weight_scales, *weight.shape, BLOCK)
    return x @ w.T


def make_case(rows, cols, depth, generator):
    x = torch.randn(rows, depth, generator=generator)
    x[0] *= torch.logspace(-6, 6, depth)  # groups of very different sizes
    x[-1, : depth // 2] = 0
    weight = torch.randn(cols, depth, generator=generator)
    down, across = -(-cols // BLOCK), -(-depth // BLOCK)
    scales = torch.rand(down, across, generator=generator) / 448 + 1e-3
    codes = (weight / widened(scales, cols, depth, BLOCK).float()).clamp(-448, 448)
    return x, codes.to(torch.float8_e4m3fn), scales


def computed(x, weight, weight_scales):
    numbers, scales = quantize(x)
    return numbers, scales, product(numbers, scales, weight, weight_scales).float()


def write():
    generator = torch.Generator().manual_seed(21)
    tensors = {}
    for name, shape in CASES.items():
        x, weight, weight_scales = make_case(*shape, generator)
        numbers, scales, out = computed(x, weight, weight_scales)
        tensors |= {f"{name}.x": x, f"{name}.weight": weight, f"{name}.weight_scales": weight_scales,
                    f"{name}.numbers": numbers, f"{name}.scales": scales, f"{name}.out": out}
    FILE.parent.mkdir(exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, FILE)


def check():
    tensors = load_file(FILE)
    wrong = []
    for name in CASES:
        numbers, scales, out = computed(*(tensors[f"{name}.{part}"] for part in ("x", "weight", "weight_scales")))
        equal = (torch.equal(numbers.view(torch.uint8), tensors[f"{name}.numbers"].view(torch.uint8))
                 and torch.equal(scales, tensors[f"{name}.scales"])
                 and torch.allclose(out, tensors[f"{name}.out"], rtol=1e-6, atol=1e-6 * out.abs().max().item()))
        print(f"{name}: {'the same' if equal else 'different'}")
        wrong += [] if equal else [name]
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    sys.exit(check())
