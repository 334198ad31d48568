// SPDX-License-Identifier: Apache-2.0
#include "overlap_models.h"

#include "core/console.h"
#include "core/count_text.h"
#include "core/error.h"
#include "core/host_memory.h"
#include "device_options.h"
#include "io/files.h"
#include "io/json_text.h"
#include "present/target_text.h"
#include "result/parts_json.h"
#include "run/folder.h"
#include "run/model_comparison.h"
#include "run/provenance.h"
#include "run/rank_service.h"
#include "set_overlap_text.h"
#include "version.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <utility>
#include <vector>

namespace indexcache {
namespace {

constexpr const char* kSchema = "indexcache-model-overlap/1";
constexpr std::initializer_list<const char*> kModelOverlapFiles = {"model-overlap.json"};

// A query of a layer, the worst of all first.
struct NamedQuery {
  std::size_t layer;
  QueryInCommon query;
};

std::vector<NamedQuery> worst_of_all(const ModelOverlap& overlap) {
  std::vector<NamedQuery> all;
  for (std::size_t n = 0; n < overlap.layers.size(); ++n) {
    for (const QueryInCommon& query : overlap.worst_queries[n]) {
      if (query.common < overlap.index_topk) all.push_back({overlap.layers[n], query});
    }
  }
  std::ranges::stable_sort(all, {}, [](const NamedQuery& named) { return named.query.common; });
  all.resize(std::min(all.size(), kWorstQueries));
  return all;
}

double share(const ModelOverlap& overlap, const QueryInCommon& query) {
  return static_cast<double>(query.common) / static_cast<double>(overlap.index_topk);
}

Json query_json(const ModelOverlap& overlap, const QueryInCommon& query) {
  return {{"sequence", query.sequence},
          {"position", query.position},
          {"overlap", share(overlap, query)}};
}

// How a model is computed.
Json model_json(const ComparedModel& compared, double loss) {
  return {{"name", compared.model.name},
          {"config_sha256", compared.model.config_sha256},
          {"precision", compared.options.precision},
          {"indexer_precision", compared.options.indexer_precision.empty()
                                    ? Json()
                                    : Json(compared.options.indexer_precision)},
          {"loss", loss}};
}

Json document_of(const ModelComparison& comparison, const ComparedModel& first,
                 const ComparedModel& second, const TokenSet& tokens) {
  const ModelOverlap& overlap = comparison.overlap;
  Json document{{"schema", kSchema}, {"tool", {{"name", kToolName}, {"version", kToolVersion}}}};
  document["models"] = {model_json(first, comparison.first_loss),
                        model_json(second, comparison.second_loss)};
  document["tokens"] = to_json(summarize(tokens));
  document["index_topk"] = overlap.index_topk;
  if (const LayerNumbers numbers = first.model.config.layer_numbers(); !numbers.are_all()) {
    document["pattern_layers"] = numbers.list();
  }
  document["query_step"] = overlap.query_step;
  document.update(set_overlap_document(overlap));
  for (std::size_t n = 0; n < overlap.layers.size(); ++n) {
    Json& worst = document["layers"][n]["worst_queries"] = Json::array();
    for (const QueryInCommon& query : overlap.worst_queries[n]) {
      worst.push_back(query_json(overlap, query));
    }
  }
  return document;
}

std::string text_of(const ModelComparison& comparison, const LayerNumbers& numbers,
                    const std::string& first, const std::string& second) {
  const ModelOverlap& overlap = comparison.overlap;
  std::string text = fmt::format("share of the {} tokens per query of {} that {} selects too\n{}\n",
                                 count_text(overlap.index_topk), first, second,
                                 set_overlap_table(overlap, numbers));
  if (overlap.query_step > 1) {
    text += fmt::format(
        "measured at one position in {}, because the sets of all do not fit in host memory\n",
        overlap.query_step);
  }
  const std::vector<NamedQuery> worst = worst_of_all(overlap);
  if (!worst.empty()) text += "\nworst queries\n";
  for (const auto& [layer, query] : worst) {
    text += fmt::format("layer {:>3}  sequence {:>4}  position {:>7}  {:.4f}\n", numbers.of(layer),
                        query.sequence, query.position, share(overlap, query));
  }
  return text + fmt::format("\nloss {} and {}\n", loss_text(comparison.first_loss),
                            loss_text(comparison.second_loss));
}

// A model with its precision, if that is what distinguishes the two.
std::string name_of(const ComparedModel& compared, bool with_precision) {
  if (!with_precision) return compared.model.name;
  const std::string& indexer = compared.options.indexer_precision;
  return fmt::format("{} in {}{}", compared.model.name, compared.options.precision,
                     indexer.empty() ? "" : ", indexer " + indexer);
}

DeviceOptions options_of(const DeviceOptions& first, const OtherModel& other) {
  DeviceOptions options = first;
  if (!other.model.empty()) options.model = other.model;
  if (!other.precision.empty()) options.precision = other.precision;
  if (!other.indexer_precision.empty()) options.indexer_precision = other.indexer_precision;
  return options;
}

// Errors name the options as if they were those of the first model, so they say which one it is.
void require_second_device(const DeviceOptions& second) {
  try {
    make_backend(second);
  } catch (const UsageError& error) {
    Problem problem = error.problem();
    problem.where = "the second model: " + problem.where;
    throw UsageError(std::move(problem));
  }
}

}  // namespace

int overlap_models(const DeviceOptions& first, const OtherModel& other,
                   const CalibrationOptions& calibration, const std::string& output,
                   const std::string& progress_option, CommonOptions& common) {
  require_one_process(common.join_ranks(), "a comparison of two models");
  Progress progress(progress_style(progress_option, common));
  const DeviceOptions second = options_of(first, other);
  make_backend(first);  // what is wrong with either shows before anything is computed
  require_second_device(second);
  const Model model = open_model(first.model, first.mla_norm_eps);
  const Model other_model = open_model(second.model, second.mla_norm_eps);
  require_comparable(model, other_model, second.model);
  check_folder(output, kModelOverlapFiles);
  std::vector<std::string> warnings;
  warn_of_model(model, progress, warnings);
  if (!other.model.empty()) warn_of_model(other_model, progress, warnings);
  if (model.tokenizer_sha256 != other_model.tokenizer_sha256) {
    warn(progress, warnings,
         fmt::format("{} has another tokenizer.json than {}: both get the tokens of the latter",
                     other_model.name, model.name));
  }
  const TokenSet tokens =
      CalibrationLoader(calibration, model, first.model, first.threads, progress, warnings)
          .whole(calibration.prepare.inputs);
  prepare_folder(output, kModelOverlapFiles);
  const ComparedModel compared{model, first}, compared_other{other_model, second};
  const std::int64_t room = first.host_bytes.value_or(available_host_bytes()) / 2;
  const ModelComparison comparison =
      compare_models(compared, compared_other, tokens, room, progress);
  Json document = document_of(comparison, compared, compared_other, tokens);
  write_file(std::filesystem::path(output) / "model-overlap.json", json_text(document, 1) + "\n");
  progress.clear();
  if (common.json) {
    document["files"] = {output + "/model-overlap.json"};
    document["warnings"] = warnings;
    write_output("{}\n", json_text(document, 1));
    return 0;
  }
  const bool precisions = !other.precision.empty() || !other.indexer_precision.empty();
  write_output("{}", text_of(comparison, model.config.layer_numbers(),
                             name_of(compared, precisions), name_of(compared_other, precisions)));
  return 0;
}

}  // namespace indexcache
