// SPDX-License-Identifier: Apache-2.0
#include "io/json_dialect.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace indexcache {
namespace {

// Begins the strings that stand for numbers: a control character that no text contains.
constexpr char kMark = '\x7F';

bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '+' ||
         c == '-' || c == '.';
}

bool is_beyond_double(std::string_view word) {
  constexpr std::size_t kShortest = 5;  // 1e309
  if (word.size() < kShortest) return false;
  if (word.find_first_not_of("0123456789+-.eE") != std::string_view::npos) return false;
  const std::string number(word);
  char* end = nullptr;
  return std::isinf(std::strtod(number.c_str(), &end)) && *end == '\0';
}

// The code of "\uXXXX" at `at`, -1 for anything else.
int escaped_unit(std::string_view text, std::size_t at) {
  if (at + 6 > text.size() || text[at] != '\\' || text[at + 1] != 'u') return -1;
  int code = 0;
  const char* first = text.data() + at + 2;
  const auto [end, error] = std::from_chars(first, first + 4, code, 16);
  return error == std::errc() && end == first + 4 ? code : -1;
}

class Rewriter {
 public:
  explicit Rewriter(std::string_view text) : text_(text) { result_.text = text; }

  std::optional<StrictJsonText> run() {
    while (at_ < text_.size()) {
      if (text_[at_] == '"') {
        string();
      } else if (is_word(text_[at_])) {
        word();
      } else {
        ++at_;
      }
    }
    if (!result_.has_numbers && result_.surrogates == 0) return std::nullopt;
    return std::move(result_);
  }

 private:
  void string() {
    ++at_;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] != '\\') {
        ++at_;
      } else if (const int unit = escaped_unit(text_, at_); unit >= 0xD800 && unit < 0xE000) {
        surrogate(unit);
      } else {
        at_ += 2;
      }
    }
    ++at_;
  }

  void surrogate(int unit) {
    const int next = escaped_unit(text_, at_ + 6);
    if (unit < 0xDC00 && next >= 0xDC00 && next < 0xE000) {
      at_ += 12;
      return;
    }
    result_.text.replace(at_, 6, "\\ufffd");
    ++result_.surrogates;
    at_ += 6;
  }

  void word() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    const std::string_view word = text_.substr(begin, at_ - begin);
    const bool number = word == "NaN" || word == "Infinity" || word == "-Infinity";
    if (!number && !is_beyond_double(word)) return;
    const std::size_t next = text_.find_first_not_of(" \t\r\n", at_);
    const bool is_key = next != text_.npos && text_[next] == ':';
    if (is_key || !can_mark()) return;
    std::string string(word.size(), ' ');
    string.front() = string.back() = '"';
    string[1] = kMark;
    if (word != "NaN") string[2] = word[0] == '-' ? '-' : '+';
    result_.text.replace(begin, word.size(), string);
    result_.has_numbers = true;
  }

  bool can_mark() {
    if (!markable_) {
      markable_ = text_.find(kMark) == std::string_view::npos &&
                  text_.find("\\u007f") == std::string_view::npos &&
                  text_.find("\\u007F") == std::string_view::npos;
    }
    return *markable_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::optional<bool> markable_;
  StrictJsonText result_;
};

}  // namespace

std::optional<StrictJsonText> strict_json_text(std::string_view text) {
  return Rewriter(text).run();
}

std::optional<double> number_behind(std::string_view string) {
  if (string.empty() || string[0] != kMark) return std::nullopt;
  if (string.size() == 1) return std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  return string[1] == '-' ? -infinity : infinity;
}

std::size_t json_depth(std::string_view text) {
  std::size_t depth = 0;
  std::size_t deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

std::string_view wide_encoding(std::string_view text) {
  using namespace std::string_view_literals;
  if (text.starts_with("\xFF\xFE\0\0"sv) || text.starts_with("\0\0\xFE\xFF"sv)) return "UTF-32";
  if (text.starts_with("\xFF\xFE"sv) || text.starts_with("\xFE\xFF"sv)) return "UTF-16";
  if (text.size() < 4) return {};
  const bool zero[] = {text[0] == 0, text[1] == 0, text[2] == 0, text[3] == 0};
  if (zero[0] && zero[1] && zero[2] && !zero[3]) return "UTF-32BE";
  if (!zero[0] && zero[1] && zero[2] && zero[3]) return "UTF-32LE";
  if (zero[0] && !zero[1] && zero[2] && !zero[3]) return "UTF-16BE";
  if (!zero[0] && zero[1] && !zero[2] && zero[3]) return "UTF-16LE";
  return {};
}

}  // namespace indexcache
