#!/usr/bin/env python3
"""Cut token files for `indexcache-search` from windows.json, which train_dsa.py writes.

    make_windows.py windows.json --key calibration --sequences 8 --length 1024 --output calibration.h5

The file holds /tokens (sequences, length) and nothing that changes from run to run. Needs h5py.
"""
import argparse
import json

import h5py
import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("windows", help='{"calibration": [[ids]], "heldout": [[ids]]}')
    parser.add_argument("--key", required=True, choices=["calibration", "heldout"])
    parser.add_argument("--sequences", type=int, help="the first of them; default all")
    parser.add_argument("--length", type=int, help="tokens of each, from its start; default all")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    with open(args.windows) as file:
        tokens = np.array(json.load(file)[args.key], dtype=np.int32)
    tokens = tokens[: args.sequences, : args.length]
    with h5py.File(args.output, "w") as file:
        file.create_dataset("tokens", data=tokens, compression="gzip", shuffle=True, track_times=False)
    print(f"{args.output}: {tokens.shape[0]} sequences of {tokens.shape[1]} tokens")


if __name__ == "__main__":
    main()
