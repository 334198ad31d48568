// SPDX-License-Identifier: Apache-2.0
#include "distill/training_state.h"

#include "core/error.h"
#include "core/fingerprint_check.h"
#include "io/json_field.h"
#include "io/safetensors.h"
#include "io/safetensors_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

namespace indexcache {
namespace {

constexpr const char* kState = "state";
constexpr const char* kRemedy = "--restart, which begins again";

std::string best_name(std::size_t stage) {
  return fmt::format("stage{}.best", stage);
}

TensorSource source_of(std::string name, const std::vector<float>& values) {
  const auto bytes = static_cast<std::int64_t>(values.size() * sizeof(float));
  return {std::move(name),
          "F32",
          {static_cast<std::int64_t>(values.size())},
          bytes,
          [&values](std::int64_t first, std::span<std::byte> out) {
            std::memcpy(out.data(), reinterpret_cast<const std::byte*>(values.data()) + first,
                        out.size());
          }};
}

Json curve_json(const std::vector<DivergencePoint>& curve) {
  Json json = Json::array();
  for (const DivergencePoint& point : curve) json.push_back({point.step, point.values});
  return json;
}

std::vector<DivergencePoint> curve_from_json(const JsonField& field, std::size_t students) {
  std::vector<DivergencePoint> curve;
  for (const JsonField& point : field.elements()) {
    const auto parts = point.elements();
    if (parts.size() != 2)
      throw InputError({"the training state is damaged", point.path(),
                        "a point of a curve has two parts", kRemedy});
    curve.push_back({parts[0].integer(0), parts[1].numbers()});
    if (curve.back().values.size() != students) {
      throw InputError(
          {"the training state is damaged", point.path(),
           fmt::format("{} values for {} students", curve.back().values.size(), students),
           kRemedy});
    }
  }
  return curve;
}

Json stage_json(const StageState& stage) {
  Json best = Json::array();
  for (const double value : stage.best_divergence) {
    best.push_back(std::isfinite(value) ? Json(value) : Json());
  }
  return {{"step", stage.step},
          {"stale", stage.stale},
          {"over", stage.over},
          {"training", curve_json(stage.training)},
          {"validation", curve_json(stage.validation)},
          {"best_divergence", std::move(best)}};
}

StageState stage_from_json(const JsonField& field, std::size_t students) {
  StageState stage;
  stage.step = field.at("step").integer(0);
  stage.stale = field.at("stale").integer(0);
  stage.over = field.at("over").boolean();
  stage.training = curve_from_json(field.at("training"), students);
  stage.validation = curve_from_json(field.at("validation"), students);
  for (const JsonField& value : field.at("best_divergence").elements()) {
    stage.best_divergence.push_back(value.json().is_null() ? HUGE_VAL : value.number());
  }
  if (stage.best_divergence.size() != students) {
    field.at("best_divergence").fail("expected one number per student");
  }
  return stage;
}

std::vector<float> read_tensor(const SafetensorsFile& file, const std::string& name,
                               std::size_t elements) {
  const auto found = file.tensors().find(name);
  const auto bytes = static_cast<std::int64_t>(elements * sizeof(float));
  if (found == file.tensors().end() || found->second.bytes != bytes) {
    throw InputError({"the training state is damaged", file.path().string(),
                      fmt::format("the tensor {} is missing or has another size", name), kRemedy});
  }
  std::vector<float> values(elements);
  file.read(found->second, 0, std::as_writable_bytes(std::span(values)));
  return values;
}

}  // namespace

void write_training_state(const std::filesystem::path& file, const TrainingState& state,
                          const Fingerprint& fingerprint) {
  Json json{{"wave", state.wave},
            {"seconds", state.seconds},
            {"fingerprint", Json::object()},
            {"stages", Json::array()}};
  for (const auto& [field, value] : fingerprint) json["fingerprint"][field] = value;
  std::vector<TensorSource> tensors;
  if (!state.stages.back().over) {  // else the best parameters are all that is needed
    tensors = {source_of("parameters", state.students.parameters),
               source_of("mean", state.students.mean),
               source_of("variance", state.students.variance)};
  }
  for (std::size_t i = 0; i < state.stages.size(); ++i) {
    json["stages"].push_back(stage_json(state.stages[i]));
    tensors.push_back(source_of(best_name(i), state.stages[i].best));
  }
  write_safetensors(file, tensors, {{kState, json.dump()}});
}

TrainingState parse_training_state(std::string_view text, const std::string& where,
                                   const Fingerprint& fingerprint, std::size_t students) {
  const JsonSource source{"the training state is damaged", where, kRemedy};
  const Json json = parse_json(text, where, kRemedy);
  const JsonField root(json, source);
  Fingerprint before;
  for (const auto& [field, value] : root.at("fingerprint").members()) {
    before.emplace_back(field, value.text());
  }
  check_fingerprint(before, fingerprint, "the folder contains a training with different settings",
                    where,
                    "the same settings to continue it, another --output, or --restart to discard "
                    "it");
  TrainingState state;
  state.wave = root.at("wave").integer(1, 1 << 20);
  state.seconds = root.at("seconds").number();
  for (const JsonField& stage : root.at("stages").elements()) {
    state.stages.push_back(stage_from_json(stage, students));
  }
  if (state.stages.empty() || state.stages.size() > 2) {
    root.at("stages").fail("expected one or two stages");
  }
  return state;
}

std::optional<TrainingState> read_training_state(const std::filesystem::path& file,
                                                 const Fingerprint& fingerprint,
                                                 std::size_t students, std::int64_t parameters) {
  if (!std::filesystem::exists(file)) return std::nullopt;
  const SafetensorsFile stored(file);
  const auto metadata = stored.metadata();
  const auto text = metadata.find(kState);
  if (text == metadata.end()) {
    throw InputError(
        {"the training state is damaged", file.string(), "it has no metadata", kRemedy});
  }
  TrainingState state = parse_training_state(text->second, file.string(), fingerprint, students);
  const std::size_t elements = students * static_cast<std::size_t>(parameters);
  for (std::size_t i = 0; i < state.stages.size(); ++i) {
    state.stages[i].best = read_tensor(stored, best_name(i), elements);
  }
  if (state.stages.back().over) return state;
  state.students = {read_tensor(stored, "parameters", elements),
                    read_tensor(stored, "mean", elements),
                    read_tensor(stored, "variance", elements)};
  return state;
}

}  // namespace indexcache
