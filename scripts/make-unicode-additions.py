#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes src/text/unicode_additions.inc: characters that Unicode gained between two versions.

Needs PyPI's unicodedata2 of the newer version (16.0.0: the one of Oniguruma in Hugging Face
tokenizers 0.20 and later) and a Python whose own tables are not newer than PCRE2's (3.11: Unicode
14, as PCRE2 10.40 and later).

    pip install unicodedata2==16.0.0
    scripts/make-unicode-additions.py > src/text/unicode_additions.inc
"""
import unicodedata

import unicodedata2


def runs():
    found = []
    for point in range(0x110000):
        old = unicodedata.category(chr(point))
        new = unicodedata2.category(chr(point))
        if old != "Cn" or new == "Cn":
            continue
        if found and found[-1][1] == point - 1 and found[-1][2] == new:
            found[-1][1] = point
        else:
            found.append([point, point, new])
    return found


def main():
    old, new = unicodedata.unidata_version, unicodedata2.unidata_version
    print("// SPDX-License-Identifier: Apache-2.0")
    print(f"// Characters of Unicode {new} that {old} does not have: {{first, last, category}}.")
    print("// Made by scripts/make-unicode-additions.py.")
    for first, last, category in runs():
        print(f'{{0x{first:X}, 0x{last:X}, "{category}"}},')


if __name__ == "__main__":
    main()
