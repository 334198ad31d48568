// SPDX-License-Identifier: Apache-2.0
#include "serving/pattern_forms.h"

#include "core/error.h"
#include "serving/config_reading.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <string_view>
#include <vector>

namespace indexcache {
namespace {

[[noreturn]] void fail(const std::string& origin, const std::string& why) {
  throw InputError({"not a pattern", origin, why, kPatternForms});
}

std::size_t needed(std::optional<std::size_t> layers, const std::string& origin) {
  if (layers) return *layers;
  fail(origin, "this form does not state the number of layers, and the model is not known");
}

Pattern checked(Pattern pattern, std::optional<std::size_t> layers, const std::string& origin) {
  if (layers) check_letters(pattern, *layers, origin);
  return pattern;
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  for (;;) {
    const auto comma = text.find(',');
    parts.emplace_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value < 0 || value > 999'999'999) return std::nullopt;
  return value;
}

// "freq:4,offset:3" as {freq: 4, offset: 3}.
std::map<std::string, std::string> fields(const std::string& text, const std::string& origin) {
  std::map<std::string, std::string> found;
  for (const std::string& part : split(text)) {
    const auto colon = part.find(':');
    if (colon == std::string::npos ||
        !found.emplace(part.substr(0, colon), part.substr(colon + 1)).second) {
      fail(origin, fmt::format("\"{}\" is not KEY:VALUE, or its key is repeated", part));
    }
  }
  return found;
}

FrequencyRule rule_named(const std::string& name, const std::string& origin) {
  const std::string_view names = "ABCD";
  const auto at = name.size() == 1 ? names.find(static_cast<char>(std::toupper(name[0])))
                                   : std::string_view::npos;
  if (at == std::string_view::npos) {
    fail(origin, fmt::format("unknown rule \"{}\": the rules are A, B, C and D", name));
  }
  return static_cast<FrequencyRule>(at);
}

Pattern by_frequency(const std::string& text, std::optional<std::size_t> layers,
                     const std::string& origin) {
  auto found = fields(text, origin);
  const auto take = [&](const char* key) {
    const auto entry = found.extract(key);
    return entry.empty() ? std::string() : entry.mapped();
  };
  const std::string rule_name = take("rule");
  const FrequencyRule rule = rule_named(rule_name.empty() ? "B" : rule_name, origin);
  const bool takes_offset = rule == FrequencyRule::b || rule == FrequencyRule::d;
  const auto freq = whole_number(take("freq"));
  const std::string offset_text = take("offset");
  const auto offset =
      offset_text.empty() ? std::optional<std::int64_t>(2) : whole_number(offset_text);
  if (!freq || *freq < 1) fail(origin, "freq must be at least 1");
  if (!offset || *offset < 1) fail(origin, "offset must be at least 1, because layer 0 must be F");
  if (!takes_offset && !offset_text.empty()) fail(origin, "rules A and C have no offset");
  if (!found.empty()) fail(origin, fmt::format("unknown key \"{}\"", found.begin()->first));
  return Pattern::parse(frequency_schedule(rule, needed(layers, origin), *freq, *offset), origin);
}

Pattern from_layer_ids(const std::vector<std::int64_t>& ids, std::size_t layers,
                       const std::string& origin) {
  std::string text(layers, 'S');
  for (const std::int64_t id : ids) {
    if (id < 0 || id >= static_cast<std::int64_t>(layers)) {
      fail(origin, fmt::format("layer {} does not exist: the model has {} layers", id, layers));
    }
    char& letter = text[static_cast<std::size_t>(id)];
    if (letter == 'F') fail(origin, fmt::format("layer {} is listed twice", id));
    letter = 'F';
  }
  return Pattern::parse(text, origin);
}

Pattern from_types(const std::vector<std::string>& types, std::optional<std::size_t> layers,
                   const std::string& origin) {
  std::string text;
  for (const std::string& type : types) {
    if (type == "full" || type == "F") {
      text += 'F';
    } else if (type == "shared" || type == "S") {
      text += 'S';
    } else {
      fail(origin, fmt::format("entry {} is \"{}\": expected full or shared", text.size(), type));
    }
  }
  return checked(Pattern::parse(text, origin), layers, origin);
}

Pattern from_list(const Json& list, std::optional<std::size_t> layers, const std::string& origin) {
  if (std::ranges::all_of(list, &Json::is_string)) {
    return from_types(list.get<std::vector<std::string>>(), layers, origin);
  }
  std::vector<std::int64_t> ids;
  for (const Json& id : list) {
    if (!id.is_number_integer())
      fail(origin, "a list must contain layer numbers, or full and shared");
    ids.push_back(id.get<std::int64_t>());
  }
  return from_layer_ids(ids, needed(layers, origin), origin);
}

std::size_t layers_of(const Json& keys, std::optional<std::size_t> layers,
                      const std::string& origin) {
  if (keys.contains("num_hidden_layers")) return config_layers(keys, origin);
  if (layers) return *layers;
  for (const char* key : {"index_topk_pattern", "indexer_types"}) {
    if (keys.contains(key) && (keys[key].is_string() || keys[key].is_array())) {
      return keys[key].is_string() ? keys[key].get_ref<const std::string&>().size()
                                   : keys[key].size();
    }
  }
  if (keys.contains("index_topk_freq")) return needed(layers, origin);
  fail(origin, "it has no key \"pattern\" and no key that an engine reads");
}

// How each engine reads the keys. A config.json is a whole configuration; any other object is an
// override of an otherwise empty one.
Pattern from_keys(const Json& keys, std::optional<std::size_t> layers, const std::string& origin,
                  const EngineProfile* engine) {
  const bool whole = keys.contains("num_hidden_layers");
  const std::size_t count = layers_of(keys, layers, origin);
  if (count < 1 || count > 4096) fail(origin, "a model has 1 to 4096 layers");
  Json config = whole ? keys : Json{{"num_hidden_layers", count}};
  // If the named engine shares only in GLM models, the keys are for one.
  if (!whole && engine != nullptr && engine->glm_only) config["model_type"] = "glm_moe_dsa";
  const Json overrides = whole ? Json::object() : keys;
  std::map<std::string, std::vector<std::string>> seen;  // schedule -> engines
  std::string failure;
  const auto asked = engine != nullptr ? std::vector{engine} : newest_profiles();
  for (const EngineProfile* profile : asked) {
    const ConfigReading reading = read_schedule(*profile, config, overrides, origin);
    if (!reading.failure.empty()) {
      if (failure.empty()) failure = fmt::format("{}: {}", profile->name, reading.failure);
    } else if (engine != nullptr || reading.decided_by != "no key") {
      seen[reading.schedule].emplace_back(profile->name);
    }
  }
  if (seen.empty() && !failure.empty()) fail(origin, failure);
  if (seen.empty()) fail(origin, "no engine finds a schedule in it");
  if (seen.size() > 1) {
    std::string list;
    for (const auto& [schedule, names] : seen) {
      list += fmt::format("{}{} ({})", list.empty() ? "" : "; ", schedule, fmt::join(names, ", "));
    }
    throw InputError({"engines read different patterns from this", origin, list,
                      "prefix the engine that will serve it, such as vllm:FILE"});
  }
  return checked(Pattern::parse(seen.begin()->first, origin), layers, origin);
}

bool all_of(const std::string& text, const char* letters) {
  return !text.empty() && text.find_first_not_of(letters) == std::string::npos;
}

}  // namespace

Pattern pattern_from_json(const Json& json, std::optional<std::size_t> layers,
                          const std::string& origin, const EngineProfile* engine) {
  if (json.is_string()) return parse_pattern_form(json.get<std::string>(), layers, origin);
  if (json.is_array()) return from_list(json, layers, origin);
  if (json.is_object()) return from_keys(json, layers, origin, engine);
  fail(origin, "found " + described(json));
}

Pattern parse_pattern_form(const std::string& text, std::optional<std::size_t> layers,
                           const std::string& origin) {
  if (text.starts_with('{') || text.starts_with('[')) {
    return pattern_from_json(parse_json(text, origin), layers, origin);
  }
  if (text.starts_with("uniform:")) {
    const auto period = whole_number(text.substr(8));
    if (!period || *period < 1) fail(origin, "N of uniform:N must be at least 1");
    return Pattern::uniform(needed(layers, origin), static_cast<std::size_t>(*period));
  }
  if (text.starts_with("freq:")) return by_frequency(text, layers, origin);
  if (all_of(text, "0123456789, ")) {
    return pattern_from_json(parse_json("[" + text + "]", origin), layers, origin);
  }
  if (text.find(',') != std::string::npos) return from_types(split(text), layers, origin);
  const bool word = std::ranges::all_of(text, [](unsigned char c) { return std::isalnum(c) != 0; });
  if (!word) fail(origin, "");
  return checked(Pattern::parse(text, origin), layers, origin);
}

}  // namespace indexcache
