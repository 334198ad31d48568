// SPDX-License-Identifier: Apache-2.0
#include "model/rope_config.h"

#include "core/error.h"
#include "core/quote.h"

#include <fmt/format.h>

#include <cmath>

namespace indexcache {
namespace {

constexpr double kDefaultTheta = 10000;  // what transformers takes if no key states it

// One of the two objects that describe RoPE.
struct Description {
  std::string key;
  double theta = kDefaultTheta;
  bool states_theta = false;  // itself, or at the top of config.json
  std::optional<Yarn> yarn;
  std::vector<std::string> unread;

  std::string text() const {
    const std::string theta_text =
        fmt::format("theta {}{}", theta, states_theta ? "" : " (the default)");
    if (!yarn) return fmt::format("{} has type default with {}", key, theta_text);
    return fmt::format("{} has type yarn with {}, factor {} and {} original positions", key,
                       theta_text, yarn->factor, yarn->original_positions);
  }
};

[[noreturn]] void contradict(const ConfigReader& r, const std::string& why) {
  throw InputError({"config.json contradicts itself about RoPE", r.where(), why,
                    "keep the one that the model is served with, and remove the other"});
}

// Two keys of one meaning must agree.
std::string rope_type(const ConfigReader& r, const ConfigReader& rope, const std::string& key) {
  const std::string newer = rope.text_or("rope_type", ""), older = rope.text_or("type", "");
  if (!newer.empty() && !older.empty() && newer != older) {
    contradict(r, fmt::format("{0}.rope_type is {1}, but {0}.type is {2}", key, newer, older));
  }
  const std::string type = newer.empty() ? older : newer;
  return type.empty() ? "default" : type;
}

// transformers reads attention_factor, DeepSeek's code derives it from mscale and mscale_all_dim.
void read_attention_factor(const ConfigReader& r, const ConfigReader& rope, const std::string& key,
                           Yarn& yarn) {
  if (!rope.has("attention_factor")) return;
  yarn.attention_factor = rope.positive("attention_factor");
  if (!rope.has("mscale") && !rope.has("mscale_all_dim")) return;
  const double derived =
      yarn_mscale(yarn.factor, yarn.mscale) / yarn_mscale(yarn.factor, yarn.mscale_all_dim);
  if (std::abs(*yarn.attention_factor - derived) <= 1e-6 * derived) return;
  contradict(r, fmt::format("{0}.attention_factor is {1}, but {2} follows from {0}.mscale and "
                            "{0}.mscale_all_dim",
                            key, *yarn.attention_factor, derived));
}

Yarn read_yarn(const ConfigReader& r, const ConfigReader& rope, const std::string& key) {
  Yarn yarn{
      .factor = rope.positive("factor"),
      .original_positions = rope.positive("original_max_position_embeddings"),
      .beta_fast = rope.positive_or("beta_fast", 32),
      .beta_slow = rope.positive_or("beta_slow", 1),
      .mscale = rope.positive_or("mscale", 1),
      .mscale_all_dim = rope.positive_or("mscale_all_dim", 0),
  };
  rope.require(rope.flag_or("truncate", true), "truncate", "only true is supported");
  read_attention_factor(r, rope, key, yarn);
  return yarn;
}

Description describe(const ConfigReader& r, const std::string& key) {
  const RopeObject rope = read_rope_object(r, key);
  Description description;
  description.key = key;
  const bool top = r.has("rope_theta");
  description.states_theta = rope.theta || top;
  if (description.states_theta) {
    description.theta = rope.theta ? *rope.theta : r.positive("rope_theta");
  }
  if (rope.theta && top && r.positive("rope_theta") != description.theta) {
    contradict(r, fmt::format("{}.rope_theta is {}, but rope_theta is {}", key, description.theta,
                              r.positive("rope_theta")));
  }
  description.yarn = rope.yarn;
  for (const std::string& unread : rope.unread) {
    if (unread == key + ".partial_rotary_factor" && r.at(key)["partial_rotary_factor"] == 1) {
      continue;
    }
    description.unread.push_back(unread);
  }
  return description;
}

}  // namespace

RopeObject read_rope_object(const ConfigReader& r, const std::string& key) {
  const ConfigReader rope = r.object(key);
  RopeObject object;
  if (rope.has("rope_theta")) object.theta = rope.positive("rope_theta");
  const std::string type = rope_type(r, rope, key);
  rope.require(type == "default" || type == "yarn", "rope_type",
               quote(type) + " is not supported: default and yarn are");
  if (type == "yarn") object.yarn = read_yarn(r, rope, key);
  for (const std::string& unread : rope.unread()) {
    rope.require(!rope.at(unread).is_object(), unread,
                 "RoPE that differs between layers is not supported");
    object.unread.push_back(key + "." + unread);
  }
  return object;
}

void read_rope(const ConfigReader& r, ModelConfig& config) {
  std::vector<Description> descriptions;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    // An empty object is none to transformers.
    if (r.has(key) && r.at(key) != Json::object()) descriptions.push_back(describe(r, key));
  }
  if (descriptions.empty()) {
    config.rope_theta = r.positive("rope_theta");
    return;
  }
  const Description& first = descriptions.front();
  const Description& last = descriptions.back();
  if (first.theta != last.theta || first.yarn != last.yarn) {
    contradict(r, fmt::format("{}, but {}; programs differ in which one they use", first.text(),
                              last.text()));
  }
  r.require(first.states_theta || last.states_theta, "rope_theta", "the key is missing");
  config.rope_theta = first.theta;
  config.yarn = first.yarn;
  for (const Description& description : descriptions) {
    config.unread_keys.insert(config.unread_keys.end(), description.unread.begin(),
                              description.unread.end());
  }
}

}  // namespace indexcache
