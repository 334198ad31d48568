"""Finds the functions of a C++ source by its braces: enough of the language for code in our style, no
more. A function counts from the first line of its signature (or its template header) to its brace."""
import re

# What may contain braces that are none: longest first. Numbers keep their digit separators from
# looking like characters.
NOISE = re.compile(
    r'R"(?P<tag>[^()\s\\]*)\((?:.|\n)*?\)(?P=tag)"'
    r"|//[^\n]*"
    r"|/\*(?:.|\n)*?\*/"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|\b\d[\w.']*"
    r"|'(?:\\.|[^'\\\n])+'"
    r"|^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)
SCOPE = re.compile(r"(inline\s+)?(namespace|class|struct|union|enum|extern)\b")
ATTRIBUTE = re.compile(r"\[\[[^\]]*\]\]|\b(alignas|__align__|__declspec)\s*\([^)]*\)")
LAMBDA = re.compile(r"\[[^\[\]]*\]\s*(<[^{}]*>\s*)?(\([^{}]*\)\s*)?[^(){};=]*$")
# What may follow the parameters of a function, before its body.
TRAILING = re.compile(r"\s*(const|noexcept(\s*\([^{}]*\))?|override|final|mutable|volatile|try|&&?|->[^{};]*|requires[^{};]*|\s)*$")


def masked(text):
    """The text with literals, comments and preprocessor lines blanked out, line by line."""
    def blank(match):
        token = match.group()
        if token[0].isdigit():
            return "0" * len(token)
        return re.sub(r"[^\n]", " ", token)
    return NOISE.sub(blank, text)


def closing(text, begin):
    """The place of the bracket that closes the one at `begin`; the end of an unbalanced text."""
    pairs = {"(": ")", "{": "}", "[": "]"}
    depth = 0
    for place in range(begin, len(text)):
        depth += (text[place] == text[begin]) - (text[place] == pairs[text[begin]])
        if depth == 0:
            return place
    return len(text)


def without_template(head):
    """A declaration without its template headers."""
    head = head.lstrip()
    while re.match(r"template\s*<", head):
        depth = 0
        for place, letter in enumerate(head):
            depth += (letter == "<") - (letter == ">" and head[place - 1] != "-")
            if letter == ">" and depth == 0:
                break
        head = head[place + 1 :].lstrip()
    return head


def after_parameters(head):
    """What follows the first parentheses that end a signature; None for a head without any."""
    place = 0
    while (place := head.find("(", place)) >= 0:
        end = closing(head, place)
        rest = head[end + 1 :]
        # operator()(…), __launch_bounds__(…) name(…), a macro before the name: go on to the next.
        if TRAILING.match(rest) or re.match(r"\s*(const|noexcept|\s)*:(?!:)", rest):
            return rest
        place = end + 1
    return None


def kind(head):
    """What the brace after `head` opens at namespace or class scope."""
    head = without_template(ATTRIBUTE.sub(" ", head)).strip()
    if LAMBDA.search(head):  # the value of a constant, or the default of a parameter
        return "function" if "=" in head.split("(")[0] else "value"
    if SCOPE.match(head) and "(" not in head:
        return "scope"
    plain = re.sub(r"operator\s*[^\s\w(]+", "operator", head)
    rest = after_parameters(plain)
    if rest is None or re.search(r"=\s*$", plain):
        return "value"
    if re.match(r"\s*(const|noexcept|\s)*:(?!:)", rest):  # a constructor's initializers
        return "function" if re.search(r"[)}]\s*$", rest) else "value"
    return "function"


def functions(source):
    """(first line, lines) of every function at namespace or class scope, in order."""
    text = masked(source)
    begin = place = 0
    while place < len(text):
        letter = text[place]
        if letter == "(":
            inside = text[place : closing(text, place)]
            if "{" not in inside:
                place += len(inside)
        elif letter in ";}" or (letter == ":" and re.search(r"\b(public|private|protected)\s*$", text[begin:place])):
            begin = place + 1
        elif letter == "{":
            what = kind(text[begin:place])
            if what == "scope":
                begin = place + 1
            else:
                end = closing(text, place)
                if what == "function":
                    first = begin + len(text[begin:place]) - len(text[begin:place].lstrip())
                    yield text.count("\n", 0, first) + 1, text.count("\n", first, end) + 1
                    begin = end + 1
                place = end
        place += 1
