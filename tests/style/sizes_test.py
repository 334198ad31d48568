#!/usr/bin/env python3
"""The rules of sizes.py, on code that breaks them: a rule that cannot fail checks nothing."""
import unittest

from cpp_functions import functions
from sizes import COLUMNS, FILE_LINES, FUNCTION_LINES, TEST_LINES, problems_of

LICENSE = "// SPDX-License-Identifier: Apache-2.0\n"


def body(lines):
    """A body of that many lines, with everything that looks like a brace and is none."""
    noise = ['  f("}");', "  g('}');", "  // }", "  /* } */", '  h(R"x(} ")x");', "  if (a) { b(); }", "  n += 1'000;"]
    return "\n".join(noise[i % len(noise)] for i in range(lines)) + "\n"


def found(text):
    return list(functions(text))


class Functions(unittest.TestCase):
    def check(self, signature, begin=0, after="}"):
        """A function with this signature is found, with all of its lines, wherever it stands."""
        first = signature.count("\n")
        for lines in (1, 5, 90):
            text = signature + "\n" + body(lines) + after + "\n"
            self.assertEqual(found(text), [(begin + 1, first + 1 - begin + lines + 1)], signature)
            inside = "namespace a {\nnamespace {\n\n" + text + "\n}  // namespace\n}\n"
            self.assertEqual(found(inside), [(begin + 4, first + 1 - begin + lines + 1)], signature)

    def test_plain_and_wrapped_signatures(self):
        self.check("void f() {")
        self.check("std::map<int, int> f(const std::vector<int>& a,\n                     int b) {")
        self.check("static Result\nlong_name(int a,\n    int b,\n    int c) const noexcept {")
        self.check("auto f(int a = {}, std::vector<int> b = {1, 2}) -> std::vector<int> {")
        self.check("void f(const std::function<void(int)>& g = [](int) { return 1; }) {")
        self.check("bool operator==(const A& a, const B& b) {")
        self.check("void A::operator()(int a,\n                   int b) const {")
        self.check('extern "C" int f(int a) {')
        self.check("struct stat status_of(int file) {")
        self.check("[[noreturn]] void fail(const char* what) {")

    def test_a_comment_before_it_does_not_count(self):
        self.check("// What it does: {\n// and more.\nvoid f(int a,\n       int b) {", begin=2)

    def test_constructors_with_initializers(self):
        self.check("A::A(int a) : a_(a) {")
        self.check("A::A(int a, int b)\n    : a_(a),\n      b_{b},\n      c_(std::vector<int>{1, 2}) {")
        self.check("A::A(int a,\n     int b) noexcept\n    : Base<int>{a}, b_{b} {")
        self.check("A::~A() {")

    def test_templates_and_device_code(self):
        self.check("template <typename T>\nvoid f(T a) {")
        self.check("template <typename T, int N = (1 > 0)>\n  requires std::integral<T>\nT f(T a,\n    T b) {")
        self.check("template <int kRows>\n__global__ void __launch_bounds__(256)\n    f(const float* a, int n) {")

    def test_macros_of_tests(self):
        self.check('TEST_CASE("a name with { and (") {')
        self.check('TEST_CASE("a long name that does not fit on its line",\n          "[tag]") {')

    def test_lambdas_at_namespace_scope(self):
        self.check("const auto f = [](int a) {", after="};")
        self.check("const bool known = register_it([] {", after="});")
        self.check("const auto f = [](int a,\n                  int b) mutable -> int {", after="};")

    def test_members(self):
        text = ("class A : public B<int> {\n public:\n  A() : a_{1} {}\n  int f(int a,\n        int b) const override {\n"
                + body(3) + "  }\n\n private:\n  struct C {\n    int g() { return 1; }\n    int x{0};\n  };\n"
                "  int a_ = {2};\n  std::function<void(int)> h_ = nullptr;\n};\n")
        self.assertEqual(found(text), [(3, 1), (4, 6), (13, 1)])

    def test_what_is_none(self):
        for text in ("enum class A : int { a, b };", "struct A {\n  int x = 0;\n};", "int a[] = {\n  1,\n  2};",
                     "const std::map<int, A> kTable = {\n    {1, A(2)},\n    {2, A{3}},\n};",
                     "constexpr A kA{1, 2};", "void f(int a);", "#define F(x) \\\n  void x() { \\\n  }",
                     "using F = std::function<void(int)>;", "struct alignas(16) A {\n  int x;\n};"):
            self.assertEqual(found(text), [], text)

    def test_functions_after_tables_and_lambdas_are_found(self):
        text = "const A kA = {\n  f(1),\n};\nvoid g(int a,\n       int b) {\n" + body(2) + "}\nint h() { return 1; }\n"
        self.assertEqual(found(text), [(4, 5), (9, 1)])


class Rules(unittest.TestCase):
    def test_length_of_functions(self):
        signature = "void f(int a,\n       int b) {\n"
        for name, limit in (("src/a.cpp", FUNCTION_LINES), ("kernels/a.cu", FUNCTION_LINES), ("tests/a.cpp", TEST_LINES)):
            fits = LICENSE + signature + body(limit - 3) + "}\n"
            self.assertEqual(list(problems_of(name, fits)), [])
            longer = LICENSE + signature + body(limit - 2) + "}\n"
            self.assertEqual(list(problems_of(name, longer)), [f"{name}:2: a function of {limit + 1} lines"])

    def test_other_rules(self):
        self.assertEqual(list(problems_of("a.h", LICENSE + "x\n" * (FILE_LINES - 1))), [])
        self.assertEqual(list(problems_of("a.h", LICENSE + "x\n" * FILE_LINES)), [f"a.h: {FILE_LINES + 1} lines"])
        self.assertEqual(list(problems_of("a.h", LICENSE + "x" * COLUMNS)), [])
        self.assertEqual(list(problems_of("a.h", LICENSE + "x" * (COLUMNS + 1))), [f"a.h:2: {COLUMNS + 1} columns"])
        self.assertEqual(list(problems_of("a.h", "int a;\n")), ["a.h: the first line is not the license"])
        self.assertEqual(list(problems_of("a.h", "")), ["a.h: the first line is not the license"])
        self.assertEqual(list(problems_of("tests/a.cpp", LICENSE + 'TEST_CASE("a; b") {\n}\n')),
                         ["tests/a.cpp:2: a semicolon in a test's name"])


if __name__ == "__main__":
    unittest.main()
