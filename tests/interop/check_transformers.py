#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads models with the configuration that `export` writes and compares transformers' loss with `eval`'s.

    pip install torch transformers safetensors numpy h5py
    tests/interop/check_transformers.py build/dev/indexcache-search

GLM-5's and Hy4's classes take the exported indexer_types as they are. DeepSeek-V3.2's class has no sharing,
so the pattern of the exported config.json (that for vLLM) is injected: an S layer's indexer returns what the
layer before it returned. No engine shares in A.X-K2, so nothing can be exported for it, and the pattern is
injected into its own configuration; so it is for DeepSeek-V4, whose pattern has a letter for each layer of
ratio 4. A.X-K2, Hy4 and DeepSeek-V4 need transformers 5.23 or newer, and are left out before that. Exit code 1 when a loss differs by more than 1e-4.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import h5py  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4
TIE = 1e-5
SCALES = [1.0, 1 + 2**-20, 1 - 2**-20, 1 + 2**-19, 1 - 2**-19]
GLM = ROOT / "tests/golden/glm_moe_dsa_tiny"
SHARED = ROOT / "tests/golden/glm_moe_dsa_shared_tiny"
AXK2 = ROOT / "tests/golden/axk2_tiny"
HY4 = ROOT / "tests/golden/hy_v4_tiny"
V4 = ROOT / "tests/golden/deepseek_v4_tiny"
V4_RELEASED = ROOT / "tests/golden/deepseek_v4_r128_tiny"
MINI = ROOT / "data/dsa-mini"
V4_MINI = ROOT / "data/v4-mini"
# model, engine whose configuration is exported (None: its own configuration), pattern
CASES = [
    (GLM, "transformers", "FSFSSS"),
    (GLM, "transformers", "FFFFFF"),
    (SHARED, "transformers", "FFFSSSFS"),
    (SHARED, "transformers", "FFSSSSFS"),
    (AXK2, None, "FFFFFF"),
    (AXK2, None, "FSFSSS"),
    (HY4, "transformers", "FFSSSFS"),
    (HY4, "transformers", "FSSSSFS"),
    (V4, None, "FFFF"),
    (V4, None, "FSSF"),
    (V4, None, "FSFS"),
    (V4_RELEASED, None, "FF"),
    (V4_RELEASED, None, "FS"),
    (V4_MINI, None, "FFFFFFF"),
    (V4_MINI, None, "FSSSFSS"),
    (MINI, "vllm", "FSFSSSSSSFFSSSSS"),
    (MINI, "vllm", "FSSSFSSSFSSSFSSS"),
]


def stable_topk(scores, k, dim=-1, **_):
    """Top-k with the lowest position first among equals (docs/numerics.md): torch states no order.

    Scores of keys that no head of an indexer responds to are exactly 0, in every program.
    """
    values, indices = torch.sort(scores, dim=dim, descending=True, stable=True)
    return torch.return_types.topk((values.narrow(dim, 0, k), indices.narrow(dim, 0, k)))


torch.Tensor.topk = stable_topk


def sequences(model):
    """Token ids [sequences, length], longer than the model's index_topk."""
    if model in (MINI, V4_MINI):
        with h5py.File(MINI / "calibration.h5") as file:
            return torch.tensor(file["tokens"][:, :600], dtype=torch.long)
    return load_file(model / "golden_full.safetensors")["input_ids"].long()


def is_known(model):
    """Whether this version of transformers has the model."""
    return json.loads((model / "config.json").read_text())["model_type"] in transformers.CONFIG_MAPPING


def folder_with_config(tool, model, engine, pattern, folder):
    if engine is None:
        (folder / "config.json").symlink_to(model / "config.json")
    else:
        subprocess.run([tool, "export", pattern, "--engine", engine, "--model", model, "--write-config", folder,
                        "--quiet"], check=True, stdout=subprocess.DEVNULL)
    for path in model.glob("*.safetensors*"):
        (folder / path.name).symlink_to(path)


def indexers(model):
    """The indexers that a pattern has letters for: DeepSeek-V4 has them in compressors of ratio 4."""
    for layer in model.model.layers:
        owner = layer.self_attn if hasattr(layer.self_attn, "indexer") else getattr(layer.self_attn, "compressor", None)
        if getattr(owner, "indexer", None) is not None:
            yield owner.indexer


def inject(model, pattern):
    """Sharing for a class that has none."""
    last = [None]
    for indexer, letter in zip(indexers(model), pattern, strict=True):
        def hook(_module, _inputs, output, letter=letter):
            if letter == "S":
                return last[0]
            last[0] = output
            return None
        indexer.register_forward_hook(hook)


def transformers_losses(folder, ids, pattern=None):
    """Loss of each sequence, and whether rounding alone moves it.

    Programs that add in another order round differently, and a near tie at the edge of a top-k set then
    falls the other way: the loss of that sequence moves by up to 1e-2, in either program. Such sequences
    are found without looking at the other program: the residual stream is scaled by 1 + 2^-20 and the
    like, which RMSNorm takes out again except for the rounding.
    """
    config = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=torch.float32, attn_implementation="eager").eval()
    types = getattr(config, "indexer_types", None)
    if types is None:
        types = getattr(config, "index_topk_pattern", pattern)
        inject(model, types)
    embedding = model.model.embed_tokens.weight.data
    original = embedding.clone()
    runs = []
    for factor in SCALES:
        embedding.copy_(original * factor)
        with torch.no_grad():
            runs.append([model(input_ids=row[None], labels=row[None], use_cache=False).loss.item() for row in ids])
    tied = [max(values) - min(values) > TIE for values in zip(*runs)]
    attention = model.model.layers[0].self_attn
    norm = attention.q_a_layernorm if hasattr(attention, "q_a_layernorm") else attention.q_a_norm
    eps = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    return runs[0], tied, eps, types


def own_losses(tool, model, pattern, ids, eps, folder):
    tokens = folder / "tokens.jsonl"
    tokens.write_text("".join(json.dumps({"input_ids": row.tolist()}) + "\n" for row in ids))
    result = subprocess.run([tool, "eval", model, pattern, "-c", tokens, "--mla-norm-eps", str(eps), "--json",
                             "--quiet", "--device", "cpu"], check=True, capture_output=True, text=True)
    return json.loads(result.stdout)["patterns"][0]["sequence_losses"]


def main():
    tool = sys.argv[1]
    transformers.logging.set_verbosity_error()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    bad = 0
    for model, engine, pattern in CASES:
        if not is_known(model):
            print(f"skip {model.name}: transformers {transformers.__version__} does not have it")
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            folder_with_config(tool, model, engine, pattern, folder)
            ids = sequences(model)
            theirs, tied, eps, read = transformers_losses(folder, ids, pattern)
            ours = own_losses(tool, model, pattern, ids, eps, folder)
        read = "".join({"full": "F", "shared": "S"}.get(entry, entry) for entry in read)
        pairs = [pair for pair, tie in zip(zip(theirs, ours), tied) if not tie]
        mean = [sum(side) / len(pairs) for side in zip(*pairs)] if pairs else [0, 1]
        good = abs(mean[0] - mean[1]) <= TOLERANCE and read == pattern
        bad += not good
        print(f"{'ok  ' if good else 'FAIL'} {model.name:24} {pattern:17} transformers {mean[0]:.6f}  eval {mean[1]:.6f}  "
              f"difference {mean[0] - mean[1]:+.1e}  ({len(pairs)} of {len(ids)} sequences without a near tie)")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
