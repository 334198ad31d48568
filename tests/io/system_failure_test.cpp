// SPDX-License-Identifier: Apache-2.0
#include "io/system_failure.h"

#include "core/error.h"
#include "core/open_files.h"
#include "io/byte_stream.h"
#include "io/files.h"
#include "io/hdf5.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/refusal.h"

#include <cerrno>
#include <string>
#include <sys/resource.h>
#include <vector>

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("what the system has run out of is no fault of a file") {
  for (const int error : {EMFILE, ENFILE, ENOMEM, ENOSPC, EDQUOT, EROFS, ESTALE, EIO, ENOTCONN}) {
    CHECK_THROWS_AS(fail_opening("file", error, "check the path"), ResourceError);
    CHECK_THROWS_AS(fail_writing("file", error), ResourceError);
  }
  for (const int error : {ENOENT, EACCES, ENOTDIR, ELOOP, ENAMETOOLONG}) {
    CHECK_THROWS_AS(fail_opening("file", error, "check the path"), InputError);
    CHECK_THROWS_AS(fail_writing("file", error), InputError);
  }
}

TEST_CASE("each failure of the system says what it is and what to try") {
  const auto writing = [](int error) { return refusal_of([&] { fail_writing("dir/x", error); }); };
  const auto says = [&](int error, const std::string& why, const std::string& remedy) {
    CHECK(writing(error) ==
          "error: cannot write a file\n  at:  dir/x\n  why: " + why + "\n  try: " + remedy + "\n");
  };
  says(ENOSPC, "No space left on device", "free space on that disk, or use another folder");
  says(EDQUOT, "Disk quota exceeded", "free space in your disk quota there, or use another folder");
  says(EIO, "Input/output error", "check that disk (dmesg has its errors)");
  says(EROFS, "Read-only file system", "mount that file system for writing, or use another folder");
  says(EFBIG, "File too large",
       "raise the limit on the size of files (ulimit -f), or use another folder");
  says(EMFILE, "Too many open files",
       "ulimit -n 4096 (or ask for a higher hard limit): this process may not open more files");
  says(ENFILE, "Too many open files in system",
       "close other programs, or raise fs.file-max: the system cannot open more files");
  says(ESTALE, "Stale file handle", "mount that network file system again");
  says(EACCES, "Permission denied", "check the path and its permissions");
  says(0, "the system gives no reason", "check the path and its permissions");
  CHECK(resource_remedy(ENOSPC, "redirect it") == "free space on that disk, or redirect it");
  CHECK_FALSE(resource_remedy(ENOENT).has_value());
}

TEST_CASE("too many open files are reported as such, whichever library opens one") {
  const TempFolder folder;
  const std::filesystem::path x = folder / "x";
  {
    Hdf5Writer file(x);
    file.attribute("name", "value");
    file.close();
  }
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none = before;
  none.rlim_cur = 0;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
  const std::vector<std::string> refusals = {
      refusal_of([&] { Hdf5Reader{x}; }), refusal_of([&] { Hdf5Writer{folder / "y"}; }),
      refusal_of([&] { open_stream(x); }), refusal_of([&] { read_file(x); }),
      refusal_of([&] { write_file(x, "content"); })};
  setrlimit(RLIMIT_NOFILE, &before);
  for (const std::string& refusal : refusals) {
    CHECK_THAT(refusal, Contains(folder.path().string()) && Contains("Too many open files") &&
                            Contains("ulimit -n 4096"));
  }
}

TEST_CASE("the soft limit of open files becomes the hard one") {
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit low = before;
  low.rlim_cur = 64;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
  raise_open_file_limit();
  rlimit after{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &after) == 0);
  CHECK(after.rlim_cur == before.rlim_max);
  setrlimit(RLIMIT_NOFILE, &before);
}
