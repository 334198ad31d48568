// SPDX-License-Identifier: Apache-2.0
// Which files the inputs of a command name.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace indexcache {

enum class FileKind { text, jsonl, hdf5, npy };

struct SourceFile {
  std::filesystem::path path;
  FileKind kind;
  std::size_t source;  // which input it belongs to
};

struct SourceFiles {
  std::vector<SourceFile> files;  // by input, then by path
  std::size_t passed_over = 0;    // files in folders whose kind is not read
};

// The kind by the name, ".gz" and ".zst" aside: .txt, .jsonl, .h5 or .hdf5, .npy. Throws InputError
// for another.
FileKind kind_of(const std::filesystem::path& path);

// Each input is a file, a folder (read with the folders in it) or a glob. Throws InputError for one
// that names nothing to read.
SourceFiles find_source_files(const std::vector<std::string>& inputs);

}  // namespace indexcache
