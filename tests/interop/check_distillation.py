#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains indexers with `distill` and compares transformers' loss of the new checkpoint with `eval`'s.

    pip install torch transformers safetensors numpy h5py
    tests/interop/check_distillation.py build/dev/indexcache-search

The folders are loaded as they were written; sharing is configured or injected as in check_transformers.py.
Exit code 1 when a loss differs by more than 1e-4, or when a training writes no checkpoint.
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import check_transformers as check  # sets what transformers reads from the environment
import transformers

# model, engine whose configuration is exported, pattern, sequences, their length, rates
CASES = [
    (check.GLM, "transformers", "FSFSSS", 10, 70, ["3e-3", "1e-3", "1e-2", "2e-3"]),
    (check.AXK2, None, "FSFSSS", 10, 70, ["3e-3", "1e-3", "1e-2", "2e-3"]),
    (check.HY4, "transformers", "FFSSSSS", 10, 70, ["3e-3", "1e-3", "1e-2", "2e-3"]),
    (check.MINI, "vllm", "FSSSFSSSFSSSFSSS", 5, 300, ["2e-3"]),
]


def token_rows(model, count, length):
    """Sequences to train on and to judge, the last one."""
    if model == check.MINI:
        return check.sequences(model)[:count, :length].tolist()
    ids = json.loads((model / "config.json").read_text())["vocab_size"] - 1
    return [[(37 * t + 11 * s) % ids for t in range(length)] for s in range(count)]


def write_rows(path, rows):
    path.write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in rows))


def distill(tool, model, pattern, rows, rates, folder):
    """distill.json of the first training that gains and so wrote folder/out/model, else of the last one.

    Weights of the tiny model are random, so that a gain is luck.
    """
    write_rows(folder / "train.jsonl", rows[:-1])
    write_rows(folder / "held.jsonl", rows[-1:])
    for rate in rates:
        subprocess.run([tool, "distill", model, "-p", pattern, "-c", folder / "train.jsonl", "--holdout",
                        folder / "held.jsonl", "--device", "cpu", "--steps", "12", "--sparse-steps", "4", "--batch",
                        "2", "--validate-every", "4", "--mla-norm-eps", "1e-6", "--rate", rate, "--restart",
                        "--quiet", "-o", folder / "out"], check=True, stdout=subprocess.DEVNULL)
        document = json.loads((folder / "out/distill.json").read_text())
        if document["gain"]:
            break
    return document


def with_configuration(tool, distilled, engine, pattern, folder):
    """The new checkpoint with the configuration that `export` writes for it."""
    shutil.copytree(distilled, folder)  # links become files
    if engine is None:
        return
    subprocess.run([tool, "export", pattern, "--engine", engine, "--model", distilled, "--write-config",
                    folder.parent / "config", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    shutil.copy(folder.parent / "config/config.json", folder / "config.json")


def main():
    tool = sys.argv[1]
    transformers.logging.set_verbosity_error()
    print(f"transformers {transformers.__version__}, torch {check.torch.__version__}")
    bad = 0
    for model, engine, pattern, count, length, rates in CASES:
        if not check.is_known(model):
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            rows = token_rows(model, count, length)
            document = distill(tool, model, pattern, rows, rates, folder)
            if not document["gain"]:
                print(f"FAIL {model.name:20} {pattern:17} no gain, so there is no checkpoint")
                bad += 1
                continue
            with_configuration(tool, folder / "out/model", engine, pattern, folder / "loaded")
            ids = check.torch.tensor(rows)
            theirs, tied, eps, _ = check.transformers_losses(folder / "loaded", ids, pattern)
            ours = check.own_losses(tool, folder / "out/model", pattern, ids, eps, folder)
            before = check.own_losses(tool, model, pattern, ids, eps, folder)
        judged = next(p["loss"] for p in document["judge"]["patterns"]
                      if (p["name"], p["indexers"]) == ("pattern", document["chosen"]))
        pairs = [pair for pair, tie in zip(zip(theirs, ours), tied) if not tie]
        mean = [sum(side) / len(pairs) for side in zip(*pairs)] if pairs else [0, 1]
        good = abs(mean[0] - mean[1]) <= check.TOLERANCE and judged == ours[-1] and ours != before
        bad += not good
        print(f"{'ok  ' if good else 'FAIL'} {model.name:20} {pattern:17} transformers {mean[0]:.6f}  eval "
              f"{mean[1]:.6f}  difference {mean[0] - mean[1]:+.1e}  ({len(pairs)} of {len(ids)} sequences without a "
              f"near tie), base checkpoint {sum(before) / len(before):.6f}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
