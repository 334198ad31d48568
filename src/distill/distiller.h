// SPDX-License-Identifier: Apache-2.0
// Gradients of the multi-layer distillation loss (arXiv 2603.12201; docs/distillation.md).
//
// A student of layer l that serves the layers l … l+m minimizes sum_j 1/(m+1) sum_t KL(p_t^(l+j) ||
// q_t), where p is the attention distribution of a layer averaged over heads and q the softmax of
// the student's scores. Its gradient is that of KL(mean_j p^(l+j) || q), which is what is computed:
// one indexer backward per student, whatever it serves. Queries are taken in ranges of positions,
// so that no matrix has more than (rows of a range) x (length) elements.
#pragma once

#include "backend/backend.h"
#include "distill/frozen_pass.h"
#include "distill/students.h"

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

namespace indexcache {

class Distiller {
 public:
  // Students must be sorted; the references must outlive the object. `all`: the students that are
  // trained, on this device and others. They decide how distributions are added up, so that a
  // student gets the same bits whatever is trained next to it.
  Distiller(const ModelConfig& config, Backend& backend, FrozenPass& pass, StudentSet& students,
            const std::vector<Student>& all);

  // Adds to the students' gradients those of row_weight * sum KL(mean p || q) over the queries of
  // `ranges`, and returns the sum of KL for every student (without row_weight), in nats. A
  // row_weight of 0 leaves the gradients as they are. With `sparse` features, queries that see more
  // than index_topk positions have only the selected ones as candidates; no range may cross that
  // position then.
  std::vector<double> add_gradients(const Features& features, std::span<const PositionRange> ranges,
                                    float row_weight);

  // Share of the teachers' attention that the positions have which a student selects: the mean over
  // the queries of `ranges` that see more than index_topk positions, and their number. Features of
  // a dense pass; no range may cross that position.
  struct MassRecall {
    std::vector<double> sums;  // of every student
    std::int64_t queries = 0;
  };
  MassRecall mass_recall(const Features& features, std::span<const PositionRange> ranges);

  // Matrices of [rows of a range, candidates] that are held at once: distributions of layers that
  // students of several layers learn from, their sum, and the scores that become gradients.
  static std::int64_t matrices(const ModelConfig& config, const std::vector<Student>& students);

  // Bytes for `rows` rows of keys of sequences of `longest` tokens, and ranges with `range_rows`
  // rows: of `students` next to `all`.
  static std::int64_t bytes(const ModelConfig& config, const Device& backend,
                            const std::vector<Student>& students, const std::vector<Student>& all,
                            std::int64_t rows, std::int64_t range_rows, std::int64_t longest);

 private:
  struct Keys;
  struct Range;

  Keys make_keys(std::size_t student, const Features& features);
  // Calls `visit` for every student with the sum of its teachers' distributions.
  using Visit = std::function<void(std::size_t student, const Range& range, const Tensor& sets,
                                   const Tensor& sums)>;
  void for_each_student(const Features& features, const PositionRange& positions,
                        const Visit& visit);
  void add_teacher(const Features& features, std::size_t layer, Range& range, const Tensor& sets,
                   const Tensor& sums);
  void add_attention(const Features& features, std::size_t layer, const Range& range,
                     const Tensor& sets, const Tensor& sums);
  void add_student(std::size_t student, const Features& features, const Range& range,
                   const Tensor& sets, const Tensor& sums, float row_weight, Keys& keys,
                   const Tensor& divergences);

  const ModelConfig& config_;
  Backend& backend_;
  FrozenPass& pass_;
  StudentSet& set_;
  std::vector<bool> shared_;  // [L] students of several layers learn from it
};

}  // namespace indexcache
