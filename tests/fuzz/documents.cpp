// SPDX-License-Identifier: Apache-2.0
// Documents in .json and .jsonl files: values cut out of a stream, JSON as Python writes it,
// foreign forms and conversations.
#include "calibration/foreign_forms.h"
#include "core/quote.h"
#include "core/utf8.h"
#include "fuzz/target.h"
#include "io/json_dialect.h"
#include "io/json_values.h"
#include "text/chat_format.h"

#include <algorithm>
#include <cstdlib>

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

// A few bytes at a time, so that values lie across buffers.
class Bytes : public indexcache::ByteStream {
 public:
  explicit Bytes(std::string_view text) : text_(text) {}

  std::size_t read(std::span<char> buffer) override {
    const std::size_t bytes = std::min({buffer.size(), text_.size(), std::size_t{3}});
    std::copy_n(text_.begin(), bytes, buffer.begin());
    text_.remove_prefix(bytes);
    return bytes;
  }

 private:
  std::string_view text_;
};

void read_document(std::string_view text) {
  using namespace indexcache;
  for (const std::size_t at : {std::size_t{0}, text.size() / 2, text.size()}) {
    const std::string shown = quote(text, at);
    require(shown.size() < 400 && !find_invalid_utf8(shown));
  }
  if (const auto strict = strict_json_text(text)) require(strict->text.size() == text.size());
  const Json json = parse_json_document(text, {"x", 1, 1}, "").value;
  foreign_form(json, true);
  if (!json.is_object() || !json.contains("messages")) return;
  for (const char* format : {"deepseek-v3.2", "glm-5", "glm-5.1", "glm-5.2", "glm-5.3"}) {
    try {
      ChatFormat::named(format).render(json["messages"], "x");
    } catch (const InputError& error) {
      require(error.describe().size() < 1000);
    }
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return indexcache::fuzz::run(data, size, [](std::string_view text) {
    Bytes stream(text);
    indexcache::JsonValueReader reader(stream, "x");
    std::string value;
    indexcache::JsonPlace place;
    while (reader.next(value, place)) {
      indexcache::fuzz::run(reinterpret_cast<const std::uint8_t*>(value.data()), value.size(),
                            read_document);
    }
  });
}
