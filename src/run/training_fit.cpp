// SPDX-License-Identifier: Apache-2.0
#include "run/training_fit.h"

#include "distill/dealt_students.h"
#include "distill/distiller.h"
#include "distill/student_deal.h"

#include <algorithm>
#include <bit>

namespace indexcache {

std::int64_t training_chunk_rows(const Device& backend, const ModelConfig& config,
                                 const std::vector<Student>& students, std::int64_t wave,
                                 std::int64_t longest) {
  return wave * std::min(longest, positions_at_once(backend, config, students, wave, longest));
}

std::int64_t TrainingSizes::student_bytes(const std::vector<Student>& part) const {
  const std::int64_t others = sparse_ ? DealtStudents::shared_bytes(config_, backend_, part.size(),
                                                                    subject_.students.size())
                                      : 0;
  return StudentSet::bytes(config_, backend_, part.size()) + others;
}

// What a step holds besides weights and students.
std::int64_t TrainingSizes::working_bytes(const std::vector<Student>& part,
                                          std::int64_t wave) const {
  const std::vector<Student>& all = subject_.students;
  const std::int64_t longest = subject_.longest(), rows = wave * longest,
                     chunk = training_chunk_rows(backend_, config_, all, wave, longest);
  const std::int64_t residual = rows * 4 * config_.residual_width();
  // Copies of the weights that make queries of attention, where layers do not stay.
  std::int64_t query_weights = 0;
  for (const Student& student : part) {
    query_weights = std::max(query_weights, static_cast<std::int64_t>(student.end));
  }
  query_weights *= static_cast<std::int64_t>(size_of(backend_.activation())) * config_.heads *
                   (config_.q_head_rows() * config_.q_latent_width() +
                    config_.kv_lora_rank * config_.qk_nope_head_dim);
  return rows * FrozenPass::feature_row_bytes(config_, backend_, part, sparse_) + residual +
         query_weights + chunk * Decoder::row_bytes(config_, backend_) +
         Distiller::bytes(config_, backend_, part, all, rows, chunk, longest) +
         backend_.scratch_bytes(config_.shape(), chunk, longest) +
         backend_.logits_bytes(config_.shape(), chunk, longest);
}

// Of all sequences, in the dense stage.
std::int64_t TrainingSizes::feature_bytes(const std::vector<Student>& part) const {
  return FrozenPass::feature_row_bytes(config_, backend_, part, false) *
         (subject_.training.tokens() + subject_.validation.tokens());
}

bool TrainingSizes::keeps_features(const std::vector<Student>& part, std::int64_t wave) const {
  const std::int64_t room = room_ - student_bytes(part);
  return feature_bytes(part) <= (room - working_bytes(part, wave)) / 2;
}

std::int64_t TrainingSizes::most_bytes(const std::vector<std::vector<Student>>& parts,
                                       std::int64_t wave) const {
  std::int64_t most = 0;
  for (const auto& part : parts) {
    const std::int64_t kept = keeps_features(part, wave) ? feature_bytes(part) : 0;
    most = std::max(most, student_bytes(part) + working_bytes(part, wave) + kept);
  }
  return most;
}

TrainingFit TrainingSizes::fit(std::int64_t batch, std::size_t devices) const {
  std::int64_t wave = 1;
  for (std::size_t fewest = 1; fewest <= devices; ++fewest) {
    const auto parts = deal_students(config_, subject_.students, fewest);
    if (most_bytes(parts, 1) > room_ && fewest < devices) continue;
    wave = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(batch)));
    while (wave > 1 && most_bytes(parts, wave) > room_) wave /= 2;
    break;
  }
  return fit_wave(wave, devices);
}

TrainingFit TrainingSizes::fit_wave(std::int64_t wave, std::size_t devices) const {
  TrainingFit fit{deal_students(config_, subject_.students, devices), wave, true, 0};
  for (const auto& part : fit.parts) fit.keeps = fit.keeps && keeps_features(part, wave);
  fit.bytes = most_bytes(fit.parts, wave);
  return fit;
}

}  // namespace indexcache
