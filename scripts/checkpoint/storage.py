# SPDX-License-Identifier: Apache-2.0
"""How the weights of a random checkpoint are stored, and where their numbers come from.

A weight is a list of parts: the tensor and, if it is quantized, that of its scales. Weights have
variance 1 / fan-in, the number of their columns, so that activations keep their size from layer to
layer; the powers of two that bring them there are in the numbers or in the scales.
"""
import bisect
import math
import random
import struct
from array import array
from typing import NamedTuple

BLOCK = 128  # rows and columns that an FP8 scale covers
GROUP = 32  # columns of a row that an FP4 scale covers
FP8_SIZE, FP4_SIZE = 8, 2  # standard deviation of quantized numbers before their scale
POOL = 1 << 20  # numbers that all tensors are cut from
BYTES = {"BF16": 2, "F32": 4, "F8_E4M3": 1, "F8_E8M0": 1, "I8": 1, "I64": 8}


class Part(NamedTuple):
    """A tensor of a file. Its bytes are cut from a pool, or repeat one element."""

    name: str
    dtype: str
    shape: tuple
    pool: tuple = ()  # arguments of Numbers.pool
    element: bytes = b""

    @property
    def size(self):
        return math.prod(self.shape) * BYTES[self.dtype]


def root(fan_in):
    return 1 / math.sqrt(fan_in)


def nearest_power(value):
    return round(math.log2(value))


def repeated(name, shape, value, dtype="BF16"):
    """BF16 holds the numbers that are asked for, 0 and 1."""
    bits = struct.pack("<f", value)
    return [Part(name, dtype, shape, element=bits[2:] if dtype == "BF16" else bits)]


def matrix(name, shape):
    return [Part(name, "BF16", shape, ("bf16", nearest_power(root(shape[1]))))]


def embedding(name, shape):
    return [Part(name, "BF16", shape, ("bf16", 0))]


def exact(name, shape):
    return [Part(name, "F32", shape, ("f32", nearest_power(root(shape[1]))))]


def fp8(name, shape):
    """As DeepSeek-V3.2 stores it: float32 scales."""
    blocks = tuple(math.ceil(extent / BLOCK) for extent in shape)
    scale = struct.pack("<f", root(shape[1]) / FP8_SIZE)
    return [Part(name, "F8_E4M3", shape, ("fp8",)),
            Part(name + "_scale_inv", "F32", blocks, element=scale)]


def e8m0(weight, shape, value):
    """Scales that are powers of two, next to the tensor `weight`."""
    element = bytes([127 + nearest_power(value)])
    return Part(weight.removesuffix("weight") + "scale", "F8_E8M0", shape, element=element)


def fp8_e8m0(name, shape):
    """As DeepSeek-V4 stores it."""
    blocks = tuple(math.ceil(extent / BLOCK) for extent in shape)
    return [Part(name, "F8_E4M3", shape, ("fp8",)),
            e8m0(name, blocks, root(shape[1]) / FP8_SIZE)]


def fp4(name, shape):
    """Two numbers in a byte, that of the even column in its low half."""
    rows, columns = shape
    return [Part(name, "I8", (rows, columns // 2), ("fp4",)),
            e8m0(name, (rows, math.ceil(columns / GROUP)), root(columns) / FP4_SIZE)]


def expert_table(name, tokens, experts, used):
    """The experts of each token, all of them different."""
    return [Part(name, "I64", (tokens, used), ("experts", experts, used))]


class SmallFloat:
    """A float of few bits, whose codes ascend from 0 to that of `largest`; `sign` is a bit."""

    def __init__(self, exponent_bits, mantissa_bits, largest, sign):
        steps, bias = 1 << mantissa_bits, (1 << exponent_bits - 1) - 1
        sizes = []
        for code in range(1 << exponent_bits + mantissa_bits):
            exponent, mantissa = divmod(code, steps)
            fraction = mantissa / steps + (1 if exponent else 0)
            sizes.append(fraction * 2.0 ** (max(exponent, 1) - bias))
        sizes = [size for size in sizes if size <= largest]
        self.middles = [(a + b) / 2 for a, b in zip(sizes, sizes[1:])]
        self.sign = sign

    def code(self, value):
        """That of the nearest number, ties to even."""
        size = abs(value)
        code = bisect.bisect_left(self.middles, size)
        if code % 2 == 1 and code < len(self.middles) and self.middles[code] == size:
            code += 1
        return code | (self.sign if value < 0 else 0)

    def codes(self, values):
        return bytes(self.code(value) for value in values)


E4M3 = SmallFloat(4, 3, 448, 0x80)
E2M1 = SmallFloat(2, 1, 6, 8)


class Numbers:
    """Bytes of any length out of pools, from a place that the seed decides."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.normal = [self.random.gauss(0, 1) for _ in range(POOL)]
        self.pools = {}

    def make_pool(self, kind, *details):
        if kind == "fp8":
            return E4M3.codes(v * FP8_SIZE for v in self.normal)
        if kind == "fp4":
            codes = E2M1.codes(v * FP4_SIZE for v in self.normal)
            return bytes(low | high << 4 for low, high in zip(codes[::2], codes[1::2]))
        if kind == "experts":
            experts, used = details
            generator = random.Random(f"{experts} {used}")
            rows = POOL // 64
            return array("q", (expert for _ in range(rows)
                               for expert in generator.sample(range(experts), used))).tobytes()
        scaled = array("f", (v * 2.0 ** details[0] for v in self.normal))
        if kind == "f32":
            return scaled.tobytes()
        # Truncated to bfloat16.
        return array("H", (bits >> 16 for bits in array("I", scaled.tobytes()))).tobytes()

    def pool(self, *key):
        if key not in self.pools:
            self.pools[key] = memoryview(self.make_pool(*key))
        return self.pools[key]

    def write(self, file, part):
        if part.element:
            file.write(part.element * math.prod(part.shape))
            return
        pool, left = self.pool(*part.pool), part.size
        # Rows of a table stay whole.
        step = BYTES[part.dtype] * (part.shape[1] if part.pool[0] == "experts" else 1)
        while left > 0:
            start = self.random.randrange(len(pool) // step // 2) * step
            left -= file.write(pool[start:start + left])
