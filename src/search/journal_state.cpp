// SPDX-License-Identifier: Apache-2.0
#include "search/journal_state.h"

#include "core/created.h"
#include "core/error.h"
#include "io/sealed_line.h"

#include <fmt/format.h>

#include <utility>

namespace indexcache {
namespace {

constexpr const char* kSchema = "indexcache-journal/2";

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
class Reader {
 public:
  explicit Reader(JournalState& state) : state_(state) {}

  void apply(const Json& line) {
    if (!line.is_object()) throw Contradiction{"it is not an object"};
    if (!state_.fingerprint) return header(line);
    if (!state_.baseline) return baseline(line);
    if (count_in(line, "step") != state_.steps.size() + 1) {
      throw Contradiction{fmt::format("step {} is expected here", state_.steps.size() + 1)};
    }
    return line.contains("candidates") ? wave(line) : step(line);
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
  }

  void wave(const Json& line) {
    const std::size_t known = measured();
    if (count_in(line, "first") != known) {
      throw Contradiction{fmt::format("sequence {} is expected here", known)};
    }
    if (!line["candidates"].is_array() || line["candidates"].empty()) {
      throw Contradiction{"a wave has no candidates"};
    }
    std::vector<Candidate> candidates;
    for (const Json& entry : line["candidates"]) {
      if (!entry.is_object() || !entry.contains("losses")) {
        throw Contradiction{"a candidate's losses are malformed"};
      }
      candidates.push_back({count_in(entry, "layer"), losses_from_json(entry["losses"]), 0});
    }
    check(candidates, known);
    if (state_.unfinished.empty()) {
      state_.unfinished = std::move(candidates);
      return;
    }
    for (std::size_t c = 0; c < candidates.size(); ++c) {
      auto& losses = state_.unfinished[c].losses;
      losses.insert(losses.end(), candidates[c].losses.begin(), candidates[c].losses.end());
    }
  }

  void check(const std::vector<Candidate>& candidates, std::size_t known) const {
    const std::size_t more = candidates.front().losses.size();
    if (more == 0 || more > state_.baseline->size() - known) {
      throw Contradiction{fmt::format("{} sequences are measured of the {} that are left", more,
                                      state_.baseline->size() - known)};
    }
    const auto& before = state_.unfinished;
    if (!before.empty() && before.size() != candidates.size()) {
      throw Contradiction{"the waves of a step have different candidates"};
    }
    for (std::size_t c = 0; c < candidates.size(); ++c) {
      if (candidates[c].losses.size() != more) {
        throw Contradiction{"the candidates of a wave have different sequences"};
      }
      if (c > 0 && candidates[c].layer <= candidates[c - 1].layer) {
        throw Contradiction{"candidates do not ascend"};
      }
      if (!before.empty() && before[c].layer != candidates[c].layer) {
        throw Contradiction{"the waves of a step have different candidates"};
      }
    }
  }

  void step(const Json& line) {
    if (measured() != state_.baseline->size()) {
      throw Contradiction{fmt::format("the step ends after {} of {} sequences", measured(),
                                      state_.baseline->size())};
    }
    RecordedStep step{count_in(line, "removed"), std::exchange(state_.unfinished, {}), 0};
    const auto created = line.find("created");
    if (created != line.end() && created->is_object() && created->contains("seconds") &&
        (*created)["seconds"].is_number()) {
      step.seconds = (*created)["seconds"].get<double>();
    }
    state_.steps.push_back(std::move(step));
  }

  // Sequences of the step in progress that are known.
  std::size_t measured() const {
    return state_.unfinished.empty() ? 0 : state_.unfinished.front().losses.size();
  }

  JournalState& state_;
};

// Whether a first line that is not whole may be one of ours: it is dropped then.
bool begins_a_journal(std::string_view text) {
  const std::string begin = fmt::format("{{\"schema\":\"{}\",", kSchema);
  return text.starts_with(begin) || std::string_view(begin).starts_with(text);
}

}  // namespace

JournalState read_journal(std::string_view text, const std::string& where) {
  JournalState state;
  Reader reader(state);
  while (state.bytes < text.size()) {
    const std::size_t end = text.find('\n', state.bytes);
    const bool last = end == text.npos || end + 1 == text.size();
    const auto object =
        end == text.npos ? std::nullopt : unseal_line(text.substr(state.bytes, end - state.bytes));
    const std::string place = fmt::format("{}:{}", where, state.lines + 1);
    constexpr const char* kRestart = "--restart to begin again, or another --output";
    if (!object && state.lines == 0 && !begins_a_journal(text)) {
      throw InputError({"the journal is damaged", place,
                        fmt::format("it does not begin with schema {}", kSchema), kRestart});
    }
    if (!object && last) {
      state.torn = true;
      return state;
    }
    if (!object) {
      throw InputError(
          {"the journal is damaged", place, "the line's checksum is not its own", kRestart});
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

std::string header_line(const std::vector<std::pair<std::string, std::string>>& fingerprint) {
  Json fields = Json::object();
  for (const auto& [field, value] : fingerprint) fields[field] = value;
  return sealed(Json{{"schema", kSchema}, {"fingerprint", fields}});
}

std::string baseline_line(const SequenceLosses& losses) {
  return sealed(Json{{"baseline", losses_to_json(losses)}});
}

std::string wave_line(std::size_t step_index, std::size_t first,
                      const std::vector<std::size_t>& layers,
                      std::span<const SequenceLosses> losses) {
  Json candidates = Json::array();
  for (std::size_t c = 0; c < layers.size(); ++c) {
    candidates.push_back(Json{{"layer", layers[c]}, {"losses", losses_to_json(losses[c])}});
  }
  return sealed(Json{{"step", step_index + 1}, {"first", first}, {"candidates", candidates}});
}

std::string step_line(std::size_t step_index, const Step& step) {
  Json created{{"at", created_time()}};
  if (const auto seconds = recorded_seconds(step.seconds)) created["seconds"] = *seconds;
  return sealed(Json{{"step", step_index + 1}, {"removed", step.removed}, {"created", created}});
}

}  // namespace indexcache
