// SPDX-License-Identifier: Apache-2.0
#include "search/journal_state.h"

#include "core/created.h"
#include "core/error.h"
#include "core/pattern.h"
#include "io/sealed_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

constexpr const char* kSchema = "indexcache-journal/3";

// A line that says something it must not, at this place.
struct Contradiction {
  std::string why;
};

Json losses_to_json(std::span<const double> losses) {
  Json list = Json::array();
  for (double loss : losses) list.push_back(hex_float(loss));
  return list;
}

SequenceLosses losses_from_json(const Json& list) {
  if (!list.is_array()) throw Contradiction{"losses are expected"};
  SequenceLosses losses;
  for (const Json& entry : list) {
    const auto value = entry.is_string() ? parse_hex_float(entry.get<std::string>()) : std::nullopt;
    if (!value) throw Contradiction{"a loss is malformed"};
    losses.push_back(*value);
  }
  return losses;
}

std::size_t count_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) {
    throw Contradiction{fmt::format("\"{}\" is expected to be a whole number", key)};
  }
  return found->get<std::size_t>();
}

std::string sealed(const Json& object) {
  return seal_line(object.dump()) + "\n";
}

// Applies one line after another to a state.
class JournalReader {
 public:
  explicit JournalReader(JournalState& state) : state_(state) {}

  void apply(const Json& line) {
    if (!line.is_object()) throw Contradiction{"it is not an object"};
    if (!state_.fingerprint) return header(line);
    if (count_in(line, "line") != state_.lines + 1) {
      throw Contradiction{fmt::format("line {} is expected here", state_.lines + 1)};
    }
    return state_.baseline ? losses(line) : baseline(line);
  }

 private:
  void header(const Json& line) {
    if (!line.contains("schema") || line["schema"] != kSchema || !line.contains("fingerprint") ||
        !line["fingerprint"].is_object()) {
      throw Contradiction{fmt::format("it does not begin with schema {}", kSchema)};
    }
    state_.fingerprint = line["fingerprint"];
  }

  void baseline(const Json& line) {
    if (!line.contains("baseline")) {
      throw Contradiction{"the losses of the baseline are expected here"};
    }
    state_.baseline = losses_from_json(line["baseline"]);
    state_.losses = LossTable(state_.baseline->size());
  }

  void losses(const Json& line) {
    const std::vector<std::size_t> sequences = sequences_in(line);
    if (!line.contains("losses") || !line["losses"].is_array() || line["losses"].empty()) {
      throw Contradiction{"losses of patterns are expected here"};
    }
    for (const Json& entry : line["losses"]) {
      const Pattern pattern = pattern_in(entry);
      const SequenceLosses values = losses_from_json(entry["losses"]);
      if (values.size() != sequences.size() || !std::ranges::all_of(values, finite)) {
        throw Contradiction{fmt::format("pattern {} lacks losses", pattern.text())};
      }
      if (state_.losses.missing(pattern, sequences).size() != sequences.size()) {
        throw Contradiction{fmt::format("pattern {} is measured twice", pattern.text())};
      }
      state_.losses.add(pattern, sequences, values);
    }
    const auto created = line.find("created");
    if (created != line.end() && created->is_object() && created->contains("seconds") &&
        (*created)["seconds"].is_number()) {
      state_.seconds += (*created)["seconds"].get<double>();
    }
  }

  static bool finite(double loss) { return std::isfinite(loss); }

  std::vector<std::size_t> sequences_in(const Json& line) const {
    const auto list = line.find("sequences");
    if (list == line.end() || !list->is_array() || list->empty()) {
      throw Contradiction{"a list of sequences is expected here"};
    }
    std::vector<std::size_t> sequences;
    for (const Json& entry : *list) {
      const bool sound = entry.is_number_unsigned() && entry < state_.baseline->size();
      if (!sound || (!sequences.empty() && entry <= sequences.back())) {
        throw Contradiction{
            fmt::format("sequences do not ascend below {}", state_.baseline->size())};
      }
      sequences.push_back(entry.get<std::size_t>());
    }
    return sequences;
  }

  // Patterns of one journal have one length; the first decides it.
  Pattern pattern_in(const Json& entry) {
    if (!entry.is_object() || !entry.contains("pattern") || !entry["pattern"].is_string() ||
        !entry.contains("losses")) {
      throw Contradiction{"a pattern's losses are malformed"};
    }
    const auto text = entry["pattern"].get<std::string>();
    if (text.empty() || text[0] != 'F' || text.find_first_not_of("FS") != text.npos) {
      throw Contradiction{fmt::format("\"{}\" is not a pattern", text)};
    }
    if (layers_ == 0) layers_ = text.size();
    if (text.size() != layers_) throw Contradiction{"patterns have different lengths"};
    return Pattern::parse(text);
  }

  JournalState& state_;
  std::size_t layers_ = 0;
};

// Whether a first line that is not whole may be one of ours: it is dropped then.
bool begins_a_journal(std::string_view text) {
  const std::string begin = fmt::format("{{\"schema\":\"{}\",", kSchema);
  return text.starts_with(begin) || std::string_view(begin).starts_with(text);
}

}  // namespace

JournalState read_journal(std::string_view text, const std::string& where) {
  JournalState state;
  JournalReader reader(state);
  while (state.bytes < text.size()) {
    const std::size_t end = text.find('\n', state.bytes);
    const bool last = end == text.npos || end + 1 == text.size();
    const auto object =
        end == text.npos ? std::nullopt : unseal_line(text.substr(state.bytes, end - state.bytes));
    const std::string place = fmt::format("{}:{}", where, state.lines + 1);
    constexpr const char* kRestart = "--restart to start over, or another --output";
    if (!object && state.lines == 0 && !begins_a_journal(text)) {
      throw InputError({"the journal is damaged", place,
                        fmt::format("it does not begin with schema {}", kSchema), kRestart});
    }
    if (!object && last) {
      state.torn = true;
      return state;
    }
    if (!object) {
      throw InputError({"the journal is damaged", place, "checksum mismatch", kRestart});
    }
    try {
      reader.apply(parse_json(*object, place, kRestart));
    } catch (const Contradiction& contradiction) {
      throw InputError({"the journal is damaged", place, contradiction.why, kRestart});
    }
    ++state.lines;
    state.bytes = end + 1;
  }
  return state;
}

std::string header_line(const Fingerprint& fingerprint) {
  Json fields = Json::object();
  for (const auto& [field, value] : fingerprint) fields[field] = value;
  return sealed(Json{{"schema", kSchema}, {"line", 1}, {"fingerprint", fields}});
}

std::string baseline_line(const SequenceLosses& losses) {
  return sealed(Json{{"line", 2}, {"baseline", losses_to_json(losses)}});
}

std::string losses_line(std::size_t line, std::span<const Pattern> patterns,
                        std::span<const std::size_t> sequences,
                        std::span<const SequenceLosses> losses, double seconds) {
  Json entries = Json::array();
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    entries.push_back(Json{{"pattern", patterns[p].text()}, {"losses", losses_to_json(losses[p])}});
  }
  Json created{{"at", created_time()}};
  if (const auto recorded = recorded_seconds(seconds)) created["seconds"] = *recorded;
  return sealed(Json{{"line", line},
                     {"sequences", std::vector<std::size_t>(sequences.begin(), sequences.end())},
                     {"losses", entries},
                     {"created", created}});
}

}  // namespace indexcache
