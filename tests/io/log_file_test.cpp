// SPDX-License-Identifier: Apache-2.0
// Files that a log may be appended to, and those that it would damage.
#include "io/log_file.h"

#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/refusal.h"

#include <sys/stat.h>

using namespace indexcache;
using namespace indexcache::test;

namespace {

const LogRecord kFirst{.message = "begin"};

std::string refusal(const std::filesystem::path& path, LogFormat format = LogFormat::text) {
  return refusal_of([&] { open_log_file(path, format, kFirst); });
}

}  // namespace

TEST_CASE("a log file is made with its folders, appended to, and recognized") {
  const TempFolder folder;
  const std::filesystem::path file = folder / "a/b/log";
  CHECK(refusal(file) == "accepted");
  const std::string once = read_file(file);
  CHECK_THAT(once, Contains(" info     begin\n"));
  CHECK(refusal(file) == "accepted");
  CHECK(read_file(file).starts_with(once));
  CHECK(read_file(file).size() > once.size());
  CHECK(is_log(file));
  CHECK_THAT(refusal(file, LogFormat::json), Contains("something other than a log in JSON") &&
                                                 Contains("the same --log-format as before"));
  write_text(folder / "empty", "");
  CHECK(refusal(folder / "empty") == "accepted");
}

TEST_CASE("a file with another content is refused and keeps it") {
  const TempFolder folder;
  for (const std::string content :
       {"{\"input_ids\":[1,2]}\n", "schema: indexcache-gate/1\n", "x", "\n"}) {
    write_text(folder / "data", content);
    for (const LogFormat format : {LogFormat::text, LogFormat::json}) {
      CHECK_THAT(refusal(folder / "data", format), Contains("the log file cannot be used"));
    }
    CHECK(read_file(folder / "data") == content);
    CHECK_FALSE(is_log(folder / "data"));
  }
}

TEST_CASE("what cannot be written is refused with the reason") {
  const TempFolder folder;
  write_text(folder / "file", "");
  CHECK_THAT(refusal(folder.path()), Contains("cannot write the log file") &&
                                         Contains("Is a directory") &&
                                         Contains("choose another --log-file"));
  CHECK_THAT(refusal(folder / "file/log"), Contains("Not a directory"));
  CHECK_THAT(refusal(folder / std::string(300, 'x')), Contains("File name too long"));
  CHECK_THAT(refusal("/proc/nowhere/log"), Contains("No such file"));
  CHECK_THAT(refusal("/dev/full"), Contains("No space left on device"));
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(refusal(folder / "pipe"), Contains("nobody reads") && Contains("start its reader"));
  CHECK_FALSE(is_log(folder / "pipe"));
}
