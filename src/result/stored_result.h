// SPDX-License-Identifier: Apache-2.0
// A finished search as its files tell it: run.json or pattern.yaml behind one face.
#pragma once

#include "io/json.h"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

struct DonorOverlap {
  std::size_t layer;
  double overlap;  // fraction in [0, 1] of the layer's own index set that its donor's holds
};

// What was measured on held-out sequences, in nats a token over all-Full. A number is absent where
// the file has none.
struct StoredHoldout {
  std::string tokens_sha256;
  std::size_t sequences = 0;
  std::optional<double> delta;
  std::optional<double> upper;  // upper end of the 95 % interval
  std::optional<double> worst;  // of the sequence whose loss rises most
  std::optional<std::size_t> worst_sequence;
};

struct StoredResult {
  std::filesystem::path file;
  std::string pattern;  // F and S as they stand in the file, not checked further
  Json model;           // as model_json writes it; null for a bare pattern
  Json fingerprint;     // field -> value; null where the file has none
  std::optional<StoredHoldout> holdout;
  std::optional<std::vector<DonorOverlap>> donors;  // by layer; of the calibration data
};

// `path` is a run folder, a run.json or a pattern.yaml. Of several targets the smallest is taken,
// or the one that `target` names: as it was asked for ("1/4"), or its number of F layers. Throws
// InputError naming the file for what is neither or lacks a pattern.
StoredResult read_result(const std::filesystem::path& path, const std::string& target = "");
// The same of the content of `file`.
StoredResult result_of_document(const Json& document, const std::string& target,
                                const std::filesystem::path& file);

// Layers that own an indexer, of a model as model_json writes it: [layers].
std::vector<bool> indexer_mask(const Json& model, std::size_t layers);

// Whether read_result would take `path` for a file of this tool rather than a bare pattern.
bool is_result(const std::filesystem::path& path);

}  // namespace indexcache
