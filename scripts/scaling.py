#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures how a search and a training scale over the devices of this machine, and checks that
results do not depend on their number. scripts/scaling.sh builds the program and calls this.

Every run is one on 1, 2, 4, 8, … devices. Two runs are equal if run.json without `created`,
overlap.h5 and trained weights have the same bytes; on dsa-mini, whole folders are compared.
"""
import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ("case", "devices", "seconds", "speed-up", "planned", "idle", "whole run", "host memory",
           "from disk")
WIDTHS = (24, 7, 7, 8, 7, 4, 9, 11, 9)
BLOCK = 512  # bytes, of getrusage


class Failure(Exception):
    pass


class Measurement:
    """A finished process: its wall time, what it said and when, what it held in memory and what it
    read from disk."""

    def __init__(self, command, environment=None):
        begin = time.monotonic()
        self.log = ""
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, **(environment or {})})
        for line in process.stderr:
            self.log += f"{time.monotonic() - begin:7.2f} s  {line}"
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.seconds = time.monotonic() - begin
        self.peak_bytes = usage.ru_maxrss * 1024
        self.disk_bytes = usage.ru_inblock * BLOCK
        if process.returncode != 0:
            raise Failure(f"exit code {process.returncode}: {' '.join(map(str, command))}\n{self.log}")


def visible_gpus():
    if not shutil.which("nvidia-smi"):
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = sum(line.startswith("GPU") for line in listed.splitlines())
    return count if hidden is None else len([one for one in hidden.split(",") if one])


def device_list(kind, count):
    return "cpu" + ",cpu" * (count - 1) if kind == "cpu" else "cuda:" + ",".join(map(str, range(count)))


def digest(path):
    sums = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 22):
            sums.update(piece)
    return sums.hexdigest()


def files_of(folder):
    """Everything but the journal, whose lines come in the order in which devices finish."""
    return {str(path.relative_to(folder)): digest(path) for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.is_symlink() and path.name != "journal.jsonl"}


def results_of(folder):
    """What may not depend on devices or time."""
    run = json.loads((folder / "run.json").read_text())
    run.pop("created")
    results = {"run.json": run, "overlap.h5": digest(folder / "overlap.h5")}
    for weights in sorted(folder.glob("distilled-*/model/*.safetensors")):
        if not weights.is_symlink():
            results[str(weights.relative_to(folder))] = digest(weights)
    return results


class Scaling:
    def __init__(self, options, work):
        self.options, self.work, self.begin, self.rows = options, work, time.monotonic(), []
        self.unequal = []

    def late(self):
        return time.monotonic() - self.begin > self.options.deadline

    def tokens(self, sequences, length, vocabulary):
        path = self.work / f"tokens-{sequences}-{length}.jsonl"
        if not path.exists():
            with open(path, "w") as file:
                subprocess.run([sys.executable, ROOT / "scripts/random-tokens.py", str(sequences),
                                str(length), str(vocabulary)], stdout=file, check=True)
        return path

    def checkpoint(self):
        path = self.work / "model"
        subprocess.run([sys.executable, ROOT / "scripts/make-checkpoint.py", self.options.config,
                        path, "--layers", str(self.options.layers)], check=True)
        return path

    def compare(self, name, one, other, devices):
        differing = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
        if differing:
            self.unequal.append(f"{name} on {devices} devices: {', '.join(differing)}")

    def equal_on_mini(self):
        """Segments, greedy and swaps with races on the small trained model: all files."""
        model, first = ROOT / "data/dsa-mini", None
        tokens = self.tokens(6, self.options.mini_length, 300)
        for count in self.options.counts:
            output = self.work / f"mini-{count}"
            Measurement([self.options.program, "run", model, "-c", tokens, "--keep", "12",
                         "--race-greedy", "--holdout", "0.25", "--quiet", "--device",
                         device_list(self.options.kind, count), "-o", output],
                        {"SOURCE_DATE_EPOCH": "1700000000"})
            files = files_of(output)
            first = first or files
            self.compare("dsa-mini", first, files, count)

    def planned(self, command):
        """Speed-ups of the search by number of devices, as the simulation of the dealing expects
        them."""
        made = subprocess.run([str(part) for part in command] + ["--json", "--quiet"],
                              capture_output=True, text=True)
        scaling = json.loads(made.stdout).get("scaling") if made.returncode == 0 else None
        if not scaling:
            return {}
        times = {row["devices"]: row["seconds"] - scaling["fixed_seconds"]
                 for row in scaling["times"]}
        return {count: times[1] / seconds for count, seconds in times.items()}

    def measure(self, name, model, tokens, more, training=False):
        common = [model, "-c", tokens, "--keep", "1/2", "--strategy", "segments", "--refine", "none",
                  "--holdout", "0", "--precision", self.options.precision, *more]
        first, seconds_of_one = None, None
        planned = {} if training else self.planned(
            [self.options.program, "plan", *common, "--device", device_list(self.options.kind, 1)])
        for count in self.options.counts:
            if self.late():
                print(f"{name}: not measured on {count} devices, because the time is over")
                continue
            output = self.work / "out"
            done = Measurement([self.options.program, "run", *common, "--device",
                                device_list(self.options.kind, count), "-o", output])
            if self.options.log:
                with open(self.options.log, "a") as log:
                    log.write(f"{name} on {count}, {done.seconds:.2f} s\n{done.log}")
            created = json.loads((output / "run.json").read_text())["created"]
            seconds = created["search_seconds"]
            if training:
                seconds = float(re.search(r"trained in ([0-9.]+) s", done.log)[1])
            results = results_of(output)
            shutil.rmtree(output)
            first, seconds_of_one = first or results, seconds_of_one or seconds
            self.compare(name, first, results, count)
            self.add({"case": name, "devices": count, "seconds": seconds,
                      "speed_up": seconds_of_one / max(seconds, 1e-9), "planned": planned.get(count),
                      "idle_share": created.get("idle_share", 0.0), "wall_seconds": done.seconds,
                      "host_bytes": done.peak_bytes, "disk_bytes": done.disk_bytes,
                      "busy_seconds": [one["busy_seconds"] for one in created.get("devices", [])]})

    def add(self, row):
        self.rows.append(row)
        planned = f"{row['planned']:.2f}" if row["planned"] else ""
        print_row((row["case"], row["devices"], f"{row['seconds']:.2f}", f"{row['speed_up']:.2f}",
                   planned, f"{100 * row['idle_share']:.0f}%", f"{row['wall_seconds']:.1f}",
                   f"{row['host_bytes'] / 2**30:.2f} GiB",
                   f"{row['disk_bytes'] / 2**30:.2f} GiB"))

    def run(self):
        self.equal_on_mini()
        model = self.checkpoint()
        vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
        print_row(COLUMNS)
        for sequences in (8, 3):
            tokens = self.tokens(sequences, self.options.length, vocabulary)
            for weights in ("resident", "stream"):
                self.measure(f"{sequences} sequences, {weights}", model, tokens,
                             ["--weights", weights])
        tokens = self.tokens(8, self.options.train_length, vocabulary)
        self.measure("all students, resident", model, tokens,
                     ["--weights", "resident", "--distill", tokens, "--distill-steps",
                      self.options.steps, "--distill-batch", "4", "--distill-finish-steps", "1",
                      "--distill-sparse-steps", "0"], training=True)
        if self.options.json:
            self.options.json.write_text(json.dumps(
                {"rows": self.rows, "unequal": self.unequal}, indent=1) + "\n")
        print(f"{time.monotonic() - self.begin:.0f} s in all")
        if self.unequal:
            raise Failure("results differ from those of one device:\n  " + "\n  ".join(self.unequal))
        print("the results of all numbers of devices are equal")


def print_row(cells):
    print("  ".join(f"{cell!s:<{width}}" if i == 0 else f"{cell!s:>{width}}"
                    for i, (cell, width) in enumerate(zip(cells, WIDTHS))), flush=True)


def options_of(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--kind", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--counts", help="such as 1,2,4; default: powers of two up to all GPUs")
    parser.add_argument("--config", type=Path, default=ROOT / "configs/dsa-30b.yaml")
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--length", type=int, default=24576, help="tokens of a sequence")
    parser.add_argument("--train-length", type=int, default=4096, help="the same, in the training")
    parser.add_argument("--mini-length", type=int, default=1024, help="the same, for dsa-mini")
    parser.add_argument("--steps", type=int, default=20, help="of the training")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--deadline", type=float, default=540,
                        help="seconds after which no run is begun")
    parser.add_argument("--temporary", type=Path, help="folder for the checkpoint, about 15 GB")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--log", type=Path, help="file for what the runs print, with times")
    options = parser.parse_args(arguments)
    if options.counts:
        options.counts = [int(count) for count in options.counts.split(",")]
    else:
        gpus = visible_gpus()
        options.counts = [1 << power for power in range(gpus.bit_length())]
        if not options.counts:
            parser.error("no GPU is visible; --kind cpu --counts 1,2 uses the processor")
    return options


def main():
    options = options_of(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="scaling-", dir=options.temporary) as work:
        try:
            Scaling(options, Path(work)).run()
        except Failure as failure:
            print(f"error: {failure}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
