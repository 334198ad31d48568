// SPDX-License-Identifier: Apache-2.0
// Which files the inputs of a command name.
#pragma once

#include "calibration/file_kinds.h"

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

struct SourceFile {
  std::filesystem::path path;
  FileKind kind;
  std::size_t source;  // which input it belongs to
};

struct SourceFiles {
  std::vector<SourceFile> files;                   // by input, then by path
  std::size_t passed_over = 0;                     // files in folders whose kind is not read
  std::map<std::string, std::size_t> other_kinds;  // the same by their endings
  std::size_t hidden = 0;  // files and folders in folders whose names begin with "."
};

// Each input is a file, a folder (read with the folders in it, each once) or a glob; `format` is
// the kind of all files, whatever their names. Throws InputError for an input that names nothing to
// read, and for one that is not a file: a pipe could not be read a second time.
SourceFiles find_source_files(const std::vector<std::string>& inputs,
                              std::optional<FileKind> format = std::nullopt);

}  // namespace indexcache
