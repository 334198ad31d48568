#!/usr/bin/env python3
"""The rules of prose.py, on text that breaks them: a rule that cannot fail checks nothing."""
import pathlib
import tempfile
import unittest

from prose import COLUMNS, HABITS, broken_links, documents, problems_of

# One phrase or more for every habit, and what a native would write. Order of HABITS.
PAIRS = [
    (("0.025 nats a token", "one block a row", "5 us a query"),
     ("0.025 nats per token", "a block of rows", "it has a key and a value",
      "which bytes a layer needs")),
    (("for GLM alone",), ("only for GLM", "standalone")),
    (("ignored where there is one", "cut where it is given"), ("the places where layers lie",)),
    (("the zeros behind its end",), ("the zeros after its end",)),
    (("written beside run.json",), ("written next to run.json", "besides")),
    (("checked beforehand",), ("checked in advance",)),
    (("the plan is told", "and the result says so", "the work is gone"), ("the plan is printed",)),
    (("YAML that is none",), ("YAML that is not valid", "there are none")),
    (("its folder is another", "the sequences are others."), ("is another way", "is different")),
    (("the key stands twice", "standing alone there"), ("standard", "the key appears twice")),
    (("75 % of the work",), ("75% of the work",)),
    (("its licence", "a normalised row", "quantisation", "the behaviour"),
     ("its license", "a normalized row", "a promise", "precise")),
]


class Habits(unittest.TestCase):
    def test_every_habit_is_found_and_good_english_is_not(self):
        self.assertEqual(len(PAIRS), len(HABITS))
        for (bad, good), (pattern, _) in zip(PAIRS, HABITS):
            for text in bad:
                self.assertRegex(text, pattern)
                self.assertTrue(list(problems_of("a.md", text + "\n")), text)
            for text in good:
                self.assertEqual(list(problems_of("a.md", text + "\n")), [], text)

    def test_code_is_not_prose(self):
        self.assertEqual(list(problems_of("a.md", "`alone` is not *alone*\n```\nalone\n```\n")), [])
        self.assertEqual(list(problems_of("a.md", "```\nalone\n```\nalone\n"))[0][:7], "a.md:4:")

    def test_code_may_wrap(self):
        self.assertEqual(list(problems_of("a.md", "run `scripts/x.sh\nalone` and\ngo\n")), [])
        found = list(problems_of("a.md", "run `scripts/x.sh\nalone` and\nalone `b`\n"))
        self.assertEqual([problem[:7] for problem in found], ["a.md:3:"])

    def test_phrases_are_found_across_lines(self):
        self.assertEqual(len(list(problems_of("a.md", "the loss in nats\na token\n"))), 1)
        self.assertEqual(len(list(problems_of("a.md", "the weights\nalone\n"))), 1)

    def test_only_comments_of_settings_are_prose(self):
        self.assertEqual(list(problems_of("a.yaml", "alone: 1\n")), [])
        self.assertEqual(len(list(problems_of("a.yaml", "key: 1  # nats a token\n"))), 1)


class Columns(unittest.TestCase):
    def test_lines_of_documents_are_bounded_in_code_and_tables_too(self):
        self.assertEqual(list(problems_of("a.md", "x" * COLUMNS + "\n")), [])
        long = "x" * (COLUMNS + 1) + "\n"
        self.assertEqual(list(problems_of("a.md", long)), [f"a.md:1: {COLUMNS + 1} columns"])
        self.assertEqual(len(list(problems_of("a.md", "```\n" + long + "```\n"))), 1)
        self.assertEqual(list(problems_of("a.yaml", long)), [])


class Links(unittest.TestCase):
    def test_links_lead_to_files_and_headings(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "a.md"
            (path.parent / "b.md").write_text("# Forms of `a` pattern, v1.0\n```\n# code\n```\n")
            path.write_text("# Here\n")
            for link in ("b.md", "b.md#forms-of-a-pattern-v10", "#here", "https://x.org/none"):
                self.assertEqual(list(broken_links(path, f"[x]({link})\n")), [], link)
            for link in ("c.md", "b.md#forms", "b.md#code", "#there"):
                self.assertEqual(len(list(broken_links(path, f"[x]({link})\n"))), 1, link)


class Documents(unittest.TestCase):
    def test_the_documents_of_the_project_are_found(self):
        root = pathlib.Path(__file__).parents[2]
        names = {path.relative_to(root).as_posix() for path in documents(root)}
        self.assertLessEqual({"README.md", "docs/glossary.md", "kernels/README.md",
                              "tests/golden/README.md", "configs/ci-gate.yaml"}, names)


if __name__ == "__main__":
    unittest.main()
