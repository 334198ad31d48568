// SPDX-License-Identifier: Apache-2.0
#include "present/report.h"

#include "core/error.h"
#include "io/files.h"
#include "io/json_field.h"
#include "result/overlap_file.h"
#include "result/result_json.h"

namespace indexcache {
namespace {

BenchRow bench_row(const JsonField& field) {
  BenchRow row{.context = field.at("context").integer(1),
               .pattern = field.at("pattern").text(),
               .milliseconds = field.at("milliseconds").number(),
               .speed_up = std::nullopt,
               .components = {}};
  if (const auto speed_up = field.find("speed_up")) row.speed_up = speed_up->number();
  if (const auto components = field.find("component_milliseconds")) {
    for (const auto& [component, value] : components->members()) {
      row.components.emplace_back(component, value.number());
    }
  }
  return row;
}

std::vector<BenchRow> read_bench(const std::filesystem::path& path) {
  const Json document = parse_json(read_file(path), path.string());
  const JsonSource source{"the measurements cannot be shown", path.string(),
                          "the output of `bench prefill --json`, or remove the file"};
  std::vector<BenchRow> rows;
  const auto prefill = JsonField(document, source).find("prefill");
  if (!prefill) return rows;
  for (const JsonField& row : prefill->elements()) rows.push_back(bench_row(row));
  return rows;
}

}  // namespace

Report read_report(const std::filesystem::path& folder) {
  Report report{.result = read_result(folder),
                .overlap = read_overlap(folder / "overlap.h5").overlap,
                .bench = {},
                .folder = folder.filename().string()};
  if (report.overlap.layers != report.result.model.layers) {
    throw InputError({"the run cannot be shown", (folder / "overlap.h5").string(),
                      "it belongs to a different model, with a different number of layers",
                      "the overlap.h5 that the run wrote"});
  }
  const std::filesystem::path bench = folder / "bench.json";
  if (std::filesystem::exists(bench)) report.bench = read_bench(bench);
  return report;
}

}  // namespace indexcache
