// SPDX-License-Identifier: Apache-2.0
// What a calibration file holds, by its name.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace indexcache {

enum class FileKind { text, jsonl, hdf5, npy, json };

// How the kind of a file is found: in a folder, only endings that promise data count, because
// a README.md or a config.json next to them is none.
enum class Named { by_user, in_folder };

const char* name_of(FileKind kind);
std::optional<FileKind> kind_named(const std::string& name);

// By the ending in any case, ".gz" and ".zst" aside.
std::optional<FileKind> known_kind(const std::filesystem::path& path, Named named);

// The same for a file that was named; throws InputError for another ending, with a command that
// converts the file if its format is a common one.
FileKind kind_of(const std::filesystem::path& path);

// Lower-case ending without ".gz" and ".zst".
std::string ending_of(const std::filesystem::path& path);

// What makes a .jsonl or .txt of a file with this ending; empty if nothing is known.
std::string conversion_of(const std::string& ending);

}  // namespace indexcache
