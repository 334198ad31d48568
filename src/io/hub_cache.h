// SPDX-License-Identifier: Apache-2.0
// The cache of the Hugging Face Hub's clients, where most checkpoints are:
// models--ORG--NAME/{refs/main, snapshots/REVISION/FILE -> ../../blobs/HASH}.
#pragma once

#include <filesystem>
#include <string>

namespace indexcache {

// What to call the model of a folder: ORG/NAME for a snapshot in a cache, else the folder's name.
std::string model_name(const std::filesystem::path& folder);

// The revision of a snapshot in a cache; empty for any other folder.
std::string model_revision(const std::filesystem::path& folder);

// The folder that holds the model's files: `given`, or for models--ORG--NAME of a cache the
// snapshot that refs/main names. Throws InputError with a hint if it is not a folder, as for
// ORG/NAME, or if it is a cache entry without a snapshot to choose.
std::filesystem::path model_folder(const std::filesystem::path& given);

}  // namespace indexcache
