// SPDX-License-Identifier: Apache-2.0
#include "model/indexer_folder.h"

#include "core/error.h"
#include "io/files.h"
#include "io/output_file.h"
#include "io/system_failure.h"
#include "io/weight_files.h"
#include "model/folder_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>

namespace indexcache {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_output(const fs::path& folder, const std::string& why, int error) {
  const auto remedy = resource_remedy(error, "choose another output folder");
  throw Error(remedy ? ExitCode::resource : ExitCode::input,
              {"the output folder cannot be used", folder.string(), why,
               remedy.value_or("choose an output folder that does not exist yet")});
}

// Absolute, with links resolved as far as it exists, and without a slash at the end.
fs::path resolved(const fs::path& folder) {
  std::error_code error;
  fs::path path = fs::absolute(folder, error);
  if (!error) path = fs::weakly_canonical(path, error);
  if (error) fail_output(folder, error.message(), error.value());
  return path.has_filename() ? path : path.parent_path();
}

// Wider types first, so that data is aligned; then by name.
std::vector<const EncodedTensor*> in_file_order(std::span<const StoredIndexer> indexers) {
  std::vector<const EncodedTensor*> tensors;
  for (const StoredIndexer& indexer : indexers) {
    for (const EncodedTensor& tensor : indexer.tensors) tensors.push_back(&tensor);
  }
  std::ranges::sort(tensors, [](const EncodedTensor* a, const EncodedTensor* b) {
    return std::pair(size_of(b->dtype), std::string_view(a->name)) <
           std::pair(size_of(a->dtype), std::string_view(b->name));
  });
  return tensors;
}

// Loaders trust config.json to describe every tensor, so nothing but values may change.
void check_replacement(const Checkpoint& base, const EncodedTensor& tensor) {
  const RawTensor& old = base.tensor(tensor.name);
  if (old.dtype == tensor.dtype && old.shape == tensor.shape &&
      old.bytes == static_cast<std::int64_t>(tensor.bytes.size())) {
    return;
  }
  throw InternalError({"a tensor is not stored as the one that it replaces", tensor.name,
                       fmt::format("{} {} for {} {}", name_of(tensor.dtype),
                                   shape_text(tensor.shape), old.type(), shape_text(old.shape)),
                       ""});
}

std::vector<TensorSource> sources_of(const std::vector<const EncodedTensor*>& tensors) {
  std::vector<TensorSource> sources;
  for (const EncodedTensor* tensor : tensors) {
    sources.push_back({tensor->name, std::string(name_of(tensor->dtype)), tensor->shape,
                       static_cast<std::int64_t>(tensor->bytes.size()),
                       [tensor](std::int64_t first, std::span<std::byte> out) {
                         std::memcpy(out.data(), tensor->bytes.data() + first, out.size());
                       }});
  }
  return sources;
}

void link_file(const LinkedFile& file, LinkKind kind, const fs::path& folder) {
  const fs::path to = folder / file.name;
  std::error_code error;
  switch (kind) {
    case LinkKind::symbolic:
      fs::create_symlink(file.source, to, error);
      break;
    case LinkKind::hard:
      fs::create_hard_link(file.source, to, error);
      break;
    case LinkKind::copy:
      write_copy(file.source, to);
      return;
  }
  if (error.value() == EXDEV) {
    throw InputError({"a file cannot be linked", to.string(),
                      fmt::format("{} is on another file system, which a hard link cannot reach",
                                  file.source.string()),
                      "use symbolic links or copies"});
  }
  if (error) fail_writing(to, error.value());
}

void write_files(const FolderPlan& plan, const std::vector<TensorSource>& indexers,
                 const IndexerFolderOptions& options, const fs::path& folder) {
  // What can fail for other reasons than a full disk comes first, and is fast.
  for (const LinkedFile& file : plan.links) {
    if (options.link != LinkKind::copy) link_file(file, options.link, folder);
  }
  SafetensorsMetadata metadata = options.metadata;
  metadata.emplace("format", "pt");  // some readers want to know it
  write_safetensors(folder / plan.new_shard, indexers, metadata);
  for (const RewrittenShard& shard : plan.rewritten) {
    SafetensorsMetadata kept = shard.source->metadata();
    kept.erase(kTrainedByKey);  // of an earlier training, some of whose indexers are replaced
    kept.erase(kTrainedPatternKey);
    write_safetensors(folder / shard.name, shard.tensors, kept);
  }
  for (const LinkedFile& file : plan.copies) write_copy(file.source, folder / file.name);
  for (const LinkedFile& file : plan.links) {
    if (options.link == LinkKind::copy) link_file(file, options.link, folder);
  }
  write_file(folder / kShardIndexName, plan.index);
}

}  // namespace

IndexerFolderBytes indexer_folder_bytes(const ModelConfig& config, const Checkpoint& checkpoint,
                                        const std::vector<std::int64_t>& layers, LinkKind link) {
  IndexerFolderBytes bytes;
  std::set<std::string> replaced;
  for (std::int64_t layer : layers) {
    for (const std::string& name : stored_indexer_names(config, checkpoint, layer)) {
      replaced.insert(name);
      bytes.indexers += checkpoint.tensor(name).bytes;
    }
  }
  if (checkpoint.shards().empty()) return bytes;  // it is not there: which shards is not known
  const FolderPlan plan = plan_folder(checkpoint, replaced);
  for (const RewrittenShard& shard : plan.rewritten) {
    bytes.rewritten += safetensors_bytes(shard.tensors, {});
  }
  const auto size = [](const LinkedFile& file) {
    return static_cast<std::int64_t>(fs::file_size(file.source));
  };
  for (const LinkedFile& file : plan.copies) bytes.copied += size(file);
  for (const LinkedFile& file : plan.links) bytes.copied += link == LinkKind::copy ? size(file) : 0;
  return bytes;
}

void require_new_folder(const fs::path& folder) {
  const fs::path path = resolved(folder);
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (fs::is_directory(status)) {
    const bool empty = fs::is_empty(path, error);
    if (error) fail_output(folder, error.message(), error.value());
    if (!empty) fail_output(folder, "it is not empty, and nothing in it is replaced", 0);
  } else if (fs::exists(status)) {
    fail_output(folder, "it is not a folder", 0);
  }
  fs::path parent = path.parent_path();
  while (!fs::exists(parent, error) && parent.has_relative_path()) parent = parent.parent_path();
  if (!fs::is_directory(parent, error)) {
    fail_output(folder, parent.string() + " is not a folder", 0);
  }
  if (access(parent.c_str(), W_OK | X_OK) == 0) return;
  const int code = errno;
  fail_output(folder, fmt::format("{}: {}", parent.string(), std::strerror(code)), code);
}

void write_indexer_folder(const Checkpoint& base, std::span<const StoredIndexer> indexers,
                          const IndexerFolderOptions& options, const fs::path& output) {
  require_new_folder(output);
  const std::vector<const EncodedTensor*> tensors = in_file_order(indexers);
  std::set<std::string> replaced;
  for (const EncodedTensor* tensor : tensors) {
    check_replacement(base, *tensor);
    replaced.insert(tensor->name);
  }
  const FolderPlan plan = plan_folder(base, replaced);
  const fs::path folder = resolved(output), temporary = temporary_beside(folder);
  std::error_code error;
  fs::remove_all(temporary, error);
  fs::create_directories(temporary, error);
  if (error) fail_output(output, error.message(), error.value());
  try {
    write_files(plan, sources_of(tensors), options, temporary);
    commit_temporary(temporary, folder);
  } catch (...) {
    fs::remove_all(temporary, error);
    throw;
  }
}

std::string trained_pattern(const std::filesystem::path& folder) {
  std::set<std::filesystem::path> shards;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    if (entry.path().extension() == ".safetensors") shards.insert(entry.path());
  }
  std::set<std::string> patterns;
  for (const std::filesystem::path& shard : shards) {
    try {
      const auto metadata = SafetensorsFile(shard).metadata();
      const auto pattern = metadata.find(kTrainedPatternKey);
      if (metadata.contains(kTrainedByKey) && pattern != metadata.end()) {
        patterns.insert(pattern->second);
      }
    } catch (const Error&) {
      continue;
    }
  }
  return patterns.size() == 1 ? *patterns.begin() : "";
}

}  // namespace indexcache
