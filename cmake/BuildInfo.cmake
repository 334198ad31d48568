# SPDX-License-Identifier: Apache-2.0
# Run at every build: writes OUTPUT, a header of what the program is built from and with, if that
# has changed. Without a git checkout the revision is unknown.
execute_process(COMMAND git describe --always --dirty --abbrev=12 --exclude=*
  WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE INDEXCACHE_REVISION ERROR_QUIET
  OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT INDEXCACHE_REVISION)
  set(INDEXCACHE_REVISION "unknown")
endif()
configure_file(${SOURCE}/apps/indexcache-search/build_info.h.in ${OUTPUT} @ONLY)
