#!/usr/bin/env python3
"""Copy the golden cases of other programs, keeping what the tests compare.

    trim.py GOLDEN_FOLDER DESTINATION [CASE ...]

golden_full of A.X-K2 and Hy4 keeps all tensors, and their other runs what the indexers compute. Of
the others, inputs and outputs of sublayers, index scores and FP8 emulations are left out: the hidden
states of every layer contain them. DeepSeek-V4 keeps scores, the sets of its indexers as deployed,
and the coefficients of its streams, which show nowhere else. All runs keep their first sequence,
golden_full of models without FP8 weights and native sharing both; hidden states and logits are those
of some rows, except in A.X-K2 and Hy4.
Of the layers of MTP, which nobody reads, checkpoints keep the norms, an indexer's included.
"""
import argparse
import json
import pathlib
import re
import shutil
import struct

KEPT = ("input_ids", "hidden.", "router_idx.", "router_w.", "topk.", "logits", "nll", "loss")
WHOLE = ("axk2_tiny", "hy_v4_tiny")
BOTH_SEQUENCES = ("deepseek_v32_tiny", "glm_moe_dsa_tiny", "deepseek_v4_tiny")
WITH_MTP = ("deepseek_v32_fp8_tiny",)  # where a test writes the indexer of such a layer
INDEXERS = ("scores.", "margin.")
SCORES = {"axk2_tiny": INDEXERS,
          "hy_v4_tiny": INDEXERS,
          "deepseek_v4_tiny": ("scores.", "hc_post.", "hc_comb.", "topk_fp8.", "topk_fp4.")}
BY_ROW = ("router_idx.", "router_w.")  # [sequences * positions, …]; the others [sequences, …]


def read(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    data = data[8 + length :]
    tensors = {
        name: (entry, data[entry["data_offsets"][0] : entry["data_offsets"][1]])
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    }
    return tensors, metadata


def write(path, tensors, metadata=None):
    header, blobs, offset = {}, [], 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (entry, blob) in tensors.items():
        header[name] = {
            "dtype": entry["dtype"],
            "shape": entry["shape"],
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def mean(blob):
    values = struct.unpack(f"<{len(blob) // 4}f", blob)
    return sum(values) / len(values)


def first_sequence(tensors):
    """Cuts every tensor to the first sequence; the loss becomes that of it."""
    sequences = tensors["input_ids"][0]["shape"][0]
    cut = {}
    for name, (entry, blob) in tensors.items():
        if name == "loss":
            continue
        rows = entry["shape"][0] // sequences if name.startswith(BY_ROW) else 1
        shape = [rows] + entry["shape"][1:]
        cut[name] = ({**entry, "shape": shape}, blob[: len(blob) // sequences])
    loss = mean(cut["nll"][1])
    cut["loss"] = (tensors["loss"][0], struct.pack("<f", loss))
    return dict(sorted(cut.items())), loss


def row_step(source):
    """Of hidden states and logits, rows 0, step, 2 * step, … of all sequences are kept."""
    case, run = source.parent.name, source.stem
    if case.startswith("deepseek_v4_"):
        return 8
    if run == "golden_full_cfg_eps":
        return 4
    return 1 if case in WHOLE else 2


def some_rows(tensors, step):
    kept = dict(tensors)
    for name, (entry, blob) in tensors.items():
        if step == 1 or not name.startswith(("hidden.", "logits")):
            continue
        rows = entry["shape"][0] * entry["shape"][1]
        width = len(blob) // rows
        blob = b"".join(blob[row * width : (row + 1) * width] for row in range(0, rows, step))
        shape = [1, len(blob) // width] + entry["shape"][2:]
        kept[name] = ({**entry, "shape": shape}, blob)
    return kept


def trim_run(source, target):
    """Returns the loss if it has changed."""
    case = source.parent.name
    whole = case in WHOLE and source.stem == "golden_full"
    kept = ("",) if whole else KEPT + SCORES.get(case, ())
    tensors = {k: v for k, v in sorted(read(source)[0].items()) if k.startswith(kept)}
    loss = None
    if source.stem != "golden_full" or case not in BOTH_SEQUENCES:
        tensors, loss = first_sequence(tensors)
    write(target, some_rows(tensors, row_step(source)))
    return loss


def trim_checkpoint(source, target, layers):
    def is_kept(name, shape):
        numbered = re.match(r"model\.layers\.(\d+)\.", name)
        mtp = numbered is not None and int(numbered.group(1)) >= layers
        if mtp and source.parent.name in WITH_MTP:
            return ".mlp.experts." not in name
        return len(shape) == 1 if mtp else name != "mtp.0.e_proj.weight"

    tensors, metadata = read(source)
    kept = {k: v for k, v in tensors.items() if is_kept(k, v[0]["shape"])}
    write(target, kept, metadata)


def trim_index(source, target, folder):
    index = json.loads(source.read_text())
    shards = [read(shard)[0] for shard in folder.glob("model*.safetensors")]
    there = {name: len(blob) for shard in shards for name, (_, blob) in shard.items()}
    index["weight_map"] = {k: v for k, v in index["weight_map"].items() if k in there}
    if "total_size" in index.get("metadata", {}):
        index["metadata"]["total_size"] = sum(there.values())
    target.write_text(json.dumps(index, indent=1))


def trim_case(case, folder):
    layers = json.loads((case / "config.json").read_text())["num_hidden_layers"]
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(case.iterdir()):
        if file.name.startswith("tokens.") or file.name.endswith(".index.json"):
            continue
        if file.name.startswith("golden_") and file.suffix == ".safetensors":
            loss = trim_run(file, folder / file.name)
            about = json.loads(file.with_suffix(".json").read_text())
            if loss is not None:
                about["loss"] = loss
            (folder / file.name).with_suffix(".json").write_text(json.dumps(about, indent=1))
        elif file.suffix == ".safetensors":
            trim_checkpoint(file, folder / file.name, layers)
        elif not file.name.startswith("golden_"):
            shutil.copyfile(file, folder / file.name)
    for file in case.glob("*.index.json"):
        trim_index(file, folder / file.name, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("destination", type=pathlib.Path)
    parser.add_argument("cases", nargs="*", help="names of folders; all that have a config.json")
    args = parser.parse_args()
    cases = args.cases or [path.parent.name for path in args.source.glob("*/config.json")]
    for name in sorted(cases):
        trim_case(args.source / name, args.destination / name)


if __name__ == "__main__":
    main()
