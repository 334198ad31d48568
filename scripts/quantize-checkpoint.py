#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a copy of a small checkpoint in FP8, as DeepSeek-V3.2 is published.

    scripts/quantize-checkpoint.py data/dsa-mini /tmp/dsa-mini-fp8

Projections, MLPs and experts, and the indexer's wq_b and wk become E4M3 with a float32 scale for
each block of 128 x 128: the block's largest number / 448. Numbers are rounded to the nearest, ties
to even. Everything else is copied. In plain Python: ten million weights take four seconds.
"""
import argparse
import json
import re
import shutil
import struct
from array import array
from pathlib import Path

from checkpoint.storage import E4M3

BLOCK, LARGEST = 128, 448.0
QUANTIZED = re.compile(r"(_proj|_proj_with_mqa|\.wq_b|\.wk)\.weight$")
# Its name ends like those of projections, but engines keep the indexer's head weights as they are.
KEPT = re.compile(r"\.weights_proj\.weight$")


def numbers(entry, data):
    if entry["dtype"] == "F32":
        return array("f", data)
    if entry["dtype"] == "BF16":
        return array("f", array("I", (b << 16 for b in array("H", data))).tobytes())
    raise SystemExit(f"{entry['dtype']} weights cannot be quantized, only F32 and BF16")


def quantize(values, rows, cols):
    """(codes, scales)"""
    codes, scales = bytearray(rows * cols), array("f")
    for top in range(0, rows, BLOCK):
        for left in range(0, cols, BLOCK):
            places = [range(row * cols + left, row * cols + min(left + BLOCK, cols))
                      for row in range(top, min(top + BLOCK, rows))]
            most = max(abs(values[i]) for places_of_row in places for i in places_of_row)
            scales.append(most / LARGEST if most > 0 else 1.0)
            scale = scales[-1]  # as float32
            for places_of_row in places:
                for i in places_of_row:
                    codes[i] = E4M3.code(values[i] / scale)
    return bytes(codes), scales.tobytes()


def copy_shard(source, target):
    """Returns the names of what was written."""
    data = source.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    written, blobs, offset = {}, [], 0

    def put(name, dtype, shape, blob):
        nonlocal offset
        end = offset + len(blob)
        written[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        blobs.append(blob)
        offset = end

    # Scales come before their matrix, so that numbers of four bytes are aligned.
    for name, entry in header.items():
        begin, end = (8 + length + at for at in entry["data_offsets"])
        blob, shape = data[begin:end], entry["shape"]
        if QUANTIZED.search(name) and not KEPT.search(name):
            codes, scales = quantize(numbers(entry, blob), *shape)
            put(name + "_scale_inv", "F32", [-(-extent // BLOCK) for extent in shape], scales)
            put(name, "F8_E4M3", shape, codes)
        else:
            put(name, entry["dtype"], shape, blob)
    names = list(written)
    if metadata is not None:
        written = {"__metadata__": metadata, **written}
    text = json.dumps(written, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    target.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    shards = sorted(arguments.source.glob("model*.safetensors"))
    if not shards:
        raise SystemExit(f"{arguments.source} has no model*.safetensors")
    arguments.output.mkdir(parents=True, exist_ok=True)
    config = json.loads((arguments.source / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "fmt": "e4m3",
                                     "activation_scheme": "dynamic",
                                     "weight_block_size": [BLOCK, BLOCK]}
    (arguments.output / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    weight_map = {name: shard.name for shard in shards
                  for name in copy_shard(shard, arguments.output / shard.name)}
    index = {"metadata": {}, "weight_map": weight_map}
    (arguments.output / "model.safetensors.index.json").write_text(json.dumps(index) + "\n")
    for extra in ("tokenizer.json", "tokenizer_config.json"):
        if (arguments.source / extra).exists():
            shutil.copyfile(arguments.source / extra, arguments.output / extra)


if __name__ == "__main__":
    main()
