#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Training text of dsa-mini from Debian 12's documentation and source packages.

Unpack every package below one folder (dpkg -x PACKAGE.deb packages/PACKAGE):
  sqlite3-doc postgresql-doc-15 python3.11-doc apache2-doc nodejs-doc cmake-doc golang-1.19-doc
  golang-1.19-src rust-doc rust-src libpython3.11-stdlib
then:

    build_corpus.py packages --train train.json.xz --heldout heldout.json.xz

Writes JSON lists of [package, path, text]. Held out are three tenths of the SQLite documentation
and a fiftieth of the rest, chosen by a hash of the path.
"""
import argparse
import collections
import hashlib
import html.parser
import json
import lzma
import pathlib
import random
import re

LIMITS = {"rust-src": 26e6, "golang-1.19-src": 24e6, "rust-doc": 16e6}  # characters for training
SOURCE_SUFFIXES = {".go", ".py", ".rs", ".md", ".txt", ".rst", ".c", ".h"}
WEB_SUFFIXES = {".html", ".htm", ".xhtml"}
SMALLEST, LARGEST = 600, 400_000


class TextOf(html.parser.HTMLParser):
    """Readable text of a page: no navigation, one line a block, <pre> as it is."""

    SKIPPED = {"script", "style", "nav", "header", "footer", "head", "svg", "button", "form",
               "select"}
    BLOCKS = {"p", "div", "li", "h1", "h2", "h3", "h4", "h5", "tr", "br", "dt", "dd", "pre",
              "table", "section", "blockquote"}

    def __init__(self, page):
        super().__init__()
        self.parts, self.skipped, self.preformatted = [], 0, 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.skipped += tag in self.SKIPPED
        self.preformatted += tag == "pre"
        if tag in self.BLOCKS:
            self.parts.append("\n")
        elif tag in {"td", "th"}:
            self.parts.append(" ")

    def handle_endtag(self, tag):
        self.skipped -= tag in self.SKIPPED and self.skipped > 0
        self.preformatted -= tag == "pre" and self.preformatted > 0
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data):
        if not self.skipped:
            self.parts.append(data if self.preformatted else re.sub(r"\s+", " ", data))

    def text(self):
        return re.sub(r"[ \t]+\n", "\n", "".join(self.parts)).strip()


def is_generated(path, text):
    """Tables and test data teach a small model nothing."""
    if path.suffix == ".go":
        return ("testdata" in path.parts or path.name.startswith("z") or "tables" in path.name
                or "Code generated" in text[:300])
    return path.suffix == ".rs" and any(
        part in str(path) for part in ("/stdarch/", "/core_arch/", "unicode_data"))


def documents(root):
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        web = path.suffix.lower() in WEB_SUFFIXES
        if not web and (path.suffix not in SOURCE_SUFFIXES or path.stat().st_size >= LARGEST):
            continue
        text = path.read_text(errors="ignore")
        text = TextOf(text).text() if web else text
        if len(text) >= SMALLEST and not is_generated(path, text):
            yield path.relative_to(root).parts[0], str(path.relative_to(root)), text, web


def without_boilerplate(entries):
    """Drop lines that more than 60 pages of a package share, and repeated documents."""
    pages = collections.Counter()
    for package, _, text, _ in entries:
        pages.update((package, line) for line in set(text.split("\n")) if len(line) < 200)
    seen = set()
    for package, path, text, web in entries:
        if web:
            lines = text.split("\n")
            text = "\n".join(l for l in lines if not l.strip() or pages[package, l] <= 60)
        text = re.sub(r"\n{3,}", "\n\n", text).strip()
        text = "".join(c for c in text if c in "\n\t" or c >= " ")
        digest = hashlib.sha256(text.encode()).digest()
        if digest not in seen and len(text) >= SMALLEST:
            seen.add(digest)
            yield [package, path, text[:150_000] if package == "rust-doc" else text]


def is_held_out(package, path):
    value = int(hashlib.md5(path.encode()).hexdigest(), 16)
    return (package == "sqlite3-doc" and value % 10 < 3) or value % 100 < 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", type=pathlib.Path)
    parser.add_argument("--train", required=True)
    parser.add_argument("--heldout", required=True)
    args = parser.parse_args()
    entries = list(without_boilerplate(list(documents(args.packages))))
    random.Random(1).shuffle(entries)
    used, train, heldout = collections.Counter(), [], []
    for package, path, text in entries:
        if is_held_out(package, path):
            heldout.append([package, path, text])
        elif used[package] < LIMITS.get(package, float("inf")):
            used[package] += len(text)
            train.append([package, path, text])
    for name, content in ((args.train, train), (args.heldout, heldout)):
        with lzma.open(name, "wt") as file:
            json.dump(content, file)
        print(f"{name}: {len(content)} documents")


if __name__ == "__main__":
    main()
