// SPDX-License-Identifier: Apache-2.0
#include "result/result_json.h"

#include "core/error.h"
#include "core/utf8.h"
#include "io/files.h"
#include "result/convert_v1.h"
#include "result/parts_json.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

constexpr const char* kWhat = "the result of the run cannot be used";
constexpr const char* kRemedy =
    "a run.json that `run` wrote; delete a damaged one and repeat the `run` command: the journal "
    "in its folder keeps what was measured";

Json considered_json(const Considered& considered) {
  Json json{{"pattern", considered.pattern.text()},
            {"loss", considered.loss},
            {"sequence_losses", considered.losses}};
  if (!considered.complete()) json["sequences"] = considered.sequences;
  return json;
}

Json considered_json(const std::vector<Considered>& patterns) {
  Json json = Json::array();
  for (const Considered& considered : patterns) json.push_back(considered_json(considered));
  return json;
}

Json search_json(const SearchPath& search) {
  Json path = Json::array();
  for (const PathStep& step : search.steps) {
    path.push_back(Json{{"pattern", step.pattern.text()},
                        {"loss", step.loss},
                        {"considered", considered_json(step.considered)}});
  }
  Json json{{"method", search.method}, {"start", search.start.text()}, {"path", path}};
  if (!search.measured.empty()) json["measured"] = considered_json(search.measured);
  if (search.neighborhood) {
    json["neighborhood"] = Json{{"patterns", search.neighborhood->patterns},
                                {"measured", considered_json(search.neighborhood->considered)}};
  }
  return json;
}

Json settings_json(const SearchSettings& settings, double start) {
  return Json{{"objective", name_of(settings.objective)},
              {"start", start},
              {"targets", settings.requests},
              {"strategies", settings.strategies},
              {"refine", settings.refinement},
              {"confidence", settings.race_confidence ? Json(*settings.race_confidence) : Json()},
              {"race_greedy", settings.race_all},
              {"stability", settings.stability}};
}

std::vector<std::string> texts_from_json(const JsonField& field) {
  std::vector<std::string> texts;
  for (const JsonField& entry : field.elements()) texts.push_back(entry.text());
  return texts;
}

Objective objective_from_json(const JsonField& field) {
  const auto objective = find_objective(field.text());
  if (!objective) field.fail("expected loss, kl or tail");
  return *objective;
}

// Absent in results of version 0.2.0 and older.
SearchSettings settings_from_json(const JsonField& field) {
  SearchSettings settings{.requests = texts_from_json(field.at("targets")),
                          .strategies = texts_from_json(field.at("strategies")),
                          .refinement = field.at("refine").text(),
                          .race_confidence = std::nullopt,
                          .race_all = field.at("race_greedy").boolean(),
                          .stability = field.at("stability").boolean(),
                          .objective = objective_from_json(field.at("objective"))};
  if (const auto confidence = field.nullable("confidence")) {
    settings.race_confidence = confidence->number(0.5, 1);
  }
  return settings;
}

Considered considered_from_json(const JsonField& field, const ResultShape& shape) {
  Considered considered{
      pattern_from_json(field.at("pattern"), shape), loss_from_json(field.at("loss")), {}};
  std::size_t count = shape.calibration_sequences;
  if (const auto sequences = field.find("sequences")) {
    considered.sequences = sequences->sequences(shape.calibration_sequences);
    count = considered.sequences.size();
    if (count == 0) sequences->fail("a pattern is measured on at least one sequence");
  }
  considered.losses = losses_from_json(field.at("sequence_losses"), count);
  return considered;
}

std::vector<Considered> all_considered_from_json(const JsonField& field, const ResultShape& shape) {
  std::vector<Considered> patterns;
  for (const JsonField& entry : field.elements()) {
    patterns.push_back(considered_from_json(entry, shape));
  }
  return patterns;
}

SearchPath search_from_json(const JsonField& field, const ResultShape& shape) {
  SearchPath search{.method = field.at("method").text(),
                    .start = pattern_from_json(field.at("start"), shape),
                    .steps = {}};
  if (search.method.empty()) field.at("method").fail("it is empty");
  for (const JsonField& entry : field.at("path").elements()) {
    PathStep step{.pattern = pattern_from_json(entry.at("pattern"), shape),
                  .loss = loss_from_json(entry.at("loss")),
                  .considered = {}};
    step.considered = all_considered_from_json(entry.at("considered"), shape);
    search.steps.push_back(std::move(step));
  }
  if (const auto measured = field.find("measured")) {
    search.measured = all_considered_from_json(*measured, shape);
  }
  if (const auto around = field.find("neighborhood")) {
    search.neighborhood = Neighborhood{around->at("patterns").count(),
                                       all_considered_from_json(around->at("measured"), shape)};
    if (search.neighborhood->considered.size() > search.neighborhood->patterns) {
      around->at("patterns").fail("more patterns were measured");
    }
  }
  return search;
}

Json overlap_json(const OverlapSummary& overlap) {
  Json blocks = Json::array();
  for (const auto& [first, last] : overlap.blocks) blocks.push_back(Json::array({first, last}));
  return Json{
      {"adjacent", overlap.adjacent}, {"blocks", blocks}, {"query_step", overlap.query_step}};
}

OverlapSummary overlap_from_json(const JsonField& field, std::size_t layers) {
  OverlapSummary overlap;
  for (const JsonField& entry : field.at("adjacent").elements()) {
    overlap.adjacent.push_back(entry.number(0, 1));
  }
  if (overlap.adjacent.size() + 1 != layers) {
    field.at("adjacent")
        .fail(fmt::format("expected {} numbers, found {}", layers - 1, overlap.adjacent.size()));
  }
  for (const JsonField& entry : field.at("blocks").elements()) {
    const std::vector<std::size_t> block = entry.layers(layers);
    if (block.size() != 2) entry.fail("expected a first and a last layer");
    overlap.blocks.emplace_back(block[0], block[1]);
  }
  overlap.query_step = field.at("query_step").integer(1);
  return overlap;
}

class ResultReader {
 public:
  explicit ResultReader(const JsonField& document) : document_(document) {}

  Result read() const {
    ModelSummary model = model_from_json(document_.at("model"));
    TokenSummary calibration = tokens_from_json(document_.at("calibration"));
    std::optional<Holdout> holdout;
    if (const auto field = document_.nullable("holdout")) holdout = holdout_from_json(*field, true);
    const ResultShape shape{model.layers, model.has_indexer, calibration.sequences,
                            holdout ? holdout->tokens.sequences : 0, true};
    const JsonField baseline = document_.at("baseline");
    Result result{.provenance = provenance_from_json(document_),
                  .model = std::move(model),
                  .calibration = std::move(calibration),
                  .holdout = std::move(holdout),
                  .constraints = constraints_from_json(document_.at("constraints"), shape.layers),
                  .fingerprint = fingerprint_from_json(document_.at("fingerprint")),
                  .baseline = pattern_from_json(baseline.at("pattern"), shape),
                  .baseline_loss = loss_from_json(baseline.at("loss")),
                  .baseline_losses =
                      losses_from_json(baseline.at("sequence_losses"), shape.calibration_sequences),
                  .search_start = 0,
                  .searches = {},
                  .settings = {},
                  .targets = {},
                  .overlap = overlap_from_json(document_.at("overlap"), shape.layers),
                  .warnings = {},
                  .indexer_share = std::nullopt,
                  .complete = document_.at("complete").boolean()};
    result.search_start = result.baseline_loss;
    document_.at("constraints").at("natively_shared").require(result.baseline.shared_layers());
    if (const auto settings = document_.find("search")) {
      result.settings = settings_from_json(*settings);
      result.search_start = loss_from_json(settings->at("start"));
    }
    for (const JsonField& search : document_.at("searches").elements()) {
      result.searches.push_back(search_from_json(search, shape));
    }
    read_targets(shape, result.targets);
    if (const auto share = document_.find("indexer_share")) {
      result.indexer_share =
          IndexerShare{share->at("tokens").integer(1), share->at("share").number(0, 1)};
    }
    for (const JsonField& warning : document_.at("warnings").elements()) {
      result.warnings.push_back(warning.text());
    }
    return result;
  }

 private:
  void read_targets(const ResultShape& shape, std::vector<Target>& targets) const {
    for (const JsonField& field : document_.at("targets").elements()) {
      targets.push_back(target_from_json(field, shape));
      const std::size_t size = targets.size();
      if (size > 1 && targets[size - 1].calibration.pattern.full_count() >
                          targets[size - 2].calibration.pattern.full_count()) {
        field.at("pattern").fail("it keeps more indexers than the target before it");
      }
    }
    if (targets.empty()) document_.at("targets").fail("there is no target");
  }

  const JsonField& document_;
};

}  // namespace

Json to_json(const Result& result) {
  Json json{{"schema", kRunSchema},
            {"tool", tool_json(result.provenance)},
            {"device", printable_utf8(result.provenance.device)},
            {"model", to_json(result.model)},
            {"calibration", to_json(result.calibration)},
            {"holdout", result.holdout ? to_json(*result.holdout) : Json()},
            {"constraints", to_json(result.constraints, result.baseline)},
            {"fingerprint", fingerprint_json(result.fingerprint)},
            {"baseline", Json{{"pattern", result.baseline.text()},
                              {"loss", result.baseline_loss},
                              {"sequence_losses", result.baseline_losses}}},
            {"search", settings_json(result.settings, result.search_start)},
            {"targets", Json::array()},
            {"searches", Json::array()},
            {"overlap", overlap_json(result.overlap)},
            {"complete", result.complete},
            {"warnings", Json::array()}};
  for (const Target& target : result.targets) json["targets"].push_back(to_json(target));
  for (const SearchPath& search : result.searches) {
    json["searches"].push_back(search_json(search));
  }
  for (const std::string& warning : result.warnings) {
    json["warnings"].push_back(printable_utf8(warning));
  }
  if (result.indexer_share) {
    json["indexer_share"] =
        Json{{"tokens", result.indexer_share->tokens}, {"share", result.indexer_share->share}};
  }
  json["created"] = created_json(result.provenance);
  return json;
}

Result result_from_json(const Json& document, const std::string& where) {
  const JsonSource source{kWhat, where, kRemedy};
  const JsonField root(document, source);
  const std::string schema = root.at("schema").text();
  if (schema == kRunSchemaV1) {
    const Json converted = run_from_v1(root);
    return ResultReader(JsonField(converted, source)).read();
  }
  if (schema != kRunSchema) {
    root.at("schema").fail(fmt::format("it is \"{}\"; this program reads {} and {}", schema,
                                       kRunSchema, kRunSchemaV1));
  }
  return ResultReader(root).read();
}

Result read_result(const std::filesystem::path& path) {
  const bool folder = std::filesystem::is_directory(path);
  const std::filesystem::path file = folder ? path / "run.json" : path;
  if (folder && !std::filesystem::exists(file)) {
    throw InputError({"there is no result to read", path.string(),
                      std::filesystem::exists(path / "journal.jsonl")
                          ? "the run in this folder has not finished"
                          : "it has no run.json",
                      "the folder of a finished run"});
  }
  return result_from_json(parse_json(read_file(file), file.string()), file.string());
}

bool is_run_document(const Json& document) {
  if (!document.is_object()) return false;
  const auto schema = document.find("schema");
  return schema != document.end() && schema->is_string() &&
         schema->get_ref<const std::string&>().starts_with("indexcache-run/");
}

}  // namespace indexcache
