#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a checkpoint of random weights: the shapes of any model, of any size, in several shards.

    scripts/make-checkpoint.py configs/30b-dsa.yaml OUTPUT --dtype fp8 --layers 8 --shards 4

Weights have variance 1 / fan-in, so that activations keep their size from layer to layer. Numbers
come from a pool of normal ones with a fixed seed: the same command writes the same bytes. FP8 is
E4M3 with one float32 scale a block of 128 x 128 for the matrices that published checkpoints store
so; the others, and everything with --dtype bf16, are BF16.
"""
import argparse
import bisect
import json
import math
import random
import struct
import sys
from array import array
from pathlib import Path

POOL = 1 << 20  # numbers that all tensors are cut from
BLOCK = 128


def read_config(path):
    text = path.read_text()
    if path.suffix == ".json":
        return json.loads(text)
    import yaml  # Debian: python3-yaml

    return yaml.safe_load(text)["config"]


def tensors(c, layers):
    """(name, shape, may be FP8) of everything, outer tensors first."""
    h, rq, rk = c["hidden_size"], c["q_lora_rank"], c["kv_lora_rank"]
    heads, nope, rope, dv = (c[k] for k in ("num_attention_heads", "qk_nope_head_dim",
                                            "qk_rope_head_dim", "v_head_dim"))
    ni, di = c["index_n_heads"], c["index_head_dim"]

    def mlp(prefix, width):
        return [(prefix + "gate_proj.weight", (width, h), True),
                (prefix + "up_proj.weight", (width, h), True),
                (prefix + "down_proj.weight", (h, width), True)]

    out = [("model.embed_tokens.weight", (c["vocab_size"], h), False),
           ("model.norm.weight", (h,), False),
           ("lm_head.weight", (c["vocab_size"], h), False)]
    for layer in range(layers):
        p = f"model.layers.{layer}."
        a, m = p + "self_attn.", p + "mlp."
        out += [(p + "input_layernorm.weight", (h,), False),
                (p + "post_attention_layernorm.weight", (h,), False),
                (a + "q_a_proj.weight", (rq, h), True),
                (a + "q_a_layernorm.weight", (rq,), False),
                (a + "q_b_proj.weight", (heads * (nope + rope), rq), True),
                (a + "kv_a_proj_with_mqa.weight", (rk + rope, h), True),
                (a + "kv_a_layernorm.weight", (rk,), False),
                (a + "kv_b_proj.weight", (heads * (nope + dv), rk), True),
                (a + "o_proj.weight", (h, heads * dv), True),
                (a + "indexer.wq_b.weight", (ni * di, rq), True),
                (a + "indexer.wk.weight", (di, h), True),
                (a + "indexer.k_norm.weight", (di,), False),
                (a + "indexer.k_norm.bias", (di,), False),
                (a + "indexer.weights_proj.weight", (ni, h), False)]
        if layer < c.get("first_k_dense_replace", 0):
            out += mlp(m, c["intermediate_size"])
            continue
        out.append((m + "gate.weight", (c["n_routed_experts"], h), False))
        out.append((m + "gate.e_score_correction_bias", (c["n_routed_experts"],), False))
        for e in range(c["n_routed_experts"]):
            out += mlp(f"{m}experts.{e}.", c["moe_intermediate_size"])
        if c.get("n_shared_experts", 0):
            out += mlp(m + "shared_experts.", c["moe_intermediate_size"] * c["n_shared_experts"])
    return out


def bf16(values):
    """Truncated to bfloat16, little-endian."""
    bits = array("I", array("f", values).tobytes())
    return array("H", (b >> 16 for b in bits)).tobytes()


def e4m3_table():
    positive = [(m / 8 * 2.0 ** -6 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7), e << 3 | m)
                for e in range(16) for m in range(8) if (e, m) != (15, 7)]
    return sorted(positive)


def e4m3(values):
    """Rounded to the nearest of E4M3's numbers."""
    table = e4m3_table()
    sizes = [size for size, _ in table]
    codes = bytearray()
    for value in values:
        at = min(bisect.bisect_left(sizes, abs(value)), len(sizes) - 1)
        if at > 0 and sizes[at] - abs(value) > abs(value) - sizes[at - 1]:
            at -= 1
        codes.append(table[at][1] | (0x80 if value < 0 else 0))
    return bytes(codes)


class Numbers:
    """Bytes of any length out of pools, from a place that the seed decides."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.normal = [self.random.gauss(0, 1) for _ in range(POOL)]
        self.pools = {}

    def pool(self, kind, power):
        if (kind, power) not in self.pools:
            scaled = [v * 2.0 ** power for v in self.normal]
            self.pools[kind, power] = e4m3(scaled) if kind == "fp8" else bf16(scaled)
        return self.pools[kind, power]

    def write(self, file, pool, length, element):
        while length > 0:
            start = self.random.randrange(POOL // 2) * element
            piece = pool[start:start + min(length, len(pool) - start)]
            file.write(piece)
            length -= len(piece)


def parts_of(name, shape, fp8):
    """What a tensor is stored as: (name, dtype, shape, bytes of an element)."""
    if not fp8:
        return [(name, "BF16", shape, 2)]
    blocks = tuple(math.ceil(extent / BLOCK) for extent in shape)
    return [(name, "F8_E4M3", shape, 1), (name + "_scale_inv", "F32", blocks, 4)]


def write_shard(path, entries, numbers):
    header, offset = {}, 0
    for name, dtype, shape, element in entries:
        size = math.prod(shape) * element
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, dtype, shape, element in entries:
            count = math.prod(shape)
            if dtype == "F32":  # the scales of the matrix before: undo the pool's factor of 8
                file.write(struct.pack("<f", 1 / (8 * math.sqrt(fan_in))) * count)
            elif len(shape) == 1:
                one = name.endswith("weight")
                file.write(struct.pack("<H", 0x3F80 if one else 0) * count)
            elif dtype == "F8_E4M3":
                fan_in = shape[1]
                numbers.write(file, numbers.pool("fp8", 3), count, 1)
            else:
                power = 0 if "embed" in name else -round(math.log2(shape[1]) / 2)
                numbers.write(file, numbers.pool("bf16", power), count * 2, 2)
    return offset


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", type=Path, help="configs/NAME.yaml, or a config.json")
    parser.add_argument("output", type=Path)
    parser.add_argument("--dtype", choices=["bf16", "fp8"], default="bf16")
    parser.add_argument("--layers", type=int, help="layers to keep; default: all")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    layers = arguments.layers or config["num_hidden_layers"]
    for key in ("indexer_types", "index_topk_pattern", "mlp_layer_types"):
        config.pop(key, None)
    config.update(num_hidden_layers=layers, num_nextn_predict_layers=0)
    config.pop("quantization_config", None)
    if arguments.dtype == "fp8":
        config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]}
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    entries = [part for name, shape, linear in tensors(config, layers)
               for part in parts_of(name, shape, linear and arguments.dtype == "fp8")]
    # Shards of about equal size; a matrix and its scales stay together.
    total = sum(math.prod(shape) * element for _, _, shape, element in entries)
    shards, size = [[]], 0
    for entry in entries:
        full = size >= total / arguments.shards * len(shards)
        if full and len(shards) < arguments.shards and not entry[0].endswith("_scale_inv"):
            shards.append([])
        shards[-1].append(entry)
        size += math.prod(entry[2]) * entry[3]
    numbers, weight_map = Numbers(arguments.seed), {}
    for index, shard in enumerate(shards):
        file = f"model-{index + 1:05}-of-{len(shards):05}.safetensors"
        write_shard(arguments.output / file, shard, numbers)
        weight_map.update({name: file for name, *_ in shard})
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (arguments.output / "model.safetensors.index.json").write_text(json.dumps(index) + "\n")
    print(f"{arguments.output}: {total / 2**30:.2f} GiB in {len(shards)} shards, {layers} layers")


if __name__ == "__main__":
    sys.exit(main())
