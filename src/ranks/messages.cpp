// SPDX-License-Identifier: Apache-2.0
#include "ranks/messages.h"

#include "core/interrupt.h"
#include "ranks/wire.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

WireWriter begin(MessageKind kind) {
  WireWriter writer;
  writer.put(kind);
  return writer;
}

WireReader open(std::string_view message, MessageKind kind) {
  WireReader reader(message);
  if (reader.get<MessageKind>() != kind) {
    throw InternalError({"an unexpected message between ranks", "",
                         fmt::format("kind {} instead of {}", static_cast<int>(kind_of(message)),
                                     static_cast<int>(kind)),
                         ""});
  }
  return reader;
}

void put(WireWriter& writer, const RankPlace& place) {
  writer.put(place.host);
  writer.put(place.process);
}

RankPlace get_place(WireReader& reader) {
  RankPlace place;
  place.host = reader.text();
  place.process = reader.get<std::int64_t>();
  return place;
}

void put(WireWriter& writer, const std::vector<SequenceLosses>& losses) {
  writer.put(static_cast<std::uint64_t>(losses.size()));
  for (const SequenceLosses& row : losses) writer.put(row);
}

std::vector<SequenceLosses> get_losses(WireReader& reader) {
  std::vector<SequenceLosses> losses(reader.count());
  for (SequenceLosses& row : losses) row = reader.numbers<double>();
  return losses;
}

void put(WireWriter& writer, const FidelitySums& sums) {
  writer.put(sums.kl);
  writer.put(sums.kl_sum);
  writer.put(sums.same_top);
  writer.put(static_cast<std::uint64_t>(sums.buckets.size()));
  for (const FidelitySums::Bucket& bucket : sums.buckets) {
    writer.put(bucket.tokens);
    writer.put(bucket.reference_loss);
    writer.put(bucket.loss);
  }
}

FidelitySums get_sums(WireReader& reader) {
  FidelitySums sums;
  sums.kl = reader.numbers<float>();
  sums.kl_sum = reader.get<double>();
  sums.same_top = reader.get<std::int64_t>();
  sums.buckets.resize(reader.count());
  for (FidelitySums::Bucket& bucket : sums.buckets) {
    bucket.tokens = reader.get<std::int64_t>();
    bucket.reference_loss = reader.get<double>();
    bucket.loss = reader.get<double>();
  }
  return sums;
}

void put(WireWriter& writer, const Overlap& overlap) {
  writer.put(static_cast<std::uint64_t>(overlap.layers));
  writer.put(overlap.index_topk);
  writer.put(overlap.bucket_ends);
  writer.put(overlap.queries);
  writer.put(overlap.counts);
  writer.put(overlap.query_step);
}

Overlap get_overlap(WireReader& reader) {
  Overlap overlap;
  overlap.layers = reader.get<std::uint64_t>();
  overlap.index_topk = reader.get<std::int64_t>();
  overlap.bucket_ends = reader.numbers<std::int64_t>();
  overlap.queries = reader.numbers<std::int64_t>();
  overlap.counts = reader.numbers<std::int64_t>();
  overlap.query_step = reader.get<std::int64_t>();
  return overlap;
}

void put(WireWriter& writer, const QueryOverlap& overlap) {
  writer.put(overlap.index_topk);
  writer.put(overlap.layers);
  writer.put(overlap.distances);
  writer.put(overlap.groups);
  writer.put(overlap.bucket_ends);
  writer.put(overlap.totals);
  writer.put(overlap.counts);
}

QueryOverlap get_query_overlap(WireReader& reader) {
  QueryOverlap overlap;
  overlap.index_topk = reader.get<std::int64_t>();
  overlap.layers = reader.numbers<std::size_t>();
  overlap.distances = reader.numbers<std::int64_t>();
  overlap.groups = reader.numbers<std::int64_t>();
  overlap.bucket_ends = reader.numbers<std::int64_t>();
  overlap.totals = reader.numbers<std::int64_t>();
  overlap.counts = reader.numbers<std::int64_t>();
  return overlap;
}

void put(WireWriter& writer, const IndexerOverlap& overlap) {
  writer.put(indexer_text(overlap.method));
  writer.put(overlap.index_topk);
  writer.put(overlap.layers);
  writer.put(overlap.bucket_ends);
  writer.put(overlap.queries);
  writer.put(overlap.counts);
  writer.put(overlap.least);
}

IndexerOverlap get_indexer_overlap(WireReader& reader) {
  IndexerOverlap overlap;
  overlap.method = parse_indexer(reader.text()).value();
  overlap.index_topk = reader.get<std::int64_t>();
  overlap.layers = reader.numbers<std::size_t>();
  overlap.bucket_ends = reader.numbers<std::int64_t>();
  overlap.queries = reader.numbers<std::int64_t>();
  overlap.counts = reader.numbers<std::int64_t>();
  overlap.least = reader.numbers<std::int64_t>();
  return overlap;
}

// A failure is an error with its four texts, or a signal.
constexpr std::int32_t kSignal = -1;

std::string failure_message(int code, const Problem& problem) {
  WireWriter writer = begin(MessageKind::failure);
  writer.put(static_cast<std::int32_t>(code));
  for (const std::string& text : {problem.what, problem.where, problem.why, problem.remedy}) {
    writer.put(text);
  }
  return writer.take();
}

}  // namespace

MessageKind kind_of(std::string_view message) {
  return WireReader(message).get<MessageKind>();
}

std::string message_of(MessageKind kind) {
  return begin(kind).take();
}

std::string RankPlace::text() const {
  return fmt::format("{}, process {}", host, process);
}

std::string encode(const Hello& hello) {
  WireWriter writer = begin(MessageKind::hello);
  put(writer, hello.place);
  writer.put(static_cast<std::uint64_t>(hello.fingerprint.size()));
  for (const auto& [field, value] : hello.fingerprint) {
    writer.put(field);
    writer.put(value);
  }
  writer.put(static_cast<std::uint64_t>(hello.devices.size()));
  for (const std::string& device : hello.devices) writer.put(device);
  return writer.take();
}

Hello decode_hello(std::string_view message) {
  WireReader reader = open(message, MessageKind::hello);
  Hello hello;
  hello.place = get_place(reader);
  hello.fingerprint.resize(reader.count());
  for (auto& [field, value] : hello.fingerprint) {
    field = reader.text();
    value = reader.text();
  }
  hello.devices.resize(reader.count());
  for (std::string& device : hello.devices) device = reader.text();
  return hello;
}

std::string encode(const Welcome& welcome) {
  WireWriter writer = begin(MessageKind::welcome);
  writer.put(static_cast<std::uint64_t>(welcome.ranks.size()));
  for (const RankPlace& place : welcome.ranks) put(writer, place);
  writer.put(welcome.weights);
  return writer.take();
}

Welcome decode_welcome(std::string_view message) {
  WireReader reader = open(message, MessageKind::welcome);
  Welcome welcome;
  welcome.ranks.resize(reader.count());
  for (RankPlace& place : welcome.ranks) place = get_place(reader);
  welcome.weights = reader.text();
  return welcome;
}

std::string encode(const RankTask& rank_task) {
  WireWriter writer = begin(MessageKind::task);
  const auto& [goal, task] = rank_task;
  writer.put(goal.tokens_sha256);
  writer.put(goal.objective);
  writer.put(goal.reference ? goal.reference->text() : "");
  writer.put(indexer_text(goal.indexer));
  writer.put(goal.dense);
  writer.put(static_cast<std::uint64_t>(task.patterns.size()));
  for (const Pattern& pattern : task.patterns) writer.put(pattern.text());
  writer.put(task.sequences);
  writer.put(task.extras.fidelity);
  writer.put(task.extras.overlap_step);
  writer.put(task.extras.along_queries);
  writer.put(indexer_text(task.extras.compared));
  return writer.take();
}

RankTask decode_task(std::string_view message) {
  WireReader reader = open(message, MessageKind::task);
  RankTask rank_task;
  auto& [goal, task] = rank_task;
  goal.tokens_sha256 = reader.text();
  goal.objective = reader.get<Objective>();
  if (const std::string text = reader.text(); !text.empty()) goal.reference = Pattern::parse(text);
  goal.indexer = parse_indexer(reader.text());
  goal.dense = reader.get<bool>();
  const std::size_t patterns = reader.count();
  for (std::size_t p = 0; p < patterns; ++p) task.patterns.push_back(Pattern::parse(reader.text()));
  task.sequences = reader.numbers<std::size_t>();
  task.extras.fidelity = reader.get<bool>();
  task.extras.overlap_step = reader.get<std::int64_t>();
  task.extras.along_queries = reader.get<bool>();
  task.extras.compared = parse_indexer(reader.text());
  return rank_task;
}

std::string encode(const LossPart& part) {
  WireWriter writer = begin(MessageKind::part);
  writer.put(std::vector<std::size_t>(part.patterns.begin(), part.patterns.end()));
  writer.put(std::vector<std::size_t>(part.sequences.begin(), part.sequences.end()));
  put(writer, std::vector<SequenceLosses>(part.losses.begin(), part.losses.end()));
  return writer.take();
}

RankPart decode_part(std::string_view message) {
  WireReader reader = open(message, MessageKind::part);
  RankPart part;
  part.patterns = reader.numbers<std::size_t>();
  part.sequences = reader.numbers<std::size_t>();
  part.losses = get_losses(reader);
  return part;
}

std::string encode(const RankProgress& progress) {
  WireWriter writer = begin(MessageKind::progress);
  writer.put(progress.done);
  writer.put(progress.total);
  return writer.take();
}

RankProgress decode_progress(std::string_view message) {
  WireReader reader = open(message, MessageKind::progress);
  RankProgress progress;
  progress.done = reader.get<std::size_t>();
  progress.total = reader.get<std::size_t>();
  return progress;
}

std::string encode(const SweepOutput& output) {
  WireWriter writer = begin(MessageKind::output);
  put(writer, output.losses);
  writer.put(static_cast<std::uint64_t>(output.fidelity.size()));
  for (const auto& sequences : output.fidelity) {
    writer.put(static_cast<std::uint64_t>(sequences.size()));
    for (const FidelitySums& sums : sequences) put(writer, sums);
  }
  put(writer, output.overlap);
  writer.put(output.along_queries.has_value());
  if (output.along_queries) put(writer, *output.along_queries);
  writer.put(output.indexers.has_value());
  if (output.indexers) put(writer, *output.indexers);
  return writer.take();
}

SweepOutput decode_output(std::string_view message) {
  WireReader reader = open(message, MessageKind::output);
  SweepOutput output;
  output.losses = get_losses(reader);
  output.fidelity.resize(reader.count());
  for (auto& sequences : output.fidelity) {
    sequences.resize(reader.count());
    for (FidelitySums& sums : sequences) sums = get_sums(reader);
  }
  output.overlap = get_overlap(reader);
  if (reader.get<bool>()) output.along_queries = get_query_overlap(reader);
  if (reader.get<bool>()) output.indexers = get_indexer_overlap(reader);
  return output;
}

std::string encode_end(int code) {
  WireWriter writer = begin(MessageKind::end);
  writer.put(static_cast<std::int32_t>(code));
  return writer.take();
}

int decode_end(std::string_view message) {
  return open(message, MessageKind::end).get<std::int32_t>();
}

std::string encode_failure(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Interrupted& interrupted) {
    WireWriter writer = begin(MessageKind::failure);
    writer.put(kSignal);
    writer.put(static_cast<std::int32_t>(interrupted.signal()));
    return writer.take();
  } catch (const Error& error) {
    return failure_message(static_cast<int>(error.code()), error.problem());
  } catch (const std::bad_alloc&) {
    return failure_message(static_cast<int>(ExitCode::resource),
                           {"out of memory", "", "", "fewer or shorter calibration sequences"});
  } catch (const std::exception& error) {
    return failure_message(static_cast<int>(ExitCode::internal), {error.what(), "", "", ""});
  }
}

void throw_failure(std::string_view message, const std::string& rank) {
  WireReader reader = open(message, MessageKind::failure);
  const auto code = reader.get<std::int32_t>();
  if (code == kSignal) throw Interrupted(reader.get<std::int32_t>());
  Problem problem;
  for (std::string* text : {&problem.what, &problem.where, &problem.why, &problem.remedy}) {
    *text = reader.text();
  }
  problem.where = problem.where.empty() ? rank : rank + ": " + problem.where;
  throw Error(static_cast<ExitCode>(code), problem);
}

}  // namespace indexcache
