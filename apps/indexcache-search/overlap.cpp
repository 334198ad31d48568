// SPDX-License-Identifier: Apache-2.0
// overlap: how much the layers' top-k sets agree.
#include "calibration.h"
#include "commands.h"
#include "core/error.h"
#include "engine.h"
#include "io/png.h"
#include "report/heatmap.h"
#include "report/overlap_file.h"
#include "run_folder.h"
#include "search/overlap_pass.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstdio>
#include <filesystem>

namespace indexcache {
namespace {

struct OverlapOptions {
  EngineOptions engine;
  CalibrationOptions calibration;
  std::string output;
};

Json overlap_document(const Overlap& overlap, double loss, const std::string& output) {
  Json document{{"layers", overlap.layers},
                {"index_topk", overlap.index_topk},
                {"baseline_loss", loss},
                {"overlap", Json::array()},
                {"adjacent", overlap.adjacent()},
                {"query_step", overlap.query_step},
                {"blocks", Json::array()},
                {"by_position", Json::array()},
                {"files", {output + "/overlap.h5", output + "/heatmap.png"}}};
  for (std::size_t i = 0; i < overlap.layers; ++i) {
    Json row = Json::array();
    for (std::size_t j = 0; j < overlap.layers; ++j) row.push_back(overlap.mean(i, j));
    document["overlap"].push_back(row);
  }
  for (const OverlapBlock& block : find_blocks(overlap)) {
    document["blocks"].push_back({block.first, block.last});
  }
  for (std::size_t b = 0; b < overlap.bucket_ends.size(); ++b) {
    Json adjacent = Json::array();
    for (std::size_t l = 0; l + 1 < overlap.layers; ++l) {
      adjacent.push_back(overlap.mean(l, l + 1, b));
    }
    document["by_position"].push_back(
        {{"end", overlap.bucket_ends[b]}, {"queries", overlap.queries[b]}, {"adjacent", adjacent}});
  }
  return document;
}

double average(const Json& values) {
  double sum = 0;
  for (const Json& value : values) sum += value.get<double>();
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

void print_text(const Json& document, const Overlap& overlap) {
  fmt::print("overlap of top-{} sets between neighbouring layers\n", overlap.index_topk);
  const auto adjacent = overlap.adjacent();
  for (std::size_t l = 0; l < adjacent.size(); ++l) {
    const auto bar = static_cast<std::size_t>(std::lround(adjacent[l] * 50));
    fmt::print("{:>3} {:>3}  {:.3f}  {}\n", l, l + 1, adjacent[l], std::string(bar, '#'));
  }
  std::vector<std::string> blocks;
  for (const OverlapBlock& block : find_blocks(overlap)) {
    blocks.push_back(fmt::format("{}-{}", block.first, block.last));
  }
  fmt::print("blocks       {}\n",
             blocks.empty() ? "none" : fmt::format("{}", fmt::join(blocks, ", ")));
  for (const Json& bucket : document["by_position"]) {
    fmt::print("below {:>6}  neighbours {:.3f} on average, {} queries\n", bucket["end"].get<int>(),
               average(bucket["adjacent"]), bucket["queries"].get<std::int64_t>());
  }
  for (const Json& file : document["files"]) fmt::print("{}\n", file.get<std::string>());
}

int run_overlap(const OverlapOptions& options, const CommonOptions& common) {
  std::unique_ptr<Backend> backend = make_backend(options.engine);
  Progress progress(progress_style(options.engine.progress, common));
  const Model model = open_model(options.engine.model, options.engine.mla_norm_eps);
  std::vector<std::string> warnings;
  const TokenSet tokens = CalibrationLoader(options.calibration, model, options.engine.model,
                                            options.engine.threads, progress, warnings)
                              .whole(options.calibration.inputs);
  if (std::filesystem::exists(std::filesystem::path(options.output) / "journal.jsonl")) {
    throw InputError({"the output folder cannot be used", options.output,
                      "it holds a run, whose overlap.h5 would be overwritten",
                      "choose another --output"});
  }
  prepare_folder(options.output, {"overlap.h5"});
  Engine engine(model, std::move(backend));
  Evaluator evaluator = engine.evaluator(tokens, progress, "measuring overlap");
  const OverlapPass pass = measure_overlap(evaluator, engine.backend(), model.baseline(),
                                           model.config.index_topk, tokens.longest());
  const std::filesystem::path folder = options.output;
  write_overlap(folder / "overlap.h5", pass.overlap, summarise(model), summarise(tokens));
  write_png(folder / "heatmap.png", draw_heatmap(pass.overlap, model.name));
  const Json document = overlap_document(pass.overlap, evaluator.mean(pass.losses), options.output);
  progress.clear();
  if (common.json) {
    fmt::print("{}\n", document.dump(1));
  } else {
    print_text(document, pass.overlap);
  }
  return 0;
}

}  // namespace

Command add_overlap(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<OverlapOptions>();
  CLI::App* command =
      app.add_subcommand("overlap", "Overlap of the layers' top-k sets: overlap.h5, heatmap.png");
  add_engine_options(*command, options->engine);
  add_calibration_options(*command, options->calibration);
  command->add_option("-o,--output", options->output, "Folder to write into")->type_name("DIR");
  add_common_options(*command, common);
  return {command, {"model", "calibration", "output"}, [options, &common] {
            return run_overlap(*options, common);
          }};
}

}  // namespace indexcache
