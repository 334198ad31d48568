// SPDX-License-Identifier: Apache-2.0
#include "support/process.h"

#include "core/shell_quote.h"
#include "io/files.h"
#include "support/files.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace indexcache::test {
namespace {

std::string content(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Removes what the caller's shell or CI may have set and the program reads: a test states its own
// environment.
void clear_program_environment() {
  std::vector<std::string> names = {"SOURCE_DATE_EPOCH", "NO_COLOR", "COLUMNS"};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string name(*entry, std::strcspn(*entry, "="));
    if (name.starts_with("INDEXCACHE_") || name.starts_with("GITHUB_")) names.push_back(name);
  }
  for (const std::string& name : names) unsetenv(name.c_str());
}

pid_t start(const std::vector<std::string>& arguments, const std::vector<std::string>& environment,
            const std::filesystem::path& out, const std::filesystem::path& err) {
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child > 0) return child;
  std::vector<char*> argv = {const_cast<char*>(INDEXCACHE_TOOL)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  clear_program_environment();
  for (const std::string& entry : environment) putenv(const_cast<char*>(entry.c_str()));
  dup2(open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
  dup2(open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
  execv(INDEXCACHE_TOOL, argv.data());
  _exit(127);
}

int code_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::size_t lines_of(const std::filesystem::path& path) {
  const std::string text = content(path);
  return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

// The value of the first of these options; empty if there is none.
std::filesystem::path value_of(const std::vector<std::string>& arguments,
                               const std::vector<std::string>& names) {
  auto option = std::ranges::find_first_of(arguments, names);
  return option == arguments.end() || ++option == arguments.end() ? "" : *option;
}

void keep(const std::filesystem::path& file) {
  const std::filesystem::path folder = INDEXCACHE_PRODUCED;
  std::filesystem::create_directories(folder);
  const std::string text = content(file), hash = sha256(text).substr(0, 16);
  std::ofstream(folder / (hash + "." + file.filename().string()), std::ios::binary) << text;
}

// Keeps the files with a schema that the program left in its --output folder:
// tests/schema/validate.py looks at them when all tests have run.
void keep_produced(const std::vector<std::string>& arguments) {
  const std::filesystem::path folder = value_of(arguments, {"-o", "--output"});
  if (!std::filesystem::is_directory(folder)) return;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    const bool pattern = name.starts_with("pattern") && name.ends_with(".yaml");
    if (!pattern && name != "run.json" && name != "verdict.json" && name != "drift.json" &&
        name != "distill.json" && name != "model-overlap.json" && name != "junit.xml") {
      continue;
    }
    keep(entry.path());
  }
}

// The same for a log in JSON, which a failed command leaves too.
void keep_log(const std::vector<std::string>& arguments) {
  const std::filesystem::path log = value_of(arguments, {"--log-file"});
  if (log.filename() == "log.jsonl" && std::filesystem::is_regular_file(log)) keep(log);
}

}  // namespace

ProcessResult run_tool(const std::vector<std::string>& arguments,
                       const std::vector<std::string>& environment) {
  const TempFolder folder;
  const pid_t child = start(arguments, environment, folder / "out", folder / "err");
  int status = 0;
  waitpid(child, &status, 0);
  if (code_of(status) <= 1) keep_produced(arguments);
  keep_log(arguments);
  return {code_of(status), content(folder / "out"), content(folder / "err")};
}

int run_and_kill(const std::vector<std::string>& arguments, double seconds,
                 const std::vector<std::string>& environment) {
  const TempFolder folder;
  const pid_t child = start(arguments, environment, folder / "out", folder / "err");
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() >= end) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return code_of(status);
}

int run_and_signal(const std::vector<std::string>& arguments, const std::filesystem::path& file,
                   std::size_t lines, int signal, const std::vector<std::string>& environment) {
  const TempFolder folder;
  const pid_t child = start(arguments, environment, folder / "out", folder / "err");
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (lines_of(file) >= lines) {
      kill(child, signal);
      waitpid(child, &status, 0);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return code_of(status);
}

std::string command_line(const std::vector<std::string>& arguments) {
  std::string text = shell_quoted(INDEXCACHE_TOOL);
  for (const std::string& argument : arguments) text += " " + shell_quoted(argument);
  return text;
}

int shell(const std::string& command) {
  return code_of(std::system(command.c_str()));
}

}  // namespace indexcache::test
