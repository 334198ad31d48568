// SPDX-License-Identifier: Apache-2.0
#include "device_options.h"

#include "settings.h"

namespace indexcache {

void add_common_options(CLI::App& command, CommonOptions& common) {
  command.add_flag("--json", common.json, "Print one JSON document on stdout");
  command.add_flag("-q,--quiet", common.quiet, "No narration on stderr");
  add_settings_options(command);
}

void add_machine_options(CLI::App& command, int& threads, std::string& progress) {
  command.add_option("--threads", threads, "CPU threads, 0 for all; results do not depend on it")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  command.add_option("--progress", progress, "auto, terminal, lines or none")
      ->check(CLI::IsMember({"auto", "terminal", "lines", "none"}))
      ->capture_default_str();
}

void add_device_options(CLI::App& command, DeviceOptions& options, std::string& progress) {
  command.add_option("model", options.model, "Hugging Face folder of the checkpoint")
      ->type_name("MODEL");
  command
      .add_option("--device", options.device,
                  "auto (a GPU if one is usable), cpu, cuda, or cuda:N for another GPU")
      ->capture_default_str();
  command
      .add_option("--precision", options.precision,
                  "Activations and weights: fp32 (no TF32) or, on a GPU, bf16")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  command
      .add_option("--indexer-precision", options.indexer_precision,
                  "Queries and keys of the indexer: fp32 or, on a GPU, bf16 or fp8 as deployed; "
                  "default: as --precision")
      ->check(CLI::IsMember({"fp32", "bf16", "fp8"}));
  command
      .add_option("--weights", options.weights,
                  "Where weights wait: resident on the device, stream from host memory layer by "
                  "layer, disk, or auto: the first that fits; results do not depend on it")
      ->check(CLI::IsMember({"auto", "resident", "stream", "disk"}))
      ->capture_default_str();
  command
      .add_option("--memory-limit", options.memory_limit,
                  "Most memory to take of the device, such as 24GiB; work is cut to fit, results "
                  "do not depend on it")
      ->type_name("SIZE");
  add_machine_options(command, options.threads, progress);
  command
      .add_option("--mla-norm-eps", options.mla_norm_eps,
                  "Epsilon of the q and kv latent norms; default from config.json: mla_norm_eps, "
                  "else rms_norm_eps")
      ->check(CLI::Range(1e-30, 1.0));
}

Progress::Style progress_style(const std::string& progress, const CommonOptions& common) {
  if (common.quiet || progress == "none") return Progress::Style::silent;
  if (progress == "terminal") return Progress::Style::terminal;
  if (progress == "lines") return Progress::Style::lines;
  return Progress::detect();
}

}  // namespace indexcache
