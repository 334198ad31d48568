#!/usr/bin/env python3
"""Copy the golden cases that make_golden.py wrote, keeping the tensors that the tests compare.

    trim.py GOLDEN_FOLDER DESTINATION

Attention and MLP outputs, index scores and FP8 emulations are left out: the hidden states of every
layer contain them.
"""
import argparse
import json
import pathlib
import shutil
import struct

KEPT = ("input_ids", "hidden.", "router_idx.", "router_w.", "topk.", "logits", "nll", "loss")


def read(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write(path, tensors):
    header, blobs, offset = {}, [], 0
    for name, (entry, blob) in sorted(tensors.items()):
        header[name] = {
            "dtype": entry["dtype"],
            "shape": entry["shape"],
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def trim(source, target):
    header, data = read(source)
    tensors = {}
    for name, entry in header.items():
        if name.startswith(KEPT):
            begin, end = entry["data_offsets"]
            tensors[name] = (entry, data[begin:end])
    write(target, tensors)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("destination", type=pathlib.Path)
    args = parser.parse_args()
    for case in sorted(path.parent for path in args.source.glob("*/config.json")):
        folder = args.destination / case.name
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(case.iterdir()):
            if file.name.startswith("tokens."):
                continue
            if file.name.startswith("golden_") and file.suffix == ".safetensors":
                trim(file, folder / file.name)
            else:
                shutil.copyfile(file, folder / file.name)


if __name__ == "__main__":
    main()
