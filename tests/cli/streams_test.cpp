// SPDX-License-Identifier: Apache-2.0
// Standard output and standard error that are closed, full, or read by nobody: for every command.
#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/run_files.h"
#include "support/workplace.h"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <thread>
#include <unistd.h>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::string timed(const std::vector<std::string>& arguments) {
  return kFixedTime.front() + " " + command_line(arguments);
}

// The exit code of a command with these redirections.
int redirected(const std::vector<std::string>& arguments, const std::string& redirections) {
  return shell(timed(arguments) + " " + redirections);
}

// Runs the program on a terminal of its own with SIGHUP ignored and takes the terminal away after
// its first words. The exit code.
int run_on_vanishing_terminal(const std::vector<std::string>& arguments) {
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  REQUIRE((terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0));
  const std::string name = ptsname(terminal);
  int code = 0;
  std::thread program([&] {
    code = shell("trap '' HUP; " + kFixedTime.front() + " setsid --ctty --wait " +
                 command_line(arguments) + " <>" + name + " >&0 2>&0");
  });
  char first = 0;
  const bool spoke = read(terminal, &first, 1) == 1;
  close(terminal);
  program.join();
  REQUIRE(spoke);
  return code;
}

}  // namespace

TEST_CASE("output that cannot be written fails every command, narration fails none") {
  const Workplace place;
  const std::string out = place.folder / "out", err = place.folder / "err";
  for (const auto& command : place.commands()) {
    INFO(timed(command));
    const int code = redirected(command, ">'" + out + "' 2>'" + err + "'");
    CHECK(code == (command.empty() ? 2 : 0));
    const std::string printed = read_file(out);
    REQUIRE_FALSE(printed.empty());

    CHECK(redirected(command, ">/dev/full 2>'" + err + "'") == (code == 0 ? 4 : code));
    CHECK_THAT(read_file(err),
               Contains("cannot write to standard output") && Contains("No space left on device"));
    CHECK(redirected(command, ">/dev/full 2>&1") == (code == 0 ? 4 : code));
    CHECK(redirected(command, ">'" + out + "' 2>/dev/full") == code);
    // Times and free memory differ from call to call.
    const bool measures = !command.empty() && (command[0] == "bench" || command[0] == "plan" ||
                                               command[0] == "profile");
    if (!measures) CHECK(read_file(out) == printed);
  }
}

TEST_CASE("closed streams and readers that leave end no command") {
  const Workplace place;
  const std::string folder = place.folder.path();
  for (const auto& command : place.commands()) {
    INFO(timed(command));
    const int code = command.empty() ? 2 : 0;
    for (const char* streams : {">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"}) {
      INFO(streams);
      CHECK(redirected(command, std::string(streams) + (streams[0] == '2' ? " >/dev/null" : "")) ==
            code);
    }
    // The reader is gone before the first byte is written.
    const std::string pipe = "{ sleep 0.1; " + timed(command) + " 2>&1; echo $? >'" + folder +
                             "/code'; } | true; sleep 0.1; while [ ! -s '" + folder +
                             "/code' ]; do sleep 0.05; done";
    std::filesystem::remove(place.folder / "code");
    REQUIRE(shell(pipe) == 0);
    CHECK(read_file(place.folder / "code") == std::to_string(code) + "\n");
  }
}

TEST_CASE("whatever becomes of its streams, a run leaves the same files and can be continued") {
  const Workplace place;
  const auto whole = files_of(place.folder / "finished");
  int number = 0;
  for (const char* output : {">/dev/null", ">&-", ">/dev/full"}) {
    for (const char* narration : {"2>/dev/null", "2>&-", "2>/dev/full"}) {
      INFO(output << " " << narration);
      const std::string name = "run" + std::to_string(number++);
      const auto command = place.run(name);
      const int code = redirected(command, std::string(output) + " " + narration);
      CHECK(code == (std::string(output) == ">/dev/full" ? 4 : 0));
      CHECK(files_of(place.folder / name) == whole);
      CHECK(run_tool(command, kFixedTime).code == 0);
      auto further = command;
      further[5] = "1/3";
      CHECK(run_tool(further, kFixedTime).code == 0);
    }
  }
}

TEST_CASE("a terminal that vanishes ends no run that ignores SIGHUP, and SIGHUP is like SIGTERM") {
  const Workplace place;
  CHECK(run_on_vanishing_terminal(place.run("vanished")) == 0);
  CHECK(files_of(place.folder / "vanished") == files_of(place.folder / "finished"));

  const TempFolder folder;
  const std::vector<std::string> run = {
      "run", data("dsa-mini"), "-c", short_tokens(folder, 160), "--holdout", "0.5", "--keep", "9",
      "-o",  folder / "out"};
  CHECK(run_and_signal(run, folder / "out/journal.jsonl", 3, SIGHUP) == 128 + SIGHUP);
  const ProcessResult continued = run_tool(run);
  CHECK(continued.code == 0);
  CHECK_THAT(continued.err, Contains("measured before"));
}
