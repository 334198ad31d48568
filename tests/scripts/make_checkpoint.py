#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What scripts/make-checkpoint.py writes: tensors as published checkpoints store them, the same
bytes each time, and a model whose losses do not depend on where its weights are kept.

    make_checkpoint.py PROGRAM ROOT"""
import json
import math
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

PROGRAM, ROOT = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
# A golden case with its storage, and tensors that it has and a synthetic checkpoint does not.
CASES = [("deepseek_v4_fp_tiny", "fp8", r"mtp\."),
         ("deepseek_v32_fp8_tiny", "fp8", r"model\.layers\.3\."),
         ("deepseek_v4_tiny", "bf16", None)]


def run(*arguments, fails=False):
    result = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    assert (result.returncode != 0) == fails, f"{arguments}\n{result.stdout}{result.stderr}"
    return result.stderr if fails else result.stdout


def script(name, *arguments, **options):
    return run(sys.executable, ROOT / "scripts" / name, *arguments, **options)


def headers(folder):
    """name -> (dtype, shape)"""
    found = {}
    for path in folder.glob("model*.safetensors"):
        with open(path, "rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        header.pop("__metadata__", None)
        found.update((name, (of["dtype"], of["shape"])) for name, of in header.items())
    return found


def check_case(work, case, dtype, ignored):
    golden, folder = ROOT / "tests/golden" / case, work / case
    script("make-checkpoint.py", golden / "config.json", folder, "--dtype", dtype, "--shards", 3)
    written = headers(folder)
    assert len(list(folder.iterdir())) == 5
    if ignored:
        expected = {name: of for name, of in headers(golden).items() if not re.match(ignored, name)}
        differing = [name for name in expected.keys() | written.keys()
                     if expected.get(name) != written.get(name)]
        assert not differing, differing
    else:
        assert {dtype for dtype, _ in written.values()} == {"BF16", "F32", "I64"}
    run(PROGRAM, "inspect", folder)
    check_losses(work, folder)


def check_losses(work, folder):
    config = json.loads((folder / "config.json").read_text())
    tokens = work / "tokens.jsonl"
    tokens.write_text(script("random-tokens.py", 2, 96, config["vocab_size"]))
    letters = json.loads(run(PROGRAM, "inspect", folder, "--json"))["baseline"]
    reports = [json.loads(run(PROGRAM, "eval", folder, "F" + "S" * (len(letters) - 1), "-c", tokens,
                              "--weights", placement, "--device", "cpu", "--json", "--quiet"))
               for placement in ("resident", "stream", "disk")]
    losses = [[report["baseline"]["sequence_losses"], report["patterns"][0]["sequence_losses"]]
              for report in reports]
    assert losses[0] == losses[1] == losses[2], losses
    # Random weights know nothing about random tokens: about the entropy of a uniform guess, plus
    # what logits of variance 1 add. With weights of a wrong size the losses are far from it.
    uniform = math.log(config["vocab_size"])
    assert all(uniform - 0.2 < loss < uniform + 1.2 for of in losses[0] for loss in of), losses
    assert losses[0][0] != losses[0][1], "the pattern changes nothing"


def main():
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for case in CASES:
            check_case(work, *case)
        v4 = ROOT / "tests/golden/deepseek_v4_fp_tiny/config.json"
        for folder in ("cut", "again"):
            script("make-checkpoint.py", v4, work / folder, "--dtype", "fp8", "--layers", 2)
        for path in (work / "cut").iterdir():
            assert path.read_bytes() == (work / "again" / path.name).read_bytes(), path.name
        run(PROGRAM, "inspect", work / "cut")
        message = script("make-checkpoint.py", v4, work / "none", "--layers", 1, fails=True)
        assert "keep more --layers" in message and not (work / "none").exists(), message
        axk2 = ROOT / "tests/golden/axk2_tiny/config.json"
        message = script("make-checkpoint.py", axk2, work / "none", fails=True)
        assert "axk2 is not one of" in message, message
    print("checkpoints of every storage are read, and losses do not depend on the placement")


if __name__ == "__main__":
    main()
