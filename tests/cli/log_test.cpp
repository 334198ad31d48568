// SPDX-License-Identifier: Apache-2.0
// --log-file and --log-format: records of every command, in a file and on standard error.
#include "io/json.h"
#include "support/refused_command.h"
#include "support/workplace.h"

#include <csignal>
#include <regex>
#include <sstream>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;

Arguments joined(Arguments arguments, const Arguments& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// Logs in JSON are validated against their schema when all tests have run.
std::string log_name(const std::string& format) {
  return format == "json" ? "log.jsonl" : "log.txt";
}

// Fails unless every line is a record.
std::vector<Json> records(const std::string& text) {
  static const std::regex kTime(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)");
  std::vector<Json> all;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    const Json record = Json::parse(line);
    CHECK(record["schema"] == "indexcache-log/1");
    CHECK(std::regex_match(record["time"].get<std::string>(), kTime));
    CHECK(record["pid"].get<int>() > 0);
    CHECK(record["message"].is_string());
    const std::string level = record["level"];
    if (level == "error") CHECK((record["kind"].is_string() && record["exit_code"].is_number()));
    if (level == "progress") CHECK((record["stage"].is_string() && record["done"].is_number()));
    all.push_back(record);
  }
  CHECK((text.empty() || text.back() == '\n'));
  return all;
}

std::string levels(const std::vector<Json>& all) {
  std::string text;
  for (const Json& record : all) {
    const std::string level = record["level"];
    if (text.find(level) == std::string::npos) text += level + " ";
  }
  return text;
}

// The error that ended the command, which is the last record but for the one with the exit code.
Json error_of(const std::vector<Json>& all) {
  for (const Json& record : all) {
    if (record["level"] == "error") return record;
  }
  return {};
}

Json usage_error(const Arguments& arguments, const Arguments& environment = {}) {
  const ProcessResult result = run_tool(arguments, environment);
  INFO(result.err);
  CHECK(result.out.empty());
  const Json error = error_of(records(result.err));
  CHECK(error["exit_code"] == result.code);
  return error;
}

}  // namespace

TEST_CASE("in JSON, standard error consists of records, for every command") {
  const Workplace place;
  for (const auto& command : place.commands()) {
    INFO(command_line(command));
    const ProcessResult result = run_tool(joined({"--log-format", "json"}, command), kFixedTime);
    CHECK(result.code == (command.empty() ? 2 : 0));
    CHECK_FALSE(result.out.empty());
    const std::vector<Json> all = records(result.err);
    if (command.empty() || command[0].starts_with("--")) {
      CHECK(all.empty());
      continue;
    }
    REQUIRE(all.size() >= 2);
    CHECK(all.front()["command"] == command[0]);
    CHECK(all.back()["exit_code"] == 0);
    const ProcessResult quiet = run_tool(joined(command, {"--log-format=json", "-q"}), kFixedTime);
    CHECK(quiet.code == 0);
    CHECK(quiet.err.empty());
  }
}

TEST_CASE("in JSON, errors of every kind have their exit code, those of the command line too") {
  const Workplace place;
  CHECK(usage_error({"run", "--kep", "1/4", "--log-format", "json"})["kind"] == "usage");
  CHECK(usage_error({"rnu", "--log-format=json"})["why"] == "did you mean \"run\"?");
  CHECK(usage_error({"--log-format", "json", "run", "--threads", "many"})["kind"] == "usage");
  CHECK(usage_error({"run", "--keep", "1/4"}, {"INDEXCACHE_LOG_FORMAT=json"})["message"] ==
        "MODEL, --calibration and --output are required");
  CHECK(usage_error({"inspect", "a", "b", "--log-format", "json"})["at"] == "command line");
  CHECK(usage_error({"inspect", place.folder / "none", "--log-format", "json"})["kind"] == "input");
  const Arguments no_gpu = joined(place.run("gpu"), {"--device", "cuda", "--log-format", "json"});
  CHECK(usage_error(no_gpu, {"CUDA_VISIBLE_DEVICES="})["kind"] == "resource");
  const Arguments other = joined(place.run("finished"), {"--pin-full", "3", "--log-format=json"});
  CHECK(usage_error(other)["kind"] == "resume-mismatch");
  CHECK(run_tool({"rnu", "--log-format", "xml"}).err.starts_with("error: "));
}

TEST_CASE("in JSON, annotations of a CI runner are not mixed into the records") {
  const Workplace place;
  write_text(place.folder / "gate.yaml",
             "schema: indexcache-gate/1\nguards:\n  max_kept_ratio: 0.1\n");
  const Arguments check = {"check", place.folder / "finished", "-g", place.folder / "gate.yaml"};
  const Arguments github = {"GITHUB_ACTIONS=true", "GITHUB_STEP_SUMMARY=/no/such/folder/file"};
  CHECK_THAT(run_tool(check, github).err, Contains("::error "));
  const ProcessResult result = run_tool(joined(check, {"--log-format", "json"}), github);
  CHECK(result.code == 1);
  const auto all = records(result.err);
  CHECK(levels(all) == "info warning ");
  CHECK(all.back()["exit_code"] == 1);
}

TEST_CASE("a run and its continuation are in one log in the run folder, whatever is on stderr") {
  const Workplace place;
  for (const std::string format : {"json", "text"}) {
    const std::string name = "run-" + format;
    const std::filesystem::path log = place.folder / name / log_name(format);
    const Arguments options = {"--log-format", format, "--log-file", log};
    const ProcessResult first =
        run_tool(joined(joined(options, place.run(name)), {"--quiet"}), kFixedTime);
    INFO(first.err);
    REQUIRE(first.code == 0);
    CHECK(first.err.empty());
    const std::string begun = read_file(log);
    Arguments further = joined(place.run(name), options);
    further[5] = "1/3";
    const ProcessResult second = run_tool(further, kFixedTime);
    REQUIRE(second.code == 0);
    const std::string all = read_file(log);
    CHECK(all.starts_with(begun));
    CHECK_THAT(all.substr(begun.size()), Contains("measured before"));
    if (format == "json") {
      CHECK(second.err == all.substr(begun.size()));
      CHECK(levels(records(all)) == "info progress ");
      CHECK_THAT(begun, Contains(R"("stage":"overlap and loss with every indexer","done":)") &&
                            Contains(R"("total":)"));
    } else {
      CHECK_THAT(second.err, Contains("\ngreedy step 3/4  ") && !Contains("progress "));
      const std::regex line(
          R"(\d{4}(-\d\d){2}T(\d\d:){2}\d\d\.\d{3}Z \d+ (info|progress|warning) .*)");
      std::istringstream lines(all);
      for (std::string text; std::getline(lines, text);) CHECK(std::regex_match(text, line));
      std::filesystem::remove(log);
    }
  }
  auto plain = files_of(place.folder / "run-text");
  auto logged = files_of(place.folder / "run-json");
  logged.erase("log.jsonl");
  CHECK(plain == logged);
}

TEST_CASE("warnings and errors are in the log file in both formats, and on stderr as ever") {
  const TempFolder folder;
  const std::filesystem::path tokens = tiny_tokens(folder, 2, 50);
  const Arguments eval = {"eval", golden("deepseek_v32_tiny"), "uniform:2", "-c", tokens};
  const Arguments wrong = {"eval", golden("deepseek_v32_tiny"), "FFX", "-c", tokens};
  const std::string plain = run_tool(eval).err, refused = run_tool(wrong).err;
  REQUIRE_THAT(plain, Contains("warning: "));
  for (const std::string format : {"json", "text"}) {
    const std::filesystem::path log = folder / format / log_name(format);
    const Arguments options = {"--log-file", log, "--log-format", format};
    const ProcessResult warned = run_tool(joined(eval, options));
    CHECK(warned.code == 0);
    const ProcessResult failed = run_tool(joined(wrong, options));
    CHECK(failed.code == 3);
    if (format == "json") {
      const auto all = records(read_file(log));
      CHECK(levels(all) == "info warning progress error ");
      CHECK(error_of(all)["exit_code"] == 3);
      CHECK(all.back()["exit_code"] == 3);
    } else {
      CHECK(warned.err == plain);
      CHECK(failed.err == refused);
      CHECK_THAT(read_file(log), Contains(" warning  ") && Contains(" error      why: "));
      std::filesystem::remove(log);
    }
  }
}

TEST_CASE("a log file that cannot be used is refused before any work, and damages nothing") {
  const Workplace place;
  const std::string tokens = read_file(place.folder / "tokens.jsonl");
  const auto refused = [&](const std::string& log, int code, const std::string& what) {
    check_refused(joined(place.run("refused"), {"--log-file", log}), code, what);
    CHECK_FALSE(std::filesystem::exists(place.folder / "refused/journal.jsonl"));
  };
  refused("-", 2, "\"-\" is not a file");
  refused("", 2, "\"\" is not a file");
  refused(place.folder.path(), 3, "Is a directory");
  refused(place.folder / "text.txt/log", 3, "Not a directory");
  refused("/proc/nowhere/log", 3, "cannot write the log file");
  refused("/dev/full", 4, "No space left on device");
  refused(place.folder / "text.txt", 3, "something other than a log");
  refused(place.folder / "./tokens.jsonl", 3, "--calibration names the same file");
  refused(place.folder / "refused", 3, "--output names the same file");
  refused(place.folder / "refused/run.json", 3, "another file of the output folder has this name");
  check_refused({"prepare", "-i", place.folder / "tokens.jsonl", "--seq-len", "40", "-o",
                 place.folder / "new.h5", "--log-file", place.folder / "new.h5"},
                3, "--output names the same file");
  CHECK_FALSE(std::filesystem::exists(place.folder / "new.h5"));
  CHECK(read_file(place.folder / "tokens.jsonl") == tokens);
  const std::string out = place.folder / "out";
  CHECK(shell(command_line({"export", "FFSFSS", "--all", "--log-file", out}) + " >'" + out +
              "' 2>&1") == 3);
  CHECK_THAT(read_file(out), Contains("redirected to the same file"));
}

TEST_CASE("a log whose reader leaves ends no run, and is reported once") {
  const Workplace place;
  const std::string pipe = place.folder / "pipe", err = place.folder / "err";
  REQUIRE(shell("mkfifo '" + pipe + "'") == 0);
  for (const std::string format : {"text", "json"}) {
    const Arguments run =
        joined(place.run("piped-" + format), {"--log-file", pipe, "--log-format", format, "-q"});
    // The program opens the pipe when its reader is there; the reader takes one byte.
    CHECK(shell("head -c 1 '" + pipe + "' >/dev/null & " + "until " + kFixedTime.front() + " " +
                command_line(run) + " 2>'" + err + "' >/dev/null || ! grep -q 'nobody reads' '" +
                err + "'; do sleep 0.05; done; wait") == 0);
    const std::string said = read_file(err);
    INFO(said);
    CHECK_THAT(said, Contains("can no longer be written (Broken pipe)"));
    CHECK(std::ranges::count(said, '\n') == 1);
    if (format == "json") CHECK(records(said).front()["level"] == "warning");
    CHECK(files_of(place.folder / ("piped-" + format)) == files_of(place.folder / "finished"));
  }
}

TEST_CASE("the log file is complete if standard error is closed or full") {
  const Workplace place;
  for (const std::string streams : {"2>&-", "2>/dev/full", ">&- 2>&-"}) {
    INFO(streams);
    const std::filesystem::path log = place.folder / "log.jsonl";
    std::filesystem::remove(log);
    const Arguments eval = {"eval",
                            golden("deepseek_v32_tiny"),
                            "uniform:2",
                            "-c",
                            place.folder / "tokens.jsonl",
                            "--log-file",
                            log,
                            "--log-format",
                            "json"};
    CHECK(shell(command_line(eval) + " >/dev/null " + streams) == 0);
    const auto all = records(read_file(log));
    REQUIRE(all.size() >= 3);
    CHECK(all.front()["command"] == "eval");
    CHECK(all.back()["exit_code"] == 0);
  }
}

TEST_CASE("a kill loses no finished record, and an interrupt is a record") {
  const TempFolder folder;
  const std::filesystem::path log = folder / "log.jsonl";
  const Arguments run = {"run",          data("dsa-mini"),
                         "-c",           short_tokens(folder, 160),
                         "--holdout",    "0.5",
                         "--keep",       "9",
                         "-o",           folder / "out",
                         "--log-file",   log,
                         "--log-format", "json"};
  CHECK(run_and_signal(run, log, 6, SIGKILL) == 128 + SIGKILL);
  const auto killed = records(read_file(log));
  CHECK(killed.size() >= 6);
  CHECK_FALSE(killed.back().contains("exit_code"));
  CHECK(run_and_signal(run, log, killed.size() + 6, SIGTERM) == 128 + SIGTERM);
  const auto both = records(read_file(log));
  CHECK(error_of(both)["kind"] == "interrupted");
  CHECK(error_of(both)["exit_code"] == 128 + SIGTERM);
  CHECK(both.back()["exit_code"] == 128 + SIGTERM);
  CHECK(both.front()["pid"] != both.back()["pid"]);
}

TEST_CASE("the options of logs are settings, and the place nearest to the command wins") {
  const TempFolder folder;
  write_text(folder / "a.yaml", "log-file: from-file\nlog-format: json\n");
  const auto merged = [&](const Arguments& before, const Arguments& after) {
    return run_tool(joined(joined(before, {"run", "--config", folder / "a.yaml", "--print-config"}),
                           after),
                    {"INDEXCACHE_LOG_FILE=from-environment"})
        .out;
  };
  CHECK_THAT(merged({}, {}),
             Contains("log-file: from-file  # ") && Contains("log-format: json  # "));
  CHECK_THAT(merged({"--log-file", "first"}, {}), Contains("log-file: first  # command line"));
  CHECK_THAT(merged({"--log-file", "first"}, {"--log-file", "last"}),
             Contains("log-file: last  # command line"));
  CHECK_FALSE(std::filesystem::exists("from-file"));
  CHECK_THAT(run_tool({"--log-fil", "x", "run"}).err, Contains("did you mean \"--log-file\"?"));

  const std::string name = folder / "\xE9 log\xFF";
  CHECK(run_tool({"export", "FFSFSS", "--engine", "vllm"},
                 {"INDEXCACHE_LOG_FILE=" + name, "INDEXCACHE_LOG_FORMAT=json"})
            .code == 0);
  const auto all = records(read_file(name));
  CHECK(all.size() >= 3);
  CHECK(run_tool({"export", "FFX", "--engine", "vllm", "--log-format=json", "--log-file=" + name})
            .code == 3);
  CHECK(records(read_file(name)).size() >= all.size() + 3);
}
