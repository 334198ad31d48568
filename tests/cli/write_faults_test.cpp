// SPDX-License-Identifier: Apache-2.0
// A disk that refuses one call after the other, while every command writes every output.
#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/run_files.h"
#include "support/tokens.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <sstream>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;
using Files = std::map<std::string, std::string>;

constexpr std::array kErrors = {ENOSPC, EIO, EDQUOT, EROFS};
constexpr const char* kSummary = "summary.md";

// A command that writes into the folder "out" of its Workplace, or only to standard output.
struct Command {
  Arguments arguments;
  Arguments before = {};  // makes the outputs that it replaces
  Arguments environment = {};
  bool discards = false;  // removes the old outputs before it begins
};

// Inputs, and two finished runs.
struct Workplace {
  Workplace() {
    std::filesystem::rename(tiny_tokens(folder, 3, 24), folder / "other.jsonl");
    tiny_tokens(folder, 2, 24);
    write_text(folder / "gate.yaml", "schema: indexcache-gate/1\nguards:\n  max_kept_ratio: 1\n");
    write_text(folder / "old.yaml", "schema: indexcache-gate/1\nguards:\n  max_kept_ratio: 0.9\n");
    std::filesystem::create_directory(folder / "tmp");
    REQUIRE(run_tool(run("five", "5"), kFixedTime).code == 0);
    REQUIRE(run_tool(run("four", "4"), kFixedTime).code == 0);
  }

  Arguments run(const std::string& name, const std::string& keep,
                const Arguments& more = {}) const {
    Arguments arguments = {"run",       model,  "-c",        tokens,       "--device", "cpu",
                           "--threads", "1",    "--holdout", "0.5",        "--keep",   keep,
                           "--refine",  "swap", "-o",        folder / name};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  std::vector<Command> runs() const {
    return {
        {run("out", "5")},
        {.arguments = run("out", "4"), .before = run("out", "5")},
        {.arguments = run("out", "4", {"--restart"}), .before = run("out", "5"), .discards = true}};
  }

  Command prepare() const {
    const std::string other = folder / "other.jsonl", prepared = folder / "out/prepared.h5";
    return {.arguments = {"prepare", "-i", tokens, "--seq-len", "20", "-o", prepared},
            .before = {"prepare", "-i", other, "--seq-len", "12", "-o", prepared}};
  }

  // Two steps that gain nothing: a document and, until then, a saved state.
  Command distill() const {
    const auto training = [&](const std::string& clip) -> Arguments {
      return {"distill",   model,       "-p",
              "uniform:2", "-c",        folder / "other.jsonl",
              "--holdout", "0.34",      "--device",
              "cpu",       "--threads", "1",
              "--steps",   "2",         "--sparse-steps",
              "0",         "--rate",    "1e-9",
              "--clip",    clip,        "--restart",
              "-o",        out};
    };
    return {.arguments = training("1"), .before = training("2"), .discards = true};
  }

  std::vector<Command> other_commands() const {
    const std::string five = folder / "five", four = folder / "four";
    const std::string other = folder / "other.jsonl";
    const std::string formats = "html,md,json,svg,png";
    return {
        {.arguments = {"overlap", model, "-c", tokens, "--against", five, "--threads", "1", "-o",
                       out},
         .before = {"overlap", model, "-c", other, "--against", five, "--threads", "1", "-o", out}},
        prepare(),
        distill(),
        {.arguments = {"report", four, "--format", formats, "-o", out},
         .before = {"report", five, "--format", formats, "-o", out}},
        {.arguments = {"report", "--compare", five, four, "-o", out},
         .before = {"report", "--compare", four, five, "-o", out}},
        {.arguments = {"check", five, "-g", folder / "gate.yaml", "-o", out},
         .before = {"check", five, "-g", folder / "old.yaml", "-o", out}},
        {.arguments = {"check", five, "-g", folder / "gate.yaml"},
         .before = {"check", five, "-g", folder / "old.yaml"},
         .environment = {"GITHUB_ACTIONS=true",
                         "GITHUB_STEP_SUMMARY=" + (folder / "out" / kSummary).string()}},
        {{"export", five, "-e", "vllm", "-m", model, "--write-config", out}},
        {{"export", five, "--all", "--json"}},
        {{"eval", model, "uniform:2", "-c", tokens, "--seq-len", "20", "--threads", "1", "--json"}},
        {{"plan", model, "-c", tokens, "--seq-len", "20", "--keep", "1/2"}},
        {{"inspect", model}},
        {{"bench", "ops", model, "--context", "64", "--repeat", "1", "--device", "cpu", "--threads",
          "1"}},
        {{"completion", "bash"}},
        {{"manual", "all"}},
        {{"run", "--help"}},
        {{"--version"}}};
  }

  Files outputs() const {
    return std::filesystem::exists(folder / "out") ? files_of(folder / "out") : Files();
  }

  void set_outputs(const Files& files) const {
    std::filesystem::remove_all(folder / "out");
    if (!files.empty()) std::filesystem::create_directory(folder / "out");
    for (const auto& [name, content] : files) write_text(folder / "out" / name, content);
  }

  TempFolder folder;
  const std::string out = folder / "out", tokens = folder / "tokens.jsonl",
                    model = golden("deepseek_v32_tiny");
};

// A call that changes a disk, and the name that its error must have.
struct DiskCall {
  std::string operation;
  std::string name;
};

std::vector<DiskCall> read_calls(const std::filesystem::path& log) {
  std::vector<DiskCall> calls;
  std::istringstream lines(read_file(log));
  std::string renamed;
  for (std::string line; std::getline(lines, line);) {
    const auto space = line.find(' ');
    DiskCall call{line.substr(0, space), line.substr(space + 1)};
    const std::filesystem::path path = call.name;
    if (call.name.find("indexcache-tokens-") != std::string::npos) {
      call.name = "temporary file";
    } else if (call.operation == "sync" && std::filesystem::is_directory(path)) {
      call.name = renamed;  // the folder of the last file
    } else if (path.has_parent_path()) {
      call.name = path.filename().string();
      call.name = call.name.substr(0, call.name.find(".tmp-"));
    }
    if (call.operation == "rename") renamed = call.name;
    calls.push_back(std::move(call));
  }
  return calls;
}

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// One command, what it does on a good disk, and what it must do on a bad one.
class FaultTest {
 public:
  FaultTest(const Workplace& place, const Command& command) : place_(place), command_(command) {
    std::filesystem::remove_all(place.out);
    if (!command.before.empty()) {
      std::filesystem::create_directory(place.out);
      REQUIRE(run_tool(command.before, environment({})).code == 0);
    }
    old_ = place.outputs();
    const std::filesystem::path log = place.folder / "log";
    std::filesystem::remove(log);
    const ProcessResult result = preloaded({"FAULTY_LOG=" + log.string()});
    INFO(command_line(command_.arguments) << "\n" << result.err);
    REQUIRE(result.code == 0);
    new_ = place.outputs();
    calls_ = read_calls(log);
    check_log();
  }

  const std::vector<DiskCall>& calls() const { return calls_; }

  ProcessResult run_on_bad_disk(std::size_t number, int error) const {
    place_.set_outputs(old_);
    return preloaded(
        {"FAULTY_CALL=" + std::to_string(number + 1), "FAULTY_ERROR=" + std::to_string(error)});
  }

  // Runs on a bad disk, checks everything, and runs again on a good one.
  void fail(std::size_t number, int error) const {
    const DiskCall& call = calls_[number];
    INFO(command_line(command_.arguments) << "\ncall " << number + 1 << ": " << call.operation
                                          << " " << call.name << ": " << std::strerror(error));
    place_.set_outputs(old_);
    const ProcessResult result = preloaded(
        {"FAULTY_CALL=" + std::to_string(number + 1), "FAULTY_ERROR=" + std::to_string(error)});
    INFO(result.err);
    check_message(result, call, error);
    check_outputs();
    // The summary of a step gets a part from each command.
    if (new_.empty() || new_.contains(kSummary)) return;
    CHECK(run_tool(command_.arguments, environment({})).code == 0);
    CHECK(same(place_.outputs(), new_));
  }

 private:
  Arguments environment(const Arguments& more) const {
    Arguments all = kFixedTime;
    all.push_back("TMPDIR=" + (place_.folder / "tmp").string());
    all.push_back("CUDA_VISIBLE_DEVICES=");  // a driver writes files of its own
    all.push_back("CUDA_CACHE_DISABLE=1");
    all.insert(all.end(), command_.environment.begin(), command_.environment.end());
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  ProcessResult preloaded(Arguments more) const {
    more.insert(more.end(), {std::string("LD_PRELOAD=") + INDEXCACHE_FAULTY_DISK,
                             "ASAN_OPTIONS=verify_asan_link_order=0"});
    return run_tool(command_.arguments, environment(more));
  }

  // Every output was written by calls that can be made to fail, and is complete: a file that is
  // replaced is renamed last.
  void check_log() const {
    const auto called = [&](const std::string& operation, const std::string& name) {
      return std::ranges::any_of(calls_, [&](const DiskCall& call) {
        return call.operation == operation && call.name == name;
      });
    };
    CHECK(called("write", "standard output"));
    for (const auto& [name, content] : new_) {
      INFO(name);
      CHECK(called("write", name));
      if (name == kSummary) continue;
      CHECK(called("sync", name));
      CHECK((name == "journal.jsonl" || called("rename", name)));
    }
  }

  void check_message(const ProcessResult& result, const DiskCall& call, int error) const {
    const bool is_extra = call.name == kSummary;
    CHECK(result.code == (is_extra ? 0 : 4));
    CHECK(occurrences(result.err, is_extra ? "warning: cannot write" : "error: ") == 1);
    CHECK_THAT(result.err, Contains(call.name) && Contains(std::strerror(error)));
    CHECK(occurrences(result.err, ".tmp-") == 0);
    CHECK(occurrences(result.err, "\n  try: ") == (is_extra ? 0 : 1));
  }

  // Every file is the old one or the new one, except for the journal, which may end anywhere, and
  // the state of a training, which is neither.
  void check_outputs() const {
    const Files files = place_.outputs();
    for (const auto& [name, content] : files) {
      INFO(name);
      const bool is_old = old_.contains(name) && old_.at(name) == content;
      const bool is_new = new_.contains(name) && new_.at(name) == content;
      CHECK((is_old || is_new || name == "journal.jsonl" || name == "training.safetensors"));
    }
    for (const auto& [name, content] : old_) {
      INFO(name);
      CHECK((files.contains(name) || command_.discards));
    }
    CHECK(std::filesystem::is_empty(place_.folder / "tmp"));
  }

  // Compared by name, so that a failure does not print whole files.
  static bool same(const Files& files, const Files& others) {
    for (const auto& [name, content] : others) {
      INFO(name);
      CHECK(files.contains(name));
      CHECK((files.contains(name) && files.at(name) == content));
    }
    return files == others;
  }

  const Workplace& place_;
  const Command& command_;
  Files old_, new_;
  std::vector<DiskCall> calls_;
};

std::vector<std::size_t> all(const std::vector<DiskCall>& calls) {
  std::vector<std::size_t> numbers(calls.size());
  std::iota(numbers.begin(), numbers.end(), std::size_t{0});
  return numbers;
}

// The numbers of the first and the last call for every file.
std::vector<std::size_t> ends(const std::vector<DiskCall>& calls) {
  std::map<std::string, std::pair<std::size_t, std::size_t>> files;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    files.try_emplace(calls[i].name, i, i).first->second.second = i;
  }
  std::vector<std::size_t> numbers;
  for (const auto& [name, range] : files) {
    numbers.push_back(range.first);
    if (range.second != range.first) numbers.push_back(range.second);
  }
  return numbers;
}

// Some calls of every command, with one error after the other.
void fail_calls(const Workplace& place, const std::vector<Command>& commands,
                const std::function<std::vector<std::size_t>(const std::vector<DiskCall>&)>& some) {
  std::size_t faults = 0;
  for (const Command& command : commands) {
    const FaultTest test(place, command);
    for (const std::size_t call : some(test.calls())) {
      test.fail(call, kErrors[faults++ % kErrors.size()]);
    }
  }
}

}  // namespace

TEST_CASE("a disk that fails at either end of a file: a run keeps the old one or the new one") {
  const Workplace place;
  fail_calls(place, place.runs(), ends);
}

TEST_CASE("a disk that fails at either end of a file: commands keep the old one or the new one") {
  const Workplace place;
  fail_calls(place, place.other_commands(), ends);
}

// HDF5 writes what it holds back when a dataset or the file is closed.
TEST_CASE("a single write of a calibration file that fails damages none") {
  const Workplace place;
  const Command prepare = place.prepare();
  const FaultTest test(place, prepare);
  for (std::size_t call = 0; call < test.calls().size(); ++call) test.fail(call, EIO);
}

TEST_CASE("a run to another target that fails at its end leaves the earlier run repeatable") {
  const Workplace place;
  const std::vector<Command> runs = place.runs();
  const FaultTest further(place, runs[1]);
  const auto last = std::ranges::find(further.calls(), "run.json", &DiskCall::name);
  REQUIRE(further.run_on_bad_disk(static_cast<std::size_t>(last - further.calls().begin()), EROFS)
              .code == 4);
  REQUIRE(run_tool(runs[0].arguments, kFixedTime).code == 0);
  Files repeated = place.outputs();
  std::filesystem::remove_all(place.out);
  REQUIRE(run_tool(runs[0].arguments, kFixedTime).code == 0);
  Files direct = place.outputs();
  for (Files* files : {&repeated, &direct}) files->erase("journal.jsonl");
  CHECK(repeated == direct);
}

TEST_CASE("a disk that fails at any call: a run keeps the old file or the new one", "[slow]") {
  const Workplace place;
  fail_calls(place, place.runs(), all);
}

TEST_CASE("a disk that fails at any call: commands keep the old file or the new one", "[slow]") {
  const Workplace place;
  fail_calls(place, place.other_commands(), all);
}
