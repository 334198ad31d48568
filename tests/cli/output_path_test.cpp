// SPDX-License-Identifier: Apache-2.0
// Outputs that cannot be written are found before the work, by checks that change nothing.
#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/tiny_shape.h"
#include "support/tokens.h"

#include <map>
#include <unistd.h>
#include <utility>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;

// Every file and folder, with its content.
std::map<std::string, std::string> tree_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> tree;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    tree[entry.path()] = entry.is_directory() ? "a folder" : read_file(entry.path());
  }
  return tree;
}

// Inputs that take some reading, and a file where an output cannot be a folder.
struct Workplace {
  Workplace() {
    tiny_tokens(folder, 4, 24);
    write_text(folder / "file", "kept");
    write_text(folder / "tiny.yaml", tiny_shape());
  }

  Arguments with_tokens(Arguments command, const std::string& output) const {
    command.insert(command.end(), {"-c", folder / "tokens.jsonl", "--seq-len", "20", "--device",
                                   "cpu", "-o", output});
    return command;
  }
  Arguments prepare(const std::string& output) const {
    return {"prepare", "-i", folder / "tokens.jsonl", "--seq-len", "20", "-o", output};
  }
  Arguments profile(const std::string& output) const {
    return {"profile",  "--synthetic", folder / "tiny.yaml", "--context", "40",
            "--repeat", "1",           "--device",           "cpu",       "-o",
            output};
  }
  Arguments distill(const std::string& output) const {
    return with_tokens({"distill", model, "-p", "uniform:2", "--steps", "1", "--sparse-steps", "0"},
                       output);
  }

  // Every command that writes after long work, with its output.
  std::vector<Arguments> commands(const std::string& name) const {
    const std::string output = folder / name;
    return {prepare(output + ".h5"),
            profile(output),
            with_tokens({"run", model, "--keep", "1/2"}, output),
            distill(output),
            with_tokens({"overlap", model}, output),
            with_tokens({"overlap", model, "--against-model", model}, output)};
  }

  // The log of a command has a record for every stage of work that begins.
  std::pair<ProcessResult, std::string> logged(Arguments command) const {
    const std::filesystem::path log = folder / "log";
    command.insert(command.end(), {"--log-file", log});
    const ProcessResult result = run_tool(command);
    std::string text = read_file(log);
    std::filesystem::remove(log);
    return {result, text};
  }

  void check_early(const Arguments& command, const std::string& what) const {
    const auto before = tree_of(folder.path());
    const auto [result, log] = logged(command);
    INFO(command_line(command) << "\n" << log);
    CHECK(result.code == 3);
    CHECK_THAT(result.err, Contains(what));
    CHECK_THAT(log, !Contains(" progress "));
    CHECK(tree_of(folder.path()) == before);
  }

  TempFolder folder;
  const std::string model = golden("deepseek_v32_tiny");
};

}  // namespace

TEST_CASE("an output that cannot be written is found before documents are read") {
  const Workplace place;
  for (const Arguments& command : place.commands("file/out")) {
    place.check_early(command, command[0] == "prepare"   ? "the output cannot be written"
                               : command[0] == "profile" ? "cannot write a file"
                                                         : "is not a folder");
  }
  std::filesystem::create_directory(place.folder / "folder.h5");
  place.check_early(place.prepare(place.folder / "folder.h5"), "Is a directory");
  place.check_early(place.profile(place.folder / "folder.h5"), "Is a directory");
  // The file could have this name; the temporary file that becomes it could not.
  const std::string name = std::string(250, 'n');
  place.check_early(place.prepare(place.folder / (name + ".h5")), "File name too long");
  place.check_early(place.profile(place.folder / name), "File name too long");
  place.check_early(place.prepare("/proc/new.h5"), "cannot write a file");  // root cannot, either
  write_text(place.folder / "folder.h5/thesis.txt", "of somebody");
  for (const Arguments& command : place.commands("folder.h5")) {
    if (command[0] == "prepare" || command[0] == "profile") continue;
    place.check_early(command, "files that this tool did not write");
  }
}

TEST_CASE("a folder without permission is refused before documents are read") {
  if (geteuid() == 0) return;  // root may write everywhere
  const Workplace place;
  const std::filesystem::path folder = place.folder / "locked";
  std::filesystem::create_directory(folder);
  std::filesystem::permissions(folder, std::filesystem::perms(0500));
  for (const char* name : {"locked/out", "locked/new/out"}) {
    for (const Arguments& command : place.commands(name)) {
      const bool no_folder = std::string(name) == "locked/new/out";
      place.check_early(command, command[0] == "prepare" && no_folder   ? "does not exist"
                                 : command[0] == "profile" && no_folder ? "No such file"
                                                                        : "Permission denied");
    }
  }
  std::filesystem::permissions(folder, std::filesystem::perms(0700));
}

TEST_CASE("the run that an overlap is compared with is checked before documents are read") {
  const Workplace place;
  const auto overlap = [&](const std::string& output) {
    return place.with_tokens({"overlap", place.model, "--against", place.folder / "none"}, output);
  };
  place.check_early(overlap(place.folder / "out"), "it contains no finished run");
}

TEST_CASE("work on a good output is logged, so its absence above means that none was done") {
  const Workplace place;
  for (const Arguments& command : place.commands("out/out")) {
    std::filesystem::remove_all(place.folder / "out");
    std::filesystem::create_directory(place.folder / "out");
    const auto [result, log] = place.logged(command);
    INFO(command_line(command) << "\n" << log);
    CHECK(result.code == 0);
    CHECK_THAT(log, Contains(" progress "));
  }
}

TEST_CASE("a command that fails later leaves an old output as it was, and no new one") {
  const Workplace place;
  const std::string old = place.folder / "old.h5";
  REQUIRE(run_tool(place.prepare(old)).code == 0);
  REQUIRE(run_tool(place.profile(place.folder / "old.json")).code == 0);
  write_text(place.folder / "tokens.jsonl", "{\"input_ids\": [1, 2");
  write_text(place.folder / "tiny.yaml", "config: {}\n");
  const auto before = tree_of(place.folder.path());
  CHECK(run_tool(place.prepare(old)).code == 3);
  CHECK(run_tool(place.profile(place.folder / "old.json")).code == 3);
  for (const Arguments& command : place.commands("new")) CHECK(run_tool(command).code == 3);
  CHECK(tree_of(place.folder.path()) == before);
}
