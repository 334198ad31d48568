// SPDX-License-Identifier: Apache-2.0
// A checkpoint folder that is another one with retrained indexers. It has
// - the new tensors, in a shard of their own,
// - every shard that held one of the replaced tensors, without them: many loaders load all tensors
//   of all files that the index names, and the old values could be the last,
// - an index, also where the base has none,
// - a copy of config.json, which people edit, and links to the other files.
// Left out are hidden files, subfolders, and weights that the new index does not name: stale
// shards, and the same weights in other forms, which some loaders would prefer. For the same reason
// shards called model.safetensors or consolidated*.safetensors get another name. The base folder is
// never changed.
#pragma once

#include "io/checkpoint.h"
#include "io/safetensors_writer.h"
#include "model/config.h"
#include "model/stored_indexer.h"

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace indexcache {

// Keys of the metadata of a shard with trained indexers that this program reads again.
inline constexpr const char* kTrainedByKey = "indexcache-search";
inline constexpr const char* kTrainedPatternKey = "pattern";

enum class LinkKind {
  symbolic,  // to the real files, as an absolute path
  hard,      // only on the same file system
  copy,
};

struct IndexerFolderOptions {
  SafetensorsMetadata metadata = {};  // of the new shard; "format" is added
  LinkKind link = LinkKind::symbolic;
};

// What writing a folder takes from the disk, up to a few KiB.
struct IndexerFolderBytes {
  std::int64_t indexers = 0;   // new tensors
  std::int64_t rewritten = 0;  // shards that lose tensors
  std::int64_t copied = 0;     // other files

  std::int64_t total() const { return indexers + rewritten + copied; }
};

// For the indexers of these layers, from headers only. Throws what write_indexer_folder would throw
// about the base.
IndexerFolderBytes indexer_folder_bytes(const ModelConfig& config, const Checkpoint& checkpoint,
                                        const std::vector<std::int64_t>& layers, LinkKind link);

// Throws InputError unless `folder` is empty or does not exist yet, or if it could not be made.
// Changes nothing; for before the training.
void require_new_folder(const std::filesystem::path& folder);

// Writes a folder next to `output` and renames it at the end: `output` has everything, or does not
// exist. Throws InputError if `output` has something in it, if a shard of the base is missing or
// damaged, or if its config.json names weights that loaders would prefer to the index;
// ResourceError when the disk refuses; Interrupted after a signal.
void write_indexer_folder(const Checkpoint& base, std::span<const StoredIndexer> indexers,
                          const IndexerFolderOptions& options, const std::filesystem::path& output);

// The pattern that the indexers of a checkpoint were trained for, as the metadata of its shards
// say; empty if no shard says so, or if several disagree. Reads headers only; shards that cannot be
// read say nothing.
std::string trained_pattern(const std::filesystem::path& folder);

}  // namespace indexcache
