// SPDX-License-Identifier: Apache-2.0
// report: what people look at, made from the files of a run.
#include "commands.h"
#include "core/console.h"
#include "core/error.h"
#include "core/list_text.h"
#include "device_options.h"
#include "io/files.h"
#include "io/json_text.h"
#include "io/png.h"
#include "option_values.h"
#include "present/heatmap.h"
#include "present/page.h"
#include "present/page_distillation.h"
#include "result/distillation.h"
#include "run/folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

namespace indexcache {
namespace {

struct ReportOptions {
  std::vector<std::string> runs;
  bool compare = false;
  std::vector<std::string> formats = {"html"};
  std::string output;
};

using Written = std::vector<std::filesystem::path>;

Written write_report(const Report& report, const ReportOptions& options,
                     const std::filesystem::path& folder) {
  Written written;
  const auto write = [&](const std::string& name, const std::string& content) {
    write_file(folder / name, content);
    written.push_back(folder / name);
  };
  for (const std::string& format : options.formats) {
    if (format == "html") write("report.html", report_html(report));
    if (format == "md") write("report.md", report_markdown(report));
    if (format == "json") write("report.json", json_text(report_json(report), 1) + "\n");
    if (format == "svg") {
      for (const auto& [name, chart] : report_charts(report))
        write(name + ".svg", chart.document());
    }
    if (format == "png") {
      write_png(folder / "heatmap.png", draw_heatmap(report.overlap, report.result.model.name,
                                                     report.result.model.numbers));
      written.push_back(folder / "heatmap.png");
    }
  }
  return written;
}

// The distill.json of a folder that `distill` wrote, or the file itself; empty for anything else.
std::filesystem::path distillation_in(const std::filesystem::path& path) {
  if (path.filename() == kDistillationFile && std::filesystem::is_regular_file(path)) return path;
  const std::filesystem::path file = path / kDistillationFile;
  const bool is_run = std::filesystem::exists(path / "run.json");
  return !is_run && std::filesystem::is_regular_file(file) ? file : std::filesystem::path();
}

Written write_distillation(const std::filesystem::path& file, const ReportOptions& options) {
  for (const std::string& format : options.formats) {
    if (format == "html" || format == "md" || format == "svg") continue;
    throw UsageError({"there is no such report of a distillation", "--format " + format,
                      format == "json" ? "distill.json has the numbers"
                                       : "it measures no overlap to draw a heatmap of",
                      "--format html,md,svg"});
  }
  const Distillation distillation = read_distillation(file);
  const std::filesystem::path folder =
      options.output.empty() ? file.parent_path() : std::filesystem::path(options.output);
  if (!folder.empty()) make_folder(folder);
  Written written;
  const auto write = [&](const std::string& name, const std::string& content) {
    write_file(folder / name, content);
    written.push_back(folder / name);
  };
  for (const std::string& format : options.formats) {
    if (format == "html") write("report.html", distillation_page(distillation));
    if (format == "md") write("report.md", distillation_markdown(distillation));
    if (format != "svg") continue;
    for (const auto& [name, chart] : distillation_charts(distillation)) {
      write(name + ".svg", chart.document());
    }
  }
  return written;
}

void check_options(const ReportOptions& options) {
  if (!options.compare && options.runs.size() > 1) {
    throw UsageError({"report takes one run", "command line",
                      fmt::format("{} were given", options.runs.size()),
                      "--compare shows several runs side by side"});
  }
  if (!options.compare) return;
  std::vector<std::string> missing;
  if (options.runs.size() < 2) missing.emplace_back("at least two runs");
  if (options.output.empty()) missing.emplace_back("--output DIR");
  if (options.formats != std::vector<std::string>{"html"}) missing.emplace_back("--format html");
  if (missing.empty()) return;
  throw UsageError({fmt::format("--compare requires {}", list_text(missing)), "--compare", "",
                    "indexcache-search report --compare RUN RUN --output DIR"});
}

Report open_run(const std::string& run) {
  if (!std::filesystem::is_directory(run)) {
    throw InputError({"the run does not exist", run, "", "the folder that `run` wrote"});
  }
  return read_report(std::filesystem::canonical(run));  // its own name, whatever the path's end
}

Written write_runs(const ReportOptions& options) {
  std::vector<Report> reports;
  for (const std::string& run : options.runs) reports.push_back(open_run(run));
  const std::filesystem::path folder = options.output.empty() ? options.runs[0] : options.output;
  make_folder(folder);
  if (!options.compare) return write_report(reports[0], options, folder);
  write_file(folder / "compare.html", compare_html(reports));
  return {folder / "compare.html"};
}

int run_report(const ReportOptions& options, const CommonOptions& common) {
  check_options(options);
  const std::filesystem::path distillation =
      options.compare ? std::filesystem::path() : distillation_in(options.runs[0]);
  const Written written =
      distillation.empty() ? write_runs(options) : write_distillation(distillation, options);
  if (common.json) {
    Json files = Json::array();
    for (const auto& path : written) files.push_back(path.string());
    write_output("{}\n", json_text(Json{{"files", files}}, 1));
  } else {
    for (const auto& path : written) write_output("{}\n", path.string());
  }
  return 0;
}

}  // namespace

Command add_report(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* command =
      app.add_subcommand("report", "Write a page, charts and summaries of a finished run");
  {
    const OptionGroup group(*command, "Input and output");
    command->add_option("runs", options->runs, "Folders of finished runs")->type_name("RUN");
    command->add_flag("--compare", options->compare, "Show several runs on one page, compare.html");
    one_of(command
               ->add_option("-f,--format", options->formats,
                            "What to write: html (the page), svg (one file per chart), png (the "
                            "heatmap), md (a summary for a pull request), json (the numbers)")
               ->delimiter(','),
           {"html", "svg", "png", "md", "json"})
        ->capture_default_str();
    command
        ->add_option("-o,--output", options->output, "Folder to write to (default: the run folder)")
        ->type_name("DIR");
  }
  add_common_options(*command, common);
  return {command,
          {"runs"},
          {{"a summary for a pull request", "report run -f md"},
           {"two runs side by side", "report run-a run-b --compare -o comparison"}},
          [options, &common] { return run_report(*options, common); }};
}

}  // namespace indexcache
