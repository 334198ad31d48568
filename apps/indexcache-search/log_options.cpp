// SPDX-License-Identifier: Apache-2.0
#include "log_options.h"

#include "option_values.h"

#include <fmt/format.h>

#include <cstdlib>

namespace indexcache {
namespace {

std::string not_a_file(const std::string& text) {
  if (!text.empty() && text != "-") return "";
  return fmt::format(
      "\"{}\" is not a file: name one, or use only --log-format, which is the "
      "format of standard error too",
      text);
}

}  // namespace

void add_log_options(CLI::App& app, LogOptions& options) {
  app.add_option("--log-file", options.file,
                 "File to which notes, warnings, progress and errors are appended, with times")
      ->type_name("FILE")
      ->check(CLI::Validator(not_a_file, ""));
  one_of(app.add_option("--log-format", options.format,
                        "Format of the log file and of standard error: text, or one JSON object "
                        "per line"),
         {"text", "json"})
      ->capture_default_str();
}

LogFormat parse_log_format(const std::string& text) {
  return text == "json" ? LogFormat::json : LogFormat::text;
}

LogFormat requested_log_format(const std::vector<std::string>& arguments) {
  static const std::string kOption = "--log-format";
  const char* variable = std::getenv("INDEXCACHE_LOG_FORMAT");
  std::string text = variable != nullptr ? variable : "";
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == kOption && i + 1 < arguments.size()) text = arguments[i + 1];
    if (argument.starts_with(kOption + "=")) text = argument.substr(kOption.size() + 1);
  }
  return parse_log_format(text);
}

}  // namespace indexcache
