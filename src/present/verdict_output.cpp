// SPDX-License-Identifier: Apache-2.0
#include "present/verdict_output.h"

#include "io/json.h"
#include "present/escape.h"
#include "result/parts_json.h"
#include "version.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

std::string model_name(const StoredPattern& stored) {
  return stored.model ? stored.model->name : "";
}

Json result_json(const StoredPattern& stored) {
  return Json{
      {"file", clean_text(stored.file.string())},
      {"model", clean_text(model_name(stored))},
      {"pattern", stored.pattern.text()},
      {"fingerprint", stored.fingerprint.empty() ? Json() : fingerprint_json(stored.fingerprint)}};
}

std::size_t failures(const Verdict& verdict) {
  return static_cast<std::size_t>(std::ranges::count(verdict.guards, false, &GuardResult::passed));
}

// "max_holdout_delta: 0.071 is not <= 0.05 (48 held-out sequences)"
std::string failure_text(const GuardResult& guard) {
  return fmt::format("{}: {}, expected {} ({})", guard.guard.kind->name, guard.measured,
                     guard.limit, guard.detail);
}

std::string conclusion(const Verdict& verdict) {
  if (verdict.passed() && verdict.guards.size() == 1) return "passed: 1 guard";
  if (verdict.passed()) return fmt::format("passed: all {} guards", verdict.guards.size());
  return fmt::format("failed: {} of {} guards", failures(verdict), verdict.guards.size());
}

}  // namespace

Json verdict_json(const Verdict& verdict) {
  Json guards = Json::array();
  for (const GuardResult& guard : verdict.guards) {
    guards.push_back(Json{{"guard", guard.guard.kind->name},
                          {"passed", guard.passed},
                          {"limit", parse_json(guard.guard.limit.text, "limit")},
                          {"wanted", guard.limit},
                          {"measured", clean_text(guard.measured)},
                          {"detail", clean_text(guard.detail)},
                          {"line", guard.guard.line}});
  }
  return Json{
      {"schema", "indexcache-verdict/1"},
      {"tool",
       Json{
           {"name", kToolName}, {"version", kToolVersion}, {"numerics_version", kNumericsVersion}}},
      {"passed", verdict.passed()},
      {"gate",
       Json{{"file", clean_text(verdict.gate.file.string())}, {"sha256", verdict.gate.sha256}}},
      {"result", result_json(verdict.result)},
      {"baseline", verdict.baseline ? result_json(*verdict.baseline) : Json()},
      {"drift", verdict.drift_file ? Json(clean_text(verdict.drift_file->string())) : Json()},
      {"profile", verdict.profile_file ? Json(clean_text(verdict.profile_file->string())) : Json()},
      {"guards", guards}};
}

std::string verdict_table(const Verdict& verdict) {
  std::string text;
  for (const GuardResult& guard : verdict.guards) {
    text +=
        fmt::format("{}  {:<24} {:<12} {:<14} {}\n", guard.passed ? "pass" : "FAIL",
                    guard.guard.kind->name, guard.measured, guard.limit, clean_text(guard.detail));
  }
  return text + conclusion(verdict) + "\n";
}

std::string verdict_junit(const Verdict& verdict) {
  const auto property = [](const std::string& name, const std::string& value) {
    return fmt::format("    <property name=\"{}\" value=\"{}\"/>\n", escape_attribute(name),
                       escape_attribute(value));
  };
  std::string text = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuites>\n"
      "  <testsuite name=\"indexcache-search check\" tests=\"{}\" failures=\"{}\" errors=\"0\" "
      "skipped=\"0\">\n  <properties>\n",
      verdict.guards.size(), failures(verdict));
  text += property("gate", verdict.gate.file.string());
  text += property("gate sha256", verdict.gate.sha256);
  text += property("result", verdict.result.file.string());
  text += property("model", model_name(verdict.result));
  text += property("pattern", verdict.result.pattern.text());
  for (const auto& [field, value] : verdict.result.fingerprint) text += property(field, value);
  text += "  </properties>\n";
  for (const GuardResult& guard : verdict.guards) {
    text += fmt::format("    <testcase classname=\"{}\" name=\"{}\"",
                        escape_attribute(verdict.gate.file.string()),
                        escape_attribute(guard.guard.kind->name));
    if (guard.passed) {
      text += "/>\n";
    } else {
      text += fmt::format(">\n      <failure message=\"{0}\">{0}</failure>\n    </testcase>\n",
                          escape_attribute(failure_text(guard)));
    }
  }
  return text + "  </testsuite>\n</testsuites>\n";
}

std::string verdict_annotations(const Verdict& verdict) {
  std::string text;
  for (const GuardResult& guard : verdict.guards) {
    if (guard.passed) continue;
    text += fmt::format(
        "::error file={},line={},title={}::{}\n",
        escape_command_property(verdict.gate.file.string()), guard.guard.line,
        escape_command_property(std::string("indexcache gate: ") + guard.guard.kind->name),
        escape_command(failure_text(guard)));
  }
  return text;
}

std::string verdict_markdown(const Verdict& verdict) {
  std::string text = fmt::format("### IndexCache gate {}\n\n", conclusion(verdict));
  text += fmt::format("{} · pattern `{}`\n\n", escape_markdown(model_name(verdict.result)),
                      verdict.result.pattern.text());
  text += "| | guard | measured | expected | |\n|---|---|---|---|---|\n";
  for (const GuardResult& guard : verdict.guards) {
    text += fmt::format("| {} | {} | {} | {} | {} |\n", guard.passed ? "✅" : "❌",
                        escape_markdown(guard.guard.kind->name), escape_markdown(guard.measured),
                        escape_markdown(guard.limit), escape_markdown(guard.detail));
  }
  return text + "\n";
}

}  // namespace indexcache
