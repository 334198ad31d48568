#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads the completion scripts into real shells and completes: commands, options, values and files.

    completion.py PROGRAM

Shells that are not installed are skipped; without any of them the test is skipped (77)."""
import os
import pathlib
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time

# What is typed, what must be offered, and what must not.
CASES = [
    ("indexcache-search re", ["report"], ["run", "export"]),
    ("indexcache-search run --re", ["--refine", "--remove", "--restart"], ["--keep"]),
    ("indexcache-search run --device ", ["auto", "cpu", "cuda"], ["fp32"]),
    ("indexcache-search run --weights st", ["stream"], ["disk"]),
    ("indexcache-search run --refine ", ["swap"], []),
    ("indexcache-search export --engine v", ["vllm", "vllm-ascend"], ["sglang"]),
    ("indexcache-search bench o", ["ops"], ["search"]),
    ("indexcache-search check some", ["some file.yaml", "somewhere"], ["other.yaml"]),
    ("indexcache-search run -o som", ["somewhere"], ["some file.yaml"]),
    ("indexcache-search --log-", ["--log-file", "--log-format"], ["--json"]),
    ("indexcache-search --log-format ", ["text", "json"], ["run"]),
    ("indexcache-search --log-file some", ["some file.yaml"], ["other.yaml"]),
    ("indexcache-search check --log-format j", ["json"], ["text"]),
    ("indexcache-search completion z", ["zsh"], ["bash"]),
]


def bash(line, _):
    """The completions of a line, by the function that `complete` names."""
    script = """
. ./indexcache-search.bash
words=($1); [ "${1: -1}" != " " ] || words+=("")
COMP_WORDS=("${words[@]}"); COMP_CWORD=$((${#words[@]} - 1))
function=$(complete -p indexcache-search | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function indexcache-search "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
    return run(["bash", "--norc", "-c", script, "bash", line])


def fish(line, _):
    return [answer.split("\t")[0] for answer in
            run(["fish", "--no-config", "-c", "source indexcache-search.fish; complete -C $argv[1]", line])]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.stderr:
        raise SystemExit(f"{command[0]}: {done.stderr}")
    return done.stdout.splitlines()


class Zsh:
    """An interactive shell on a terminal: its completion system works nowhere else."""

    SETUP = ("PS1='> '; unsetopt zle_bracketed_paste; LISTMAX=1000; fpath=($PWD $fpath); autoload -Uz compinit; "
             "compinit -u -D; zstyle ':completion:*' list-packed false; setopt no_auto_menu no_always_last_prompt; "
             "print READY\n")

    def __init__(self):
        self.child, self.terminal = pty.fork()
        if self.child == 0:
            os.environ.update(TERM="dumb", COLUMNS="200", LINES="60")
            os.execvp("zsh", ["zsh", "-f", "-i"])
        self.send(self.SETUP)
        self.read_until("READY\r\n")

    def send(self, text):
        os.write(self.terminal, text.encode())

    def read(self, seconds):
        text, end = "", time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.terminal], [], [], left)[0]:
                break
            text += os.read(self.terminal, 65536).decode(errors="replace")
        return text

    def read_until(self, mark):
        text = ""
        for _ in range(200):
            text += self.read(0.1)
            if mark in text:
                return text
        raise SystemExit(f"zsh: no {mark!r} in {text!r}")

    def __call__(self, line, wanted):
        """Everything that appears after the line and two tabs, until it has what is wanted or for
        some seconds; then the line is deleted."""
        self.send(line + "\t\t")
        shown = ""
        for _ in range(50):
            shown += self.read(0.2)
            if all(offered(self.lines(shown), value) for value in wanted):
                break
        self.send("\x15print DO''NE\n")
        self.read_until("DONE")
        return self.lines(shown)

    @staticmethod
    def lines(shown):
        return shown.replace("\\ ", " ").replace("\r", "").split("\n")


def offered(answers, value):
    return any(answer == value or answer.rstrip("/ ") == value or answer.startswith(value + " ")
               or answer.endswith(" " + value) or answer.endswith(" " + value + " ")
               or f" {value} " in answer or f" {value}/" in answer or answer.startswith(value + "/")
               for answer in answers)


def check(shell, complete, strict):
    failures = []
    for line, wanted, unwanted in CASES:
        answers = complete(line, wanted)
        failures += [f"{shell}: {line!r} does not offer {value!r}: {answers}"
                     for value in wanted if not offered(answers, value)]
        if strict:
            failures += [f"{shell}: {line!r} offers {value!r}: {answers}"
                         for value in unwanted if offered(answers, value)]
    return failures


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    os.environ["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    shells = [name for name in ("bash", "zsh", "fish") if shutil.which(name)]
    if not shells:
        print("no shell to complete in")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["HOME"] = folder
        for shell, name in (("bash", "indexcache-search.bash"), ("zsh", "_indexcache-search"),
                            ("fish", "indexcache-search.fish")):
            script = subprocess.run([program, "completion", shell], capture_output=True, check=True)
            pathlib.Path(name).write_bytes(script.stdout)
        pathlib.Path("some file.yaml").touch()
        pathlib.Path("other.yaml").touch()
        pathlib.Path("somewhere").mkdir()
        completers = {"bash": bash, "fish": fish}
        failures = []
        for shell in shells:
            # zsh shows what it was given to complete among its answers, so only presence is tested.
            failures += check(shell, completers.get(shell) or Zsh(), shell != "zsh")
    print("\n".join(failures) or f"{len(CASES)} lines complete in {', '.join(shells)}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
