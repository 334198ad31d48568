#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does a low overlap mean a high price? Every pattern of a small model, its loss and its overlaps.

    overlap_price.py build/dev/indexcache-search MODEL calibration.h5 --out DIR

Runs `eval` over all patterns and `overlap`, and prints what the loss of each size costs at best, by
the overlap and at worst, and how well overlaps rank the prices. Writes all_patterns.json, the losses
of every sequence, and the files of `overlap` to DIR. Needs h5py and numpy; meant for at most ten
layers with an indexer.
"""
import argparse
import itertools
import json
import pathlib
import subprocess

import h5py
import numpy as np


def run(*arguments):
    result = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(result.stderr)
    return result.stdout


def all_losses(tool, model, tokens):
    """Pattern -> losses of the sequences, for every pattern that begins with F."""
    full = json.loads(run(tool, "inspect", model, "--json"))["baseline"]
    patterns = ["F" + "".join(rest) for rest in itertools.product("FS", repeat=len(full) - 1)]
    others = [pattern for pattern in patterns if pattern != full]
    report = json.loads(run(tool, "eval", model, *others, "-c", tokens, "--json", "--quiet"))
    rows = [report["baseline"], *report["patterns"]]
    return {row["pattern"]: row["sequence_losses"] for row in rows}


def missed(pattern, overlap):
    """What the S layers of a pattern do not have in common with their donors, added up."""
    donors = itertools.accumulate(range(len(pattern)),
                                  lambda last, layer: layer if pattern[layer] == "F" else last)
    return sum(1 - overlap[donor, layer] for layer, donor in enumerate(donors))


def rank_correlation(a, b):
    a, b = (np.argsort(np.argsort(values)) for values in (a, b))
    return np.corrcoef(a, b)[0, 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool")
    parser.add_argument("model")
    parser.add_argument("tokens")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    run(args.tool, "overlap", args.model, "-c", args.tokens, "-o", args.out)
    losses = all_losses(args.tool, args.model, args.tokens)
    (args.out / "all_patterns.json").write_text(json.dumps({"losses": losses}))
    with h5py.File(args.out / "overlap.h5") as file:
        overlap = file["overlap"][:]
    full = "F" * len(overlap)
    price = {pattern: np.mean(of) - np.mean(losses[full]) for pattern, of in losses.items()}
    lack = {pattern: missed(pattern, overlap) for pattern in losses}
    print(f"loss {np.mean(losses[full]):.5f}\n\none layer shared\n| S | overlap | price |\n|---|---|---|")
    for layer in range(1, len(full)):
        pattern = full[:layer] + "S" + full[layer + 1:]
        print(f"| {pattern} | {overlap[layer - 1, layer]:.3f} | {price[pattern]:+.5f} |")
    print("\n| F | best | price | by overlap | price | worst | rank correlation |\n|---|---|---|---|---|---|---|")
    for count in range(len(full) - 1, 0, -1):
        size = [pattern for pattern in losses if pattern.count("F") == count]
        best, chosen = min(size, key=price.get), min(size, key=lack.get)
        rank = rank_correlation([price[p] for p in size], [lack[p] for p in size]) if len(size) > 2 else None
        print(f"| {count} | {best} | {price[best]:+.5f} | {chosen} | {price[chosen]:+.5f} | "
              f"{max(price[p] for p in size):+.5f} | {'' if rank is None else f'{rank:.2f}'} |")
    shared = [pattern for pattern in losses if pattern != full]
    print(f"\nrank correlation of price and missed overlap over all patterns: "
          f"{rank_correlation([price[p] for p in shared], [lack[p] for p in shared]):.2f}")


if __name__ == "__main__":
    main()
