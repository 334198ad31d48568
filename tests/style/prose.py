#!/usr/bin/env python3
"""Fails on documents with lines over 100 columns or links that lead nowhere, and on documents and
comments of settings files with phrases that CONTRIBUTING ("English") asks to avoid. Code in
backquotes, fenced code and single words in *italics* (words that are mentioned, not used) are not
prose."""
import pathlib
import re
import sys

COLUMNS = 100
DOCUMENTS = ("*.md", "docs/*.md", "packaging/*.md", "kernels/*.md", "tests/**/*.md", "data/**/*.md", "scripts/*.md")
SETTINGS = ("configs/*.yaml",)
UNITS = r"(?:ns|ps|us|ms|bytes?|bits?|tokens?|rows?|seconds?|losses|keys?|sequences?|MB|MiB|GB|GiB)"
THINGS = (r"(?:token|row|pair|layer|head|query|sequence|document|guard|chart|step|line|block|warp|"
          r"vector|second|pass|thread|key|expert|candidate|evaluation|wave|file|GPU|run)")

# What to look for, and what CONTRIBUTING says about it.
HABITS = [(re.compile(pattern, re.IGNORECASE), advice) for pattern, advice in (
    (rf"\b(?:nats|\d[\d.,]* {UNITS}|one {THINGS}) an? {THINGS}\b", "per, not a"),
    (r"\balone\b", "only, not alone; \"by itself\" or \"one by one\" for a thing without others"),
    (r"\bwhere (?:there (?:is|are)|it is|they are|those|none)\b", "if or when, not where"),
    (r"\bbehind\b", "after or beyond, not behind"),
    (r"\bbeside\b", "next to, not beside"),
    (r"\bbeforehand\b", "before, in advance"),
    (r"\bsays? so\b|\b(?:is|are|was|were|be) (?:told|foretold|gone)\b|\bforetells?\b",
     "reported, predicted or removed, not told or gone"),
    (r"\b(?:that|which|and) (?:is|are) none\b", "\"is not …\""),
    (r"\b(?:is|are) (?:another|others)\b(?! \w)", "different, not another"),
    (r"\bstands?\b|\bstood\b|\bstanding\b", "is, contains or appears, not stands"),
    (r"\d %", "no space before a percent sign: 75%"),
    (r"\b(?:licence|behaviour|neighbour|colour|centre)\w*|"
     r"\b(?:normal|quant|dequant|summar|optim|token|synchron|initial|organ|recogn|serial)"
     r"is(?:e|es|ed|ing|ation)\b", "American spelling"),
)]


def without_code(text):
    """The text with code in backquotes, which may wrap, and single words in italics replaced."""
    text = re.sub(r"`(?:[^`\n]|\n(?!\s*\n))+`",
                  lambda code: "`code`" + "\n" * code[0].count("\n"), text)
    return re.sub(r"(?<!\*)\*[\w ]+\*(?!\*)", "*word*", text)


def prose_lines(name, text):
    """(number, prose) of each line; fenced code is empty, and so is all but comments of settings.
    A line is searched together with the first word of the next, because phrases wrap."""
    fenced = False
    prose = []
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        if name.endswith(".md"):
            fenced ^= fence
            prose.append("" if fenced or fence else line)
        else:
            prose.append(line.partition("#")[2])
    prose = without_code("\n".join(prose)).split("\n")
    for number, line in enumerate(prose, start=1):
        following = (prose[number].split() if number < len(prose) else [])[:2]
        yield number, line.rstrip(), " ".join([line.rstrip(), *following])


def problems_of(name, text):
    if name.endswith(".md"):
        for number, line in enumerate(text.splitlines(), start=1):
            if len(line) > COLUMNS:
                yield f"{name}:{number}: {len(line)} columns"
    for number, line, wrapped in prose_lines(name, text):
        for pattern, advice in HABITS:
            match = pattern.search(wrapped)
            if match and match.start() < len(line):
                yield f"{name}:{number}: \"{match[0]}\": {advice}"


def anchors_of(text):
    """The anchors that GitHub gives to headings: lower case, spaces as hyphens, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path, text):
    """Links to files of the project, and to their headings, that do not exist."""
    for number, line in enumerate(text.splitlines(), start=1):
        for link in re.findall(r"\]\(([^)\s]+)\)", line):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = path.parent / file if file else path
            if not target.exists():
                yield f"{number}: no file {file}"
            elif anchor and anchor not in anchors_of(target.read_text()):
                yield f"{number}: no heading for {link}"


def documents(root):
    for pattern in DOCUMENTS + SETTINGS:
        yield from sorted(root.glob(pattern))


def main():
    root = pathlib.Path(sys.argv[1])
    found = []
    for path in documents(root):
        name = path.relative_to(root).as_posix()
        found += problems_of(name, path.read_text())
        if path.suffix == ".md":
            found += [f"{name}:{problem}" for problem in broken_links(path, path.read_text())]
    print("\n".join(found) or "columns, links and English of every document are right")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
