#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads a folder with retrained indexers with the engines' own loaders and compares every tensor.

    tests/interop/engines.sh build/dev/indexcache-search BASE DERIVED    # installs what this needs, then runs it

What is expected comes from the files, read here without any package: the tensors of BASE, those of indexers
replaced by what DERIVED's new shard holds. The loaders of vLLM and SGLang must yield each name once, with these
bytes. transformers must load DERIVED without missing or unexpected tensors, and its model must have the new
values. Exit code 1 when anything differs.
"""
import collections
import importlib.metadata
import json
import logging
import os
import pathlib
import struct
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ["VLLM_PLUGINS"] = "none"
os.environ["TQDM_DISABLE"] = "1"
import torch  # noqa: E402

INDEX = "model.safetensors.index.json"
TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "U8": torch.uint8,
         "F8_E4M3": torch.float8_e4m3fn, "F8_E8M0": torch.float8_e8m0fnu, "I64": torch.int64,
         "I32": torch.int32}


def tensors_of(file):
    """Tensors of a safetensors file by name: (type, shape, bytes)."""
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    at = 8 + length
    return {name: (e["dtype"], tuple(e["shape"]), data[at + e["data_offsets"][0]:at + e["data_offsets"][1]])
            for name, e in header.items()}


def checkpoint(folder):
    """Tensors of a folder: those of the index, or of all of its shards."""
    if not (folder / INDEX).exists():
        single = folder / "model.safetensors"
        files = [single] if single.exists() else sorted(folder.glob("model*.safetensors"))
        return {name: t for file in files for name, t in tensors_of(file).items()}
    index = json.loads((folder / INDEX).read_text())["weight_map"]
    files = {file: tensors_of(folder / file) for file in set(index.values())}
    return {name: files[file][name] for name, file in index.items()}


def expected_tensors(base, derived):
    """The tensors of the base with those of the derived folder's new shard, and the latter's names."""
    index = json.loads((derived / INDEX).read_text())["weight_map"]
    old = checkpoint(base)
    shards = collections.defaultdict(set)
    for name, file in index.items():
        shards[file].add(name)
    new = [file for file, names in shards.items() if all(".self_attn.indexer." in n for n in names)]
    assert len(new) == 1, f"there is no single shard of indexers: {new}"
    replaced = tensors_of(derived / new[0])
    assert set(index) == set(old), "the index has other names than the base"
    assert any(old[name] != tensor for name, tensor in replaced.items()), "no indexer was changed"
    for name, tensor in replaced.items():
        assert old[name][:2] == tensor[:2], f"{name}: another type or shape than in the base"
    return {**old, **replaced}, set(replaced)


def stored(tensor):
    name = next(n for n, t in TYPES.items() if t == tensor.dtype)
    flat = tensor.detach().contiguous().reshape(-1)
    return name, tuple(tensor.shape), flat.view(torch.uint8).numpy().tobytes()


def vllm_weights(folder):
    from vllm.config.load import LoadConfig
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
    loader = DefaultModelLoader(LoadConfig(load_format="auto", use_tqdm_on_load=False))
    source = DefaultModelLoader.Source(str(folder), revision=None)
    yield from loader._get_weights_iterator(source)


def sglang_weights(folder):
    from sglang.srt.configs.load_config import LoadConfig
    from sglang.srt.model_loader import loader as module
    from sglang.srt.model_loader.weight_utils import safetensors_weights_iterator
    module.get_server_args = lambda: None  # no server, thus no checksums to compare
    loader = module.DefaultModelLoader(LoadConfig())
    _, files, safe = loader._prepare_weights(str(folder), None, True)
    assert safe, "SGLang would not read safetensors"
    yield from safetensors_weights_iterator(files)


def differences(weights, expected):
    """What a loader does wrong, in words."""
    seen = collections.Counter()
    for name, tensor in weights:
        seen[name] += 1
        if name not in expected:
            yield f"{name} is unknown"
        elif stored(tensor) != expected[name]:
            yield f"{name} has other bytes"
    for name in expected:
        if seen[name] != 1:
            yield f"{name} is yielded {seen[name]} times"


def dequantized(name, expected, block):
    """A tensor as float32: FP8 times its block scales."""
    kind, shape, data = expected[name]
    values = torch.frombuffer(bytearray(data), dtype=TYPES[kind]).reshape(shape).float()
    if kind != "F8_E4M3":
        return values
    scale_kind, scale_shape, scale_data = expected[name + "_scale_inv"]
    scales = torch.frombuffer(bytearray(scale_data), dtype=TYPES[scale_kind]).reshape(scale_shape).float()
    scales = scales.repeat_interleave(block[0], 0)[:shape[0]].repeat_interleave(block[1], 1)[:, :shape[1]]
    return values * scales


def transformers_model(folder):
    """The model, and what was missing or left over; raises RuntimeError if it cannot be converted."""
    import transformers
    keywords = {}
    if hasattr(transformers.AutoConfig.from_pretrained(folder), "quantization_config"):
        # A GPU would be needed to keep FP8.
        keywords["quantization_config"] = transformers.FineGrainedFP8Config(dequantize=True)
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **keywords)


def transformers_differences(base, derived, expected, replaced):
    try:
        model, info = transformers_model(derived)
    except RuntimeError as failure:
        try:
            transformers_model(base)
        except RuntimeError:
            raise NotImplementedError("it cannot load the base, either") from failure
        yield f"it can load the base, but not the new folder: {failure}"
        return
    for kind in ("missing_keys", "mismatched_keys", "error_msgs"):
        for name in info[kind] or []:
            yield f"{kind}: {name}"
    for name in info["unexpected_keys"]:  # of layers of MTP, which transformers leaves out
        if not name.startswith("model.layers.") or int(name.split(".")[2]) < model.config.num_hidden_layers:
            yield f"unexpected: {name}"
    state = model.state_dict()
    keys = json.loads((derived / "config.json").read_text())
    block = keys.get("quantization_config", {}).get("weight_block_size", (128, 128))
    for name in expected:
        if name in replaced and name not in state and not name.endswith("_scale_inv"):
            yield f"{name} is not in the model"
        if name not in state:  # experts are fused there
            continue
        want = dequantized(name, expected, block)
        if not torch.allclose(state[name], want, rtol=1e-6, atol=0):
            yield f"{name} has other values (by up to {(state[name] - want).abs().max().item()})"


def main():
    logging.disable(logging.CRITICAL)
    base, derived = (pathlib.Path(argument) for argument in sys.argv[1:])
    expected, replaced = expected_tensors(base, derived)
    bad = 0
    checks = {
        "vllm": lambda: differences(vllm_weights(derived), expected),
        "sglang": lambda: differences(sglang_weights(derived), expected),
        "transformers": lambda: transformers_differences(base, derived, expected, replaced),
    }
    for package, check in checks.items():
        try:
            version = importlib.metadata.version(package)
            found = list(check())
        except (ImportError, NotImplementedError) as missing:
            print(f"----  {package}: cannot be asked here ({missing})")
            continue
        for line in found[:20]:
            print(f"FAIL  {package}: {line}")
        bad += len(found)
        print(f"{'FAIL' if found else 'ok  '}  {package} {version}: {len(expected)} tensors, {len(replaced)} of them "
              f"new, {len(found)} differ")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
