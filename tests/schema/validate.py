#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Validates files of the program against configs/schema.

    validate.py ROOT FILE…        the files named
    validate.py ROOT FOLDER       everything that the tests left there, and the gates of configs/

The schema is the one that a file names in its key "schema", or each line of a .jsonl file; .xml files
must be well-formed. Exits 1
with every violation, 77 (skipped) where jsonschema or yaml is not installed outside of CI.
"""
import json
import os
import pathlib
import sys
import xml.etree.ElementTree

try:
    import jsonschema
    import yaml
except ImportError as missing:
    print(f"SKIPPED: {missing}; install python3-jsonschema and python3-yaml")
    sys.exit(1 if os.environ.get("CI") == "true" else 77)


def load(path):
    """The documents of a file."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().rstrip("\n").split("\n")]
    if path.suffix == ".json":
        return [json.loads(path.read_text())]
    return [json.loads(json.dumps(yaml.safe_load(path.read_text())))]  # keys become strings


def schemas(root):
    found = {}
    for path in sorted((root / "configs/schema").glob("*.schema.json")):
        schema = json.loads(path.read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        found[schema["properties"]["schema"]["const"]] = jsonschema.Draft202012Validator(schema)
    return found


def violations(path, validators):
    if path.suffix == ".xml":
        try:
            xml.etree.ElementTree.parse(path)
        except xml.etree.ElementTree.ParseError as error:
            yield str(error)
        return
    for document in load(path):
        name = document.get("schema") if isinstance(document, dict) else None
        if name not in validators:
            yield f"no schema for {name!r}"
            continue
        for error in validators[name].iter_errors(document):
            yield f"{error.json_path}: {error.message[:300]}"


def main():
    root = pathlib.Path(sys.argv[1])
    paths = [pathlib.Path(argument) for argument in sys.argv[2:]]
    folder = len(paths) == 1 and not paths[0].suffix
    if folder:
        paths = sorted(paths[0].glob("*")) + sorted(root.glob("configs/*gate*.yaml"))
    validators = schemas(root)
    bad = 0
    kinds = {}
    for path in paths:
        kind = path.name.split(".", 1)[-1] if folder else path.name
        kinds[kind] = kinds.get(kind, 0) + 1
        for violation in violations(path, validators):
            bad += 1
            print(f"{path}: {violation}")
    print(f"{len(paths)} files, {bad} violations:", ", ".join(f"{n} {k}" for k, n in sorted(kinds.items())))
    sys.exit(1 if bad or not paths else 0)


if __name__ == "__main__":
    main()
