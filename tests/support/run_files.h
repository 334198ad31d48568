// SPDX-License-Identifier: Apache-2.0
// What a run leaves, to be compared byte by byte.
#pragma once

#include "io/files.h"
#include "support/catch.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace indexcache::test {

// Fixes "created", the only thing in which two equal runs differ.
inline const std::vector<std::string> kFixedTime = {"SOURCE_DATE_EPOCH=1700000000"};

inline std::map<std::string, std::string> files_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files[entry.path().filename().string()] = read_file(entry.path());
  }
  return files;
}

// What a run found. Its journal holds the losses in the order in which devices measured them.
inline std::map<std::string, std::string> run_results_of(const std::filesystem::path& folder) {
  auto files = files_of(folder);
  CHECK(files.erase("journal.jsonl") == 1);
  CHECK(files.contains("run.json"));
  return files;
}

}  // namespace indexcache::test
