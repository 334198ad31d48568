// SPDX-License-Identifier: Apache-2.0
// Regular expressions of tokenizer.json, matched by PCRE2 with the meaning they have in Hugging
// Face tokenizers, which uses Oniguruma with its Unicode 16 tables.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace indexcache {

// Bytes [begin, end).
struct Span {
  std::size_t begin;
  std::size_t end;

  bool operator==(const Span&) const = default;
};

// The pattern in PCRE2's notation with Oniguruma's meaning: \s and \S are White_Space, general
// categories (\p{L}, \p{Lu}, …) include the characters of Unicode 16. Throws InputError with
// `where` for what the two libraries read differently or what has no translation.
std::string translate_oniguruma(std::string_view pattern, const std::string& where);

class Regex {
 public:
  enum class Syntax { oniguruma, pcre, literal };

  // Throws InputError with `where` when the pattern is not valid or not supported.
  Regex(std::string_view pattern, const std::string& where, Syntax syntax = Syntax::oniguruma);
  ~Regex();
  Regex(Regex&& other) noexcept;
  Regex& operator=(Regex&& other) noexcept;

  // What a thread needs to match: not shared between threads.
  class Scratch {
   public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

   private:
    friend class Regex;
    struct State;
    std::unique_ptr<State> state_;
  };

  // The first match in valid UTF-8 that starts at byte `from` or later. Throws ResourceError when a
  // match needs more stack or steps than PCRE2 is given.
  std::optional<Span> find(std::string_view subject, std::size_t from, Scratch& scratch) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

}  // namespace indexcache
