// SPDX-License-Identifier: Apache-2.0
#include "core/log.h"

#include "core/progress.h"
#include "support/catch.h"
#include "support/files.h"

#include <fcntl.h>
#include <fstream>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr std::chrono::system_clock::time_point kTime{std::chrono::milliseconds(1700000000042)};

std::string json(LogRecord record) {
  record.time = kTime;
  return log_lines(record, LogFormat::json, 17);
}

std::string text(LogRecord record) {
  record.time = kTime;
  return log_lines(record, LogFormat::text, 17);
}

}  // namespace

TEST_CASE("a record in JSON is one object on one line, with its fields after the message") {
  CHECK(json({.level = LogLevel::progress,
              .message = "step  3/4",
              .fields = {{"stage", "step"}, {"done", 3}}}) ==
        R"({"time":"2023-11-14T22:13:20.042Z","level":"progress","message":"step  3/4",)"
        R"("stage":"step","done":3,"pid":17,"schema":"indexcache-log/1"})"
        "\n");
}

TEST_CASE("JSON escapes what it must, and bytes that are not UTF-8 become U+FFFD") {
  const auto message = [](const std::string& bytes) {
    const std::string line = json({.message = bytes, .fields = {{"at", bytes}}});
    const std::size_t begin = line.find("\"message\":") + 10;
    const std::string shown = line.substr(begin, line.find(",\"at\"") - begin);
    CHECK_THAT(line, Contains("\"at\":" + shown));  // fields are escaped alike
    return shown;
  };
  CHECK(message("say \"\\\"") == R"("say \"\\\"")");
  CHECK(message("two\nlines\t\x1b[2K\r\x7f") == R"("two\nlines\u0009\u001b[2K\u000d\u007f")");
  CHECK(message("\xe9l\xff 日本") == "\"\xEF\xBF\xBDl\xEF\xBF\xBD 日本\"");
  CHECK(message(std::string("\0", 1)) == R"("\u0000")");
  CHECK(message("") == "\"\"");
}

TEST_CASE("a record in text has time, process and level on every line, and no control characters") {
  const std::string head = "2023-11-14T22:13:20.042Z 17 ";
  CHECK(text({.message = "a note"}) == head + "info     a note\n");
  CHECK(text({.level = LogLevel::warning, .message = "first\nsecond\n"}) ==
        head + "warning  first\n" + head + "warning  second\n");
  CHECK(text({.message = ""}) == head + "info     \n");
  CHECK(text({.message = "\x1b[31mred\r\xff"}) ==
        head + "info     \\x1b[31mred\\x0d\xEF\xBF\xBD\n");
}

TEST_CASE("the record of an error has its kind and exit code, and what is known of it") {
  const LogRecord full = record_of(InputError({"it broke", "file:3", "because", "that"}));
  CHECK_THAT(json(full), Contains(R"("level":"error","message":"it broke","kind":"input",)"
                                  R"("exit_code":3,"at":"file:3","why":"because","try":"that")"));
  const std::string head = "2023-11-14T22:13:20.042Z 17 error    ";
  CHECK(text(full) == head + "it broke\n" + head + "  at:  file:3\n" + head + "  why: because\n" +
                          head + "  try: that\n");
  CHECK_THAT(json(record_of(UsageError({"it broke", "", "", ""}))),
             Contains(R"("it broke","kind":"usage","exit_code":2,"pid")"));
  CHECK_THAT(json(record_of(ResourceError({}))), Contains(R"("kind":"resource","exit_code":4)"));
  CHECK_THAT(json(record_of(ResumeMismatch({}))),
             Contains(R"("kind":"resume-mismatch","exit_code":5)"));
  CHECK_THAT(json(record_of(InternalError({}))), Contains(R"("kind":"internal","exit_code":70)"));
}

TEST_CASE("a log is recognized by its first record, in its own format only") {
  const LogRecord record{.message = "x"};
  CHECK(begins_log(json(record), LogFormat::json));
  CHECK(begins_log(text(record), LogFormat::text));
  CHECK_FALSE(begins_log(json(record), LogFormat::text));
  CHECK_FALSE(begins_log(text(record), LogFormat::json));
  for (const char* other : {"", "{", R"({"time":"now"})", "2023-11-14", "{\"input_ids\":[1]}\n",
                            "2023-11-14 22:13:20.042Z 17 info", "\x89HDF\r\n"}) {
    CHECK_FALSE(begins_log(other, LogFormat::json));
    CHECK_FALSE(begins_log(other, LogFormat::text));
  }
}

TEST_CASE("a silent job is in the log file: notes, warnings, and each stage when it begins") {
  const TempFolder folder;
  const std::filesystem::path file = folder / "log";
  write_text(file, "cut");
  const int descriptor = open(file.c_str(), O_RDWR | O_APPEND);
  REQUIRE(start_log_file(descriptor, file, {.message = "begin"}) == 0);
  CHECK(is_log_file(file));
  CHECK_FALSE(is_log_file(folder / "other"));
  Progress progress(Progress::Style::silent);
  std::vector<std::string> warnings;
  progress.note("a note");
  warn(progress, warnings, "a warning");
  for (const std::size_t done : {1, 2, 3}) progress.update("one", done, 3);
  for (const std::size_t done : {10, 20}) progress.update("two", done, 0);
  progress.update("one", 1, 3);
  Progress(Progress::Style::off).note("not in any log");
  std::string levels, messages;
  std::ifstream lines(file);
  std::string line;
  std::getline(lines, line);
  CHECK(line == "cut");  // a record begins on a line of its own
  for (std::string time, pid, level; lines >> time >> pid >> level && std::getline(lines, line);) {
    levels += level + " ";
    messages += line.substr(line.find_first_not_of(' ')) + "|";
  }
  CHECK(levels == "info info warning progress progress progress ");
  CHECK(messages == "begin|a note|a warning|one  1/3|two  10|one  1/3|");
  CHECK(warnings == std::vector<std::string>{"a warning"});
}

TEST_CASE("the time left follows the pace since counting began, and counting may begin again") {
  const auto at = [](double seconds) {
    return Pace::Clock::time_point(
        std::chrono::duration_cast<Pace::Clock::duration>(std::chrono::duration<double>(seconds)));
  };
  Pace pace;
  CHECK_FALSE(pace.seconds_left(0, 100, at(1000)));
  CHECK_FALSE(pace.seconds_left(4, 100, at(1004)));  // less than a twentieth
  CHECK(pace.seconds_left(5, 100, at(1010)).value() == Approx(190));
  CHECK(pace.seconds_left(100, 100, at(1300)).value() == Approx(0));
  CHECK_FALSE(pace.seconds_left(1, 20, at(1301)));  // the next sweep
  CHECK(pace.seconds_left(2, 20, at(1303)).value() == Approx(18));
  CHECK_FALSE(pace.seconds_left(3, 0, at(1304)));
}

TEST_CASE("a log file that refuses its first record returns the error, and gets no other") {
  const int descriptor = open("/dev/full", O_WRONLY);
  REQUIRE(descriptor >= 0);
  CHECK(start_log_file(descriptor, "/dev/full", {.message = "begin"}) == ENOSPC);
  CHECK_FALSE(is_log_file("/dev/full"));
}
