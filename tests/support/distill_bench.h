// SPDX-License-Identifier: Apache-2.0
// A model on the CPU with students, and what their training needs.
#pragma once

#include "distill/distiller.h"
#include "distill/frozen_pass.h"
#include "distill/students.h"
#include "io/safetensors.h"
#include "support/files.h"
#include "support/session.h"

#include <array>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

namespace indexcache::test {

// Parameters or gradients of an indexer, in the order of kIndexerParts.
using IndexerParts = std::array<std::vector<float>, 5>;
inline constexpr std::array kIndexerParts = {"wq_b.weight", "wk.weight", "weights_proj.weight",
                                             "k_norm.weight", "k_norm.bias"};

struct DistillBench {
  DistillBench(const std::filesystem::path& folder, std::vector<Student> taught,
               std::int64_t positions, std::optional<double> mla_norm_eps = {}, int threads = 1,
               std::int64_t chunk_rows = 64)
      : session(folder, mla_norm_eps, Placement::resident, threads),
        students(session.model, session.backend, std::move(taught)),
        pass(session.model.config, session.backend, positions, students.students(), chunk_rows),
        distiller(session.model.config, session.backend, pass, students, students.students()) {}

  const ModelConfig& config() const { return session.model.config; }
  CpuBackend& backend() { return session.backend; }

  Features features(const std::vector<std::vector<std::int32_t>>& sequences,
                    const Pattern* pattern = nullptr) {
    return pass.run(session.weights, sequences, pattern);
  }

  IndexerParts download(const IndexerWeights& w) {
    return {backend().download(w.wq_b), backend().download(w.wk),
            backend().download(w.weights_proj), backend().download(w.k_norm),
            backend().download(w.k_norm_bias)};
  }
  IndexerParts gradients(std::size_t student) { return download(students.gradients(student)); }

  Session<> session;
  StudentSet students;
  FrozenPass pass;
  Distiller distiller;
};

// The sequences of a golden case.
inline std::vector<std::vector<std::int32_t>> golden_ids(const std::string& name) {
  const SafetensorsFile file(golden(name) / "golden_full.safetensors");
  const auto& tensor = file.tensors().at("input_ids");
  const std::vector<std::byte> bytes = file.read(tensor);
  std::vector<std::int64_t> ids(bytes.size() / sizeof(std::int64_t));
  std::memcpy(ids.data(), bytes.data(), bytes.size());
  std::vector<std::vector<std::int32_t>> sequences;
  const auto length = tensor.shape.at(1);
  for (auto row = ids.begin(); row != ids.end(); row += length) {
    sequences.emplace_back(row, row + length);
  }
  return sequences;
}

}  // namespace indexcache::test
