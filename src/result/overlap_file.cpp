// SPDX-License-Identifier: Apache-2.0
#include "result/overlap_file.h"

#include "core/error.h"
#include "io/files.h"
#include "io/hdf5.h"

#include <fmt/format.h>

#include <charconv>

namespace indexcache {
namespace {

constexpr const char* kSchema = "indexcache-overlap/1";

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& why) {
  throw InputError({"the overlap file cannot be used", path.string(), why,
                    "the overlap.h5 that `run` or `overlap` wrote"});
}

std::int64_t number_attribute(const Hdf5Reader& file, const std::filesystem::path& path,
                              const std::string& name) {
  const std::string text = file.attribute(name).value_or("");
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1) {
    fail(path, fmt::format("its attribute {} is \"{}\"", name, text));
  }
  return value;
}

// No pair of sets can have more in common than k a query.
void check_counts(const Overlap& overlap, const std::filesystem::path& path) {
  const std::size_t pairs = overlap.layers * overlap.layers;
  for (std::size_t b = 0; b < overlap.queries.size(); ++b) {
    const bool sound = overlap.queries[b] >= 0 && overlap.queries[b] < (std::int64_t{1} << 40);
    const std::int64_t most = sound ? overlap.queries[b] * overlap.index_topk : -1;
    for (std::size_t i = 0; i < pairs; ++i) {
      const std::int64_t count = overlap.counts[b * pairs + i];
      if (count < 0 || count > most) fail(path, "its counts are impossible for index sets");
    }
  }
}

void write_along_queries(Hdf5Writer& file, const QueryOverlap& along) {
  const auto layers = static_cast<std::int64_t>(along.layers.size());
  const auto buckets = static_cast<std::int64_t>(along.bucket_ends.size());
  const auto columns = static_cast<std::int64_t>(along.columns());
  const auto write_list = [&](const std::string& name, const std::vector<std::int64_t>& values) {
    file.write("along_queries/" + name, {static_cast<std::int64_t>(values.size())}, values);
  };
  write_list("layers", {along.layers.begin(), along.layers.end()});
  write_list("distances", along.distances);
  write_list("groups", along.groups);
  file.write("along_queries/totals", {buckets, columns}, along.totals);
  file.write("along_queries/counts", {layers, buckets, columns}, along.counts);
}

}  // namespace

StoredOverlap read_overlap(const std::filesystem::path& path) {
  const Hdf5Reader file(path);
  if (file.attribute("schema") != kSchema) {
    fail(path, fmt::format("its schema is not {}", kSchema));
  }
  const IntegerDataset counts = file.integers("/counts");
  StoredOverlap stored;
  Overlap& overlap = stored.overlap;
  overlap.bucket_ends = file.integers("/by_position/end").values;
  overlap.queries = file.integers("/by_position/queries").values;
  const auto buckets = static_cast<std::int64_t>(overlap.queries.size());
  if (counts.shape.size() != 3 || counts.shape[0] != buckets ||
      counts.shape[1] != counts.shape[2] || counts.shape[1] < 1 ||
      overlap.bucket_ends.size() != overlap.queries.size()) {
    fail(path, "its datasets have inconsistent sizes");
  }
  overlap.layers = static_cast<std::size_t>(counts.shape[1]);
  overlap.counts = counts.values;
  overlap.index_topk = number_attribute(file, path, "index_topk");
  overlap.query_step = number_attribute(file, path, "query_step");
  if (overlap.index_topk > (1 << 22)) fail(path, "its index_topk is too large");
  check_counts(overlap, path);
  stored.model_config_sha256 = file.attribute("model_config_sha256").value_or("");
  stored.tokens_sha256 = file.attribute("tokens_sha256").value_or("");
  return stored;
}

void write_overlap(const std::filesystem::path& path, const Overlap& overlap,
                   const ModelSummary& model, const TokenSummary& tokens,
                   const QueryOverlap* along_queries) {
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
    Hdf5Writer file(temporary, path);
    file.attribute("schema", kSchema);
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
    if (along_queries != nullptr) write_along_queries(file, *along_queries);
    file.close();
  });
}

}  // namespace indexcache
