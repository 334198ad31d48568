// SPDX-License-Identifier: Apache-2.0
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include "core/error.h"
#include "core/quote.h"

#include <fmt/format.h>

#include <pcre2.h>

namespace indexcache {
namespace {

// Backtracking of a long run of one class needs stack in proportion.
constexpr std::size_t kStackStart = 64 << 10;
constexpr std::size_t kStackLimit = std::size_t{256} << 20;

std::string message_of(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

std::uint32_t options_of(Regex::Syntax syntax) {
  // "^" and "$" of Oniguruma are those of a line.
  if (syntax == Regex::Syntax::literal) return PCRE2_UTF | PCRE2_LITERAL;
  if (syntax == Regex::Syntax::pcre) return PCRE2_UTF | PCRE2_UCP;
  return PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE;
}

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  bool jit = false;

  ~Code() { pcre2_code_free(code); }
};

struct Regex::Scratch::State {
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kStackStart, kStackLimit, nullptr);
  pcre2_match_data* match = pcre2_match_data_create(1, nullptr);

  State() { pcre2_jit_stack_assign(context, nullptr, stack); }
  ~State() {
    pcre2_match_data_free(match);
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
  }
};

Regex::Scratch::Scratch() : state_(std::make_unique<State>()) {}
Regex::Scratch::~Scratch() = default;

Regex::Regex(std::string_view pattern, const std::string& where, Syntax syntax)
    : code_(std::make_unique<Code>()) {
  const std::string text =
      syntax == Syntax::oniguruma ? translate_oniguruma(pattern, where) : std::string(pattern);
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  std::size_t offset = 0;
  code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                              options_of(syntax), &error, &offset, context.get());
  if (code_->code == nullptr) {
    throw InputError(
        {"a regular expression of the tokenizer cannot be used", where,
         fmt::format("{} at byte {}: {}", message_of(error), offset, quote(text, offset)),
         "tokenize first and provide token ids"});
  }
  code_->jit = pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE) == 0;
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

std::optional<Span> Regex::find(std::string_view subject, std::size_t from,
                                Scratch& scratch) const {
  const auto* text = reinterpret_cast<PCRE2_SPTR>(subject.data());
  const auto& state = *scratch.state_;
  const int found = code_->jit ? pcre2_jit_match(code_->code, text, subject.size(), from, 0,
                                                 state.match, state.context)
                               : pcre2_match(code_->code, text, subject.size(), from,
                                             PCRE2_NO_UTF_CHECK, state.match, state.context);
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (found < 0) {
    throw ResourceError({"a regular expression of the tokenizer exceeded its limit", "",
                         message_of(found),
                         "split the document: a run of characters in it is too long"});
  }
  const std::size_t* ends = pcre2_get_ovector_pointer(state.match);
  return Span{ends[0], ends[1]};
}

}  // namespace indexcache
