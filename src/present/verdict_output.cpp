// SPDX-License-Identifier: Apache-2.0
#include "present/verdict_output.h"

#include "core/utf8.h"
#include "result/run_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace indexcache {
namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// Valid UTF-8 without characters that XML 1.0 forbids and terminals obey.
std::string clean(const std::string& text) {
  const std::string valid = printable_utf8(text);
  std::string out;
  for (std::size_t at = 0; at < valid.size();) {
    const std::string part = valid.substr(at, utf8_length(valid, at));
    const auto lead = static_cast<unsigned char>(part[0]);
    const bool control =
        lead == 0x7F || (lead < 0x20 && lead != '\t' && lead != '\n' && lead != '\r');
    const bool forbidden = part == "\xEF\xBF\xBE" || part == "\xEF\xBF\xBF";
    out += control || forbidden ? kReplacement : part;
    at += part.size();
  }
  return out;
}

std::string replace_all(const std::string& text,
                        std::initializer_list<std::pair<char, const char*>> replacements) {
  std::string out;
  for (const char letter : text) {
    const auto found =
        std::ranges::find(replacements, letter, [](const auto& r) { return r.first; });
    if (found == replacements.end()) {
      out += letter;
    } else {
      out += found->second;
    }
  }
  return out;
}

std::string xml(const std::string& text) {
  return replace_all(clean(text), {{'&', "&amp;"},
                                   {'<', "&lt;"},
                                   {'>', "&gt;"},
                                   {'"', "&quot;"},
                                   {'\'', "&apos;"},
                                   {'\t', "&#9;"},
                                   {'\n', "&#10;"},
                                   {'\r', "&#13;"}});
}

std::string command_data(const std::string& text) {
  return replace_all(clean(text), {{'%', "%25"}, {'\r', "%0D"}, {'\n', "%0A"}});
}

std::string command_property(const std::string& text) {
  return replace_all(clean(text),
                     {{'%', "%25"}, {'\r', "%0D"}, {'\n', "%0A"}, {':', "%3A"}, {',', "%2C"}});
}

// Plain text in a table cell: nothing of it is Markdown, HTML or a new line.
std::string cell(const std::string& text) {
  return replace_all(clean(text), {{'&', "&amp;"},
                                   {'<', "&lt;"},
                                   {'>', "&gt;"},
                                   {'|', "&#124;"},
                                   {'\\', "&#92;"},
                                   {'`', "&#96;"},
                                   {'*', "&#42;"},
                                   {'_', "&#95;"},
                                   {'[', "&#91;"},
                                   {']', "&#93;"},
                                   {'@', "&#64;"},
                                   {'#', "&#35;"},
                                   {'!', "&#33;"},
                                   {'~', "&#126;"},
                                   {'\t', " "},
                                   {'\n', " "},
                                   {'\r', " "}});
}

std::string model_name(const StoredResult& result) {
  const Json name = result.model.is_object() ? result.model.value("name", Json()) : Json();
  return name.is_string() ? name.get<std::string>() : "";
}

Json result_json(const StoredResult& result) {
  return Json{{"file", clean(result.file.string())},
              {"model", clean(model_name(result))},
              {"pattern", result.pattern},
              {"fingerprint", result.fingerprint.is_object() ? result.fingerprint : Json()}};
}

std::size_t failures(const Verdict& verdict) {
  return static_cast<std::size_t>(std::ranges::count(verdict.guards, false, &GuardResult::passed));
}

// "max_holdout_delta: 0.071 is not <= 0.05 (48 held-out sequences)"
std::string failure_text(const GuardResult& guard) {
  return fmt::format("{}: {}, wanted {} ({})", guard.guard.name, guard.measured, guard.limit,
                     guard.detail);
}

std::string conclusion(const Verdict& verdict) {
  if (verdict.passed()) return fmt::format("passed: all {} guards", verdict.guards.size());
  return fmt::format("failed: {} of {} guards", failures(verdict), verdict.guards.size());
}

}  // namespace

Json verdict_json(const Verdict& verdict) {
  Json guards = Json::array();
  for (const GuardResult& guard : verdict.guards) {
    guards.push_back(Json{{"guard", guard.guard.name},
                          {"passed", guard.passed},
                          {"limit", guard.guard.limit},
                          {"wanted", guard.limit},
                          {"measured", clean(guard.measured)},
                          {"detail", clean(guard.detail)},
                          {"line", guard.guard.line}});
  }
  return Json{
      {"schema", "indexcache-verdict/1"},
      {"tool", tool_json()},
      {"passed", verdict.passed()},
      {"gate", Json{{"file", clean(verdict.gate.file.string())}, {"sha256", verdict.gate.sha256}}},
      {"result", result_json(verdict.result)},
      {"baseline", verdict.baseline ? result_json(*verdict.baseline) : Json()},
      {"drift", verdict.drift_file ? Json(clean(verdict.drift_file->string())) : Json()},
      {"guards", guards}};
}

std::string verdict_table(const Verdict& verdict) {
  std::string text;
  for (const GuardResult& guard : verdict.guards) {
    text += fmt::format("{}  {:<24} {:<12} {:<14} {}\n", guard.passed ? "pass" : "FAIL",
                        guard.guard.name, guard.measured, guard.limit, clean(guard.detail));
  }
  return text + conclusion(verdict) + "\n";
}

std::string verdict_junit(const Verdict& verdict) {
  const auto property = [](const std::string& name, const std::string& value) {
    return fmt::format("    <property name=\"{}\" value=\"{}\"/>\n", xml(name), xml(value));
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
  text += property("pattern", verdict.result.pattern);
  if (verdict.result.fingerprint.is_object()) {
    for (const auto& [field, value] : verdict.result.fingerprint.items()) {
      text += property(field, value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
  text += "  </properties>\n";
  for (const GuardResult& guard : verdict.guards) {
    text += fmt::format("    <testcase classname=\"{}\" name=\"{}\"",
                        xml(verdict.gate.file.string()), xml(guard.guard.name));
    if (guard.passed) {
      text += "/>\n";
    } else {
      text += fmt::format(">\n      <failure message=\"{0}\">{0}</failure>\n    </testcase>\n",
                          xml(failure_text(guard)));
    }
  }
  return text + "  </testsuite>\n</testsuites>\n";
}

std::string verdict_annotations(const Verdict& verdict) {
  std::string text;
  for (const GuardResult& guard : verdict.guards) {
    if (guard.passed) continue;
    text += fmt::format("::error file={},line={},title={}::{}\n",
                        command_property(verdict.gate.file.string()), guard.guard.line,
                        command_property("indexcache gate: " + guard.guard.name),
                        command_data(failure_text(guard)));
  }
  return text;
}

std::string verdict_markdown(const Verdict& verdict) {
  std::string text = fmt::format("### IndexCache gate {}\n\n", conclusion(verdict));
  text += fmt::format("{} · pattern `{}`\n\n", cell(model_name(verdict.result)),
                      verdict.result.pattern);
  text += "| | guard | measured | wanted | |\n|---|---|---|---|---|\n";
  for (const GuardResult& guard : verdict.guards) {
    text += fmt::format("| {} | {} | {} | {} | {} |\n", guard.passed ? "✅" : "❌",
                        cell(guard.guard.name), cell(guard.measured), cell(guard.limit),
                        cell(guard.detail));
  }
  return text + "\n";
}

}  // namespace indexcache
