// SPDX-License-Identifier: Apache-2.0
#include "profile/lengths.h"

#include "core/error.h"
#include "core/quote.h"
#include "io/files.h"
#include "io/json.h"
#include "io/text_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <string_view>

namespace indexcache {
namespace {

// Names of the three numbers of a row, the first of them being the one to recommend.
constexpr std::array<std::string_view, 3> kPrompt = {"prompt_tokens", "prompt", "length"};
constexpr std::array<std::string_view, 3> kOutput = {"output_tokens", "completion_tokens",
                                                     "output"};
constexpr std::array<std::string_view, 1> kCount = {"count"};

constexpr std::int64_t kLongestPrompt = std::int64_t{1} << 32;
constexpr std::int64_t kMostRequests = std::int64_t{1} << 30;
constexpr const char* kForms =
    "JSON lines such as {\"prompt_tokens\": 8192, \"output_tokens\": 300}, or CSV with the header "
    "prompt_tokens,output_tokens or length,count";

struct Row {
  std::optional<std::int64_t> prompt, output, count;
};

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

bool contains(const auto& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

// The number of a row that a column or key names; null for any other.
std::optional<std::int64_t>* member(Row& row, std::string_view name) {
  if (contains(kPrompt, name)) return &row.prompt;
  if (contains(kOutput, name)) return &row.output;
  if (contains(kCount, name)) return &row.count;
  return nullptr;
}

class LengthsReader {
 public:
  explicit LengthsReader(const std::filesystem::path& path) : path_(path) {}

  Lengths read(ByteStream& stream) {
    PieceReader reader(stream, "\n");
    Sha256 hash;
    std::string text;
    while (reader.next(text)) {
      ++line_;
      hash.update(text + "\n");
      const std::string_view content = trimmed(text);
      if (!content.empty()) take(content);
    }
    if (counts_.empty()) {
      throw InputError({"the file of lengths has no requests", path_.string(), "", kForms});
    }
    lengths_.file = path_;
    lengths_.sha256 = hash.hex();
    for (const auto& [prompt, count] : counts_) lengths_.prompts.push_back(count);
    return std::move(lengths_);
  }

 private:
  void take(std::string_view content) {
    if (header_.empty() && content.front() == '{') return add(json_row(content));
    if (header_.empty() && counts_.empty()) return read_header(content);
    if (header_.empty()) fail("the row is no JSON object, but those before it are");
    add(csv_row(content));
  }

  Row json_row(std::string_view content) const {
    const JsonPlace place{path_.string(), line_, 1};
    const Json object = parse_json_document(content, place, kForms).value;
    Row row;
    const auto usage = object.find("usage");  // as OpenAI-compatible servers log requests
    for (const Json* source : {&object, usage != object.end() ? &*usage : nullptr}) {
      if (source == nullptr || !source->is_object()) continue;
      for (const auto& [key, value] : source->items()) {
        std::optional<std::int64_t>* number = member(row, key);
        if (number == nullptr || value.is_null()) continue;
        const bool fits =
            value.is_number_unsigned() && value.get<std::uint64_t>() <= kLongestPrompt;
        if (!fits) fail(fmt::format("{} is {}, which is no length", key, described(value)));
        *number = value.get<std::int64_t>();
      }
    }
    return row;
  }

  std::vector<std::string_view> cells(std::string_view content) const {
    if (content.find('"') != std::string_view::npos) {
      fail("the row has quotes; a column of lengths needs none");
    }
    std::vector<std::string_view> cells;
    while (true) {
      const auto comma = content.find(',');
      cells.push_back(trimmed(content.substr(0, comma)));
      if (comma == std::string_view::npos) return cells;
      content.remove_prefix(comma + 1);
    }
  }

  void read_header(std::string_view content) {
    Row named;
    for (const std::string_view cell : cells(content)) {
      header_.emplace_back(cell);
      std::optional<std::int64_t>* number = member(named, cell);
      if (number == nullptr) continue;
      if (number->has_value()) fail(fmt::format("two columns of the header mean {}", quote(cell)));
      *number = 0;
    }
    if (!named.prompt) {
      fail(fmt::format("the header has no column {} or {}", kPrompt.front(), kPrompt.back()));
    }
  }

  Row csv_row(std::string_view content) const {
    const std::vector<std::string_view> values = cells(content);
    if (values.size() != header_.size()) {
      fail(fmt::format("the row has {} columns and the header {}", values.size(), header_.size()));
    }
    Row row;
    for (std::size_t c = 0; c < values.size(); ++c) {
      std::optional<std::int64_t>* number = member(row, header_[c]);
      if (number == nullptr) continue;
      std::int64_t value = 0;
      const char* end = values[c].data() + values[c].size();
      const auto [rest, error] = std::from_chars(values[c].data(), end, value);
      if (error != std::errc() || rest != end || value < 0 || value > kLongestPrompt) {
        fail(fmt::format("{} is {}, which is no length", header_[c], quote(values[c])));
      }
      *number = value;
    }
    return row;
  }

  void add(const Row& row) {
    if (!row.prompt) fail("the row has no prompt length");
    if (*row.prompt == 0) fail("a prompt of 0 tokens cannot be served");
    const std::int64_t count = row.count.value_or(1);
    if (count == 0) return;  // an empty bucket of a histogram
    if (count > kMostRequests - lengths_.requests) {
      fail(fmt::format("there are more than {} requests", kMostRequests));
    }
    counts_.try_emplace(*row.prompt, LengthCount{*row.prompt, 0, line_}).first->second.count +=
        count;
    lengths_.requests += count;
    lengths_.prompt_tokens += count * *row.prompt;
    lengths_.output_tokens += count * row.output.value_or(0);
  }

  [[noreturn]] void fail(const std::string& why) const {
    throw InputError({"the file of lengths cannot be read",
                      fmt::format("{}:{}", path_.string(), line_), why, kForms});
  }

  const std::filesystem::path& path_;
  std::size_t line_ = 0;
  std::vector<std::string> header_;  // of CSV; empty for JSON lines
  std::map<std::int64_t, LengthCount> counts_;
  Lengths lengths_;
};

}  // namespace

Lengths read_lengths(const std::filesystem::path& path) {
  return read_lengths(*open_text_stream(path, LineEnds::unix), path);
}

Lengths read_lengths(ByteStream& stream, const std::filesystem::path& path) {
  return LengthsReader(path).read(stream);
}

}  // namespace indexcache
