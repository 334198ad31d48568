// SPDX-License-Identifier: Apache-2.0
// What ranks tell each other, as bytes. The first value of a message is its kind.
//
//   a computing rank -> rank 0: hello; for each task parts, progress, and an output or a failure
//   rank 0 -> a computing rank: welcome; tasks, stop; end
#pragma once

#include "core/error.h"
#include "core/fingerprint.h"
#include "search/objective.h"
#include "search/sweep_worker.h"

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

enum class MessageKind : std::uint8_t {
  alive,     // nothing else; sent now and then
  hello,     // Hello
  welcome,   // Welcome
  task,      // RankTask
  stop,      // the task that runs is not wanted any more
  part,      // LossPart of the task
  progress,  // visits done and total
  output,    // SweepOutput
  failure,   // the exception that ended the task, or the rank
  end,       // i32 exit code of the job
};

MessageKind kind_of(std::string_view message);
std::string message_of(MessageKind kind);

// A process of the job.
struct RankPlace {
  std::string host;
  std::int64_t process = 0;  // its id there

  std::string text() const;  // "node7, process 1234"
};

// What a computing rank would compute with.
struct Hello {
  RankPlace place;
  Fingerprint fingerprint;           // of the program, the model, the data and the settings
  std::vector<std::string> devices;  // "GPU 0"
};

struct Welcome {
  std::vector<RankPlace> ranks;  // all of them
  std::string weights;           // where rank 0 keeps its weights
};

// Which of a session's evaluators.
struct RankGoal {
  std::string tokens_sha256;
  Objective objective = Objective::loss;
  std::optional<Pattern> reference;
  IndexerMethod indexer = std::nullopt;
  bool dense = false;  // attends to everything instead

  bool operator==(const RankGoal&) const = default;
};

struct RankTask {
  RankGoal goal;
  SweepTask task;
};

struct RankPart {
  std::vector<std::size_t> patterns;
  std::vector<std::size_t> sequences;
  std::vector<SequenceLosses> losses;
};

struct RankProgress {
  std::size_t done = 0;
  std::size_t total = 0;
};

std::string encode(const Hello& hello);
std::string encode(const Welcome& welcome);
std::string encode(const RankTask& task);
std::string encode(const LossPart& part);
std::string encode(const RankProgress& progress);
std::string encode(const SweepOutput& output);
std::string encode_end(int code);
// Any exception: errors keep their code and text, interrupts their signal.
std::string encode_failure(const std::exception_ptr& failure);

Hello decode_hello(std::string_view message);
Welcome decode_welcome(std::string_view message);
RankTask decode_task(std::string_view message);
RankPart decode_part(std::string_view message);
RankProgress decode_progress(std::string_view message);
SweepOutput decode_output(std::string_view message);
int decode_end(std::string_view message);
// Throws the failure of a rank; an error names the rank.
[[noreturn]] void throw_failure(std::string_view message, const std::string& rank);

}  // namespace indexcache
