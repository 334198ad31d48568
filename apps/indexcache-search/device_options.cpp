// SPDX-License-Identifier: Apache-2.0
#include "device_options.h"

#include "option_values.h"
#include "settings.h"

namespace indexcache {

void add_common_options(CLI::App& command, CommonOptions& common) {
  const OptionGroup group(command, "General");
  command.add_flag("--json", common.json, "Print one JSON document to standard output");
  command.add_flag("-q,--quiet", common.quiet, "Print no progress and no notes to standard error");
  add_log_options(command, common.log);
  add_settings_options(command);
  command.get_help_ptr()->group("General")->description("Show this help");
}

void add_machine_options(CLI::App& command, int& threads, std::string& progress) {
  const OptionGroup group(command, "Machine");
  in_range(command.add_option("--threads", threads,
                              "Number of CPU threads (0: all); results do not depend on it"),
           "N", 0, 4096)
      ->capture_default_str();
  one_of(command.add_option("--progress", progress,
                            "How progress is shown on standard error: a line that is rewritten, "
                            "lines that stay, or not at all"),
         {"auto", "terminal", "lines", "none"})
      ->capture_default_str();
}

void add_device_options(CLI::App& command, DeviceOptions& options, std::string& progress) {
  {
    const OptionGroup group(command, "Model and device");
    command.add_option("model", options.model, "Folder of the Hugging Face checkpoint")
        ->type_name("MODEL");
    command
        .add_option("--device", options.device,
                    "Devices to compute on: auto (all GPUs if they are usable, else the CPU), cpu, "
                    "cuda for all GPUs, or cuda:0,2 for some of them; results do not depend on "
                    "how many there are")
        ->type_name("auto|cpu|cuda|cuda:N")
        ->capture_default_str();
    in_range(command.add_option("--gpus", options.gpus,
                                "Number of GPUs to use (0: all that --device names)"),
             "N", 0, 1024)
        ->capture_default_str();
    command.add_flag(
        "--mixed", options.mixed,
        "Allow GPUs of different kinds in one job: the last bits of results then depend "
        "on which of them computes what");
    one_of(command.add_option("--precision", options.precision,
                              "Type of weights and activations: fp32 (without TF32) or, on a GPU, "
                              "bf16; fp8: FP8 checkpoints multiply as deployed, the rest is bf16 "
                              "(needs a Hopper GPU; slow and with the rest in fp32 on a CPU)"),
           {"fp32", "bf16", "fp8"})
        ->capture_default_str();
    one_of(command.add_option("--indexer-precision", options.indexer_precision,
                              "Type of the indexer's queries and keys: fp32, bf16, fp8 as deployed "
                              "or, on a CPU, fp4 as DeepSeek-V4 deploys it (default: the value of "
                              "--precision; fp32 on a CPU)"),
           {"fp32", "bf16", "fp8", "fp4"});
    one_of(
        command.add_option("--weights", options.weights,
                           "Where weights are kept: resident on the device, streamed from host "
                           "memory or from disk one layer at a time, or auto: the first of these "
                           "that fits; results do not depend on it"),
        {"auto", "resident", "stream", "disk"})
        ->capture_default_str();
    command
        .add_option("--memory-limit", options.memory_limit,
                    "Maximum device memory to use, such as 24GiB; results do not depend on it")
        ->type_name("SIZE");
    in_range(command.add_option("--mla-norm-eps", options.mla_norm_eps,
                                "Epsilon of the norms of the query and key-value latents (default: "
                                "mla_norm_eps of config.json, or else rms_norm_eps)"),
             "EPS", 1e-30, 1.0);
  }
  add_machine_options(command, options.threads, progress);
}

void add_indexer_option(CLI::App& command, DeviceOptions& options, const char* description,
                        IndexerChoice choice) {
  const OptionGroup group(command, "Model and device");
  command.add_option("--indexer", options.indexer, description)
      ->type_name(choice == IndexerChoice::with_none ? "exact|none|hisa|hisa:FIELDS"
                                                     : "exact|hisa|hisa:FIELDS")
      ->capture_default_str();
}

Progress::Style progress_style(const std::string& progress, const CommonOptions& common,
                               const Ranks& ranks) {
  return ranks.computes_for_others() ? Progress::Style::off : progress_style(progress, common);
}

Progress::Style progress_style(const std::string& progress, const CommonOptions& common) {
  if (common.quiet || progress == "none") return Progress::Style::silent;
  if (progress == "terminal") return Progress::Style::terminal;
  if (progress == "lines") return Progress::Style::lines;
  return Progress::detect();
}

}  // namespace indexcache
