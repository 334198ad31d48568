// SPDX-License-Identifier: Apache-2.0
#include "report/overlap_file.h"

#include "io/files.h"
#include "io/hdf5.h"

#include <fmt/format.h>

namespace indexcache {

void write_overlap(const std::filesystem::path& path, const Overlap& overlap,
                   const ModelSummary& model, const TokenSummary& tokens) {
  const auto layers = static_cast<std::int64_t>(overlap.layers);
  const auto buckets = static_cast<std::int64_t>(overlap.bucket_ends.size());
  std::vector<double> by_bucket;
  for (std::size_t b = 0; b < overlap.bucket_ends.size(); ++b) {
    const auto matrix = overlap.bucket_matrix(b);
    by_bucket.insert(by_bucket.end(), matrix.begin(), matrix.end());
  }
  std::vector<std::int64_t> blocks;
  for (const OverlapBlock& block : find_blocks(overlap)) {
    blocks.push_back(static_cast<std::int64_t>(block.first));
    blocks.push_back(static_cast<std::int64_t>(block.last));
  }
  replace_file(path, [&](const std::filesystem::path& temporary) {
    Hdf5Writer file(temporary);
    file.attribute("schema", "indexcache-overlap/1");
    file.attribute("model", model.name);
    file.attribute("model_config_sha256", model.config_sha256);
    file.attribute("tokens_sha256", tokens.sha256);
    file.attribute("index_topk", fmt::format("{}", overlap.index_topk));
    file.attribute("query_step", fmt::format("{}", overlap.query_step));
    file.write("overlap", {layers, layers}, overlap.matrix());
    file.write("adjacent", {layers - 1}, overlap.adjacent());
    file.write("blocks", {static_cast<std::int64_t>(blocks.size()) / 2, 2}, blocks);
    file.write("counts", {buckets, layers, layers}, overlap.counts);
    file.write("by_position/end", {buckets}, overlap.bucket_ends);
    file.write("by_position/queries", {buckets}, overlap.queries);
    file.write("by_position/overlap", {buckets, layers, layers}, by_bucket);
    file.close();
  });
}

}  // namespace indexcache
