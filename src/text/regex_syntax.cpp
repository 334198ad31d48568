// SPDX-License-Identifier: Apache-2.0
// Oniguruma's notation -> PCRE2's. What both read alike passes; what they read differently is
// translated or refused, never left to chance.
#include "core/error.h"
#include "core/quote.h"
#include "text/regex.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>

namespace indexcache {
namespace {

struct Addition {
  std::uint32_t first;
  std::uint32_t last;
  std::string_view category;
};

// Unicode 16 against the Unicode 14 of PCRE2 10.42. Naming a character that a newer PCRE2 knows by
// itself is harmless. (One character moved, U+1171E from Mn to Mc; within \p{M} that is nothing.)
constexpr Addition kAdditions[] = {
#include "text/unicode_additions.inc"
};

// Without C and Cn: characters leave them with every version.
constexpr std::array<std::string_view, 34> kCategories{
    "Cc", "Cf", "Co", "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",  "Mc", "Me",
    "Mn", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Pe", "Pf", "Pi", "Po",
    "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs"};

// What follows a backslash and means the same in both. Not here, because the two differ: \w and \b
// (words), \h (digits or spaces), \v (a character or a class), numbers (back references).
constexpr std::string_view kSameEscapes = "tnrfaeAzZ.*+?|()[]{}^$-/\\#&~'\"<>=!:;,@%` _";

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where)
      : pattern_(pattern), where_(where) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        character_class();
      } else if (c == '(') {
        group();
      } else if (c == '{' && next() == ',') {
        refuse("a repetition without a lower bound");
      } else if (c == '}' && (next() == '+' || next() == '?')) {
        refuse("a possessive or lazy counted repetition");
      } else {
        out_ += c;
        ++at_;
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw InputError({"a regular expression of the tokenizer is not supported", where_,
                      fmt::format("{} at byte {}: {}", what, at_, quote(pattern_, at_)),
                      "tokenize first and provide token ids (input_ids, .npy or .h5)"});
  }

  char next(std::size_t ahead = 1) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }

  // "(?m)" is PCRE2's "(?s)", and "(?<name>" binds groups: only forms that agree pass.
  void group() {
    if (next() != '?') {
      out_ += pattern_[at_++];
      return;
    }
    for (const std::string_view form :
         {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?i)"}) {
      if (!pattern_.substr(at_).starts_with(form)) continue;
      // In the middle, "(?i)" spans following alternatives for one library and not for the other.
      if (form == "(?i)" && at_ > 0) break;
      out_ += form;
      at_ += form.size();
      return;
    }
    refuse("an unknown kind of group");
  }

  void character_class() {
    out_ += pattern_[at_++];
    if (at_ < pattern_.size() && pattern_[at_] == '^') out_ += pattern_[at_++];
    if (at_ < pattern_.size() && pattern_[at_] == ']')
      refuse("\"]\" as the first character of a class");
    while (true) {
      if (at_ >= pattern_.size()) refuse("a class that does not end");
      const char c = pattern_[at_];
      if (c == '[') refuse("a class inside a class");
      if (c == '&' && next() == '&') refuse("an intersection of classes");
      if (c == '\\') {
        escape(true);
        continue;
      }
      out_ += c;
      ++at_;
      if (c == ']') return;
    }
  }

  void escape(bool in_class) {
    const char kind = next();
    if (kind == 's' || kind == 'S') {
      out_ += kind == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
      at_ += 2;
    } else if (kind == 'd' || kind == 'D') {
      category("Nd", in_class, kind == 'D');
      at_ += 2;
    } else if (kind == 'p' || kind == 'P') {
      property(in_class, kind == 'P');
    } else if (kind == 'x' || kind == 'u') {
      code_point(kind);
    } else if (kind != '\0' && kSameEscapes.find(kind) != std::string_view::npos) {
      out_ += pattern_.substr(at_, 2);
      at_ += 2;
    } else {
      refuse("the escape " + quote(std::string{'\\', kind}));
    }
  }

  // \x41, \x{1F600}, \u00e9
  void code_point(char kind) {
    std::size_t digits = at_ + 2;
    const bool braces = kind == 'x' && digits < pattern_.size() && pattern_[digits] == '{';
    if (braces) ++digits;
    std::size_t end = digits;
    const std::size_t most = braces ? 6 : kind == 'x' ? 2 : 4;
    while (end < pattern_.size() && end - digits < most &&
           std::isxdigit(static_cast<unsigned char>(pattern_[end])) != 0) {
      ++end;
    }
    if (end == digits || (kind == 'u' && end - digits != 4)) refuse("an incomplete code point");
    if (braces && (end >= pattern_.size() || pattern_[end] != '}')) {
      refuse("an incomplete code point");
    }
    const std::string hex(pattern_.substr(digits, end - digits));
    // A lone byte above 0x7F is a piece of a character to Oniguruma.
    if (kind == 'x' && !braces && std::stoul(hex, nullptr, 16) > 0x7F) refuse("a raw byte");
    out_ += "\\x{" + hex + "}";
    at_ = end + (braces ? 1 : 0);
  }

  void property(bool in_class, bool negated) {
    if (next(2) != '{') refuse("a property without braces");
    const std::size_t close = pattern_.find('}', at_);
    if (close == std::string_view::npos) refuse("a property that does not end");
    std::string_view name = pattern_.substr(at_ + 3, close - at_ - 3);
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    if (std::ranges::find(kCategories, name) == kCategories.end()) {
      refuse("the property " + quote(name));
    }
    category(name, in_class, negated);
    at_ = close + 1;
  }

  void category(std::string_view name, bool in_class, bool negated) {
    std::string members = fmt::format("\\p{{{}}}", name);
    for (const Addition& added : kAdditions) {
      if (added.category.starts_with(name)) {
        members += fmt::format("\\x{{{:X}}}-\\x{{{:X}}}", added.first, added.last);
      }
    }
    if (in_class && negated) refuse("a negated property in a class");
    out_ += in_class ? members : fmt::format("[{}{}]", negated ? "^" : "", members);
  }

  std::string_view pattern_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace indexcache
