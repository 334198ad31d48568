// SPDX-License-Identifier: Apache-2.0
#include "io/system_failure.h"

#include "core/error.h"
#include "core/open_files.h"
#include "support/catch.h"
#include "support/files.h"

#include <cerrno>
#include <sys/resource.h>

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("what the system has run out of is no fault of a file") {
  for (const int error : {EMFILE, ENFILE, ENOMEM, ENOSPC, EDQUOT, ESTALE, EIO, ENOTCONN}) {
    CHECK_THROWS_AS(fail_opening("file", error, "check the path"), ResourceError);
  }
  for (const int error : {ENOENT, EACCES, ENOTDIR, ELOOP, ENAMETOOLONG}) {
    CHECK_THROWS_AS(fail_opening("file", error, "check the path"), InputError);
  }
  CHECK_THAT(*resource_remedy(EMFILE), Contains("ulimit -n"));
  CHECK_THAT(*resource_remedy(EDQUOT), Contains("quota"));
  CHECK_THAT(*resource_remedy(ESTALE), Contains("mount"));
  CHECK_FALSE(resource_remedy(ENOENT).has_value());
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
