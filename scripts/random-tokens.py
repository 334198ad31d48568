#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints sequences of random token ids as .jsonl, the same for the same numbers: calibration data
for synthetic checkpoints.

    scripts/random-tokens.py SEQUENCES LENGTH VOCABULARY
"""
import json
import random
import sys

sequences, length, vocabulary = map(int, sys.argv[1:])
generator = random.Random(1)
for _ in range(sequences):
    print(json.dumps({"input_ids": [generator.randrange(vocabulary) for _ in range(length)]}))
