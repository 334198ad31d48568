#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a checkpoint of random weights: the shapes of any model, of any size, in several shards.

    scripts/make-checkpoint.py configs/dsa-30b.yaml OUTPUT --dtype fp8 --layers 8 --shards 4
    scripts/make-checkpoint.py configs/deepseek-v4-flash.yaml OUTPUT --dtype fp8 --layers 7

Numbers come from pools with a fixed seed: the same command writes the same bytes. With --dtype fp8,
weights are stored as they are published: E4M3 with a scale for a block of 128 x 128, in float32 or,
for DeepSeek-V4, in E8M0, whose experts are in FP4 if expert_dtype says so. Matrices that are not
published so, and all of them with --dtype bf16, are BF16.
"""
import argparse
import json
import struct
import sys
from pathlib import Path

from checkpoint import deepseek_v4, dsa, storage

FAMILIES = {"deepseek_v32": dsa, "glm_moe_dsa": dsa, "deepseek_v4": deepseek_v4}


def read_config(path):
    text = path.read_text()
    if path.suffix == ".json":
        return json.loads(text)
    import yaml  # Debian: python3-yaml

    return yaml.safe_load(text)["config"]


def family_of(config):
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise SystemExit(f"model_type {model_type} is not one of {', '.join(FAMILIES)}")
    return FAMILIES[model_type]


def shards_of(weights, count):
    """Lists of parts of about equal size; a matrix and its scales stay together."""
    total = sum(part.size for weight in weights for part in weight)
    shards, size = [[]], 0
    for weight in weights:
        if size >= total / count * len(shards) and len(shards) < count:
            shards.append([])
        shards[-1] += weight
        size += sum(part.size for part in weight)
    return shards, total


def write_shard(path, parts, numbers):
    header, offset = {}, 0
    for part in parts:
        header[part.name] = {"dtype": part.dtype, "shape": part.shape,
                             "data_offsets": [offset, offset + part.size]}
        offset += part.size
    text = json.dumps(header, separators=(",", ":")).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for part in parts:
            numbers.write(file, part)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", type=Path, help="configs/NAME.yaml, or a config.json")
    parser.add_argument("output", type=Path)
    parser.add_argument("--dtype", choices=["bf16", "fp8"], default="bf16")
    parser.add_argument("--layers", type=int, help="layers to keep; default: all")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config, quantized = read_config(arguments.config), arguments.dtype == "fp8"
    family = family_of(config)
    layers = arguments.layers or config["num_hidden_layers"]
    config.update(num_hidden_layers=layers, num_nextn_predict_layers=0)
    family.cut(config, layers, quantized)
    config.pop("quantization_config", None)
    if quantized:
        config["quantization_config"] = family.QUANTIZATION
    shards, total = shards_of(family.weights(config, quantized), arguments.shards)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    numbers, weight_map = storage.Numbers(arguments.seed), {}
    for index, shard in enumerate(shards):
        file = f"model-{index + 1:05}-of-{len(shards):05}.safetensors"
        write_shard(arguments.output / file, shard, numbers)
        weight_map.update({part.name: file for part in shard})
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (arguments.output / "model.safetensors.index.json").write_text(json.dumps(index) + "\n")
    print(f"{arguments.output}: {total / 2**30:.2f} GiB in {len(shards)} shards, {layers} layers")


if __name__ == "__main__":
    sys.exit(main())
