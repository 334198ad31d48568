// SPDX-License-Identifier: Apache-2.0
#include "ranks/ranks.h"

#include "core/interrupt.h"
#include "core/log.h"
#include "ranks/remote_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <unistd.h>
#include <utility>

namespace indexcache {
namespace {

using Duration = PostOffice::Duration;

// Of a fingerprint: the kinds of the devices.
constexpr std::string_view kDeviceField = "device";

constexpr Duration kTick{100};
constexpr Duration kSilence{20'000};
// A launcher kills what is left a second after a rank has died; until then everything has to be
// reported.
constexpr Duration kGrace{600};
constexpr Duration kLastWords{2'000};
// How long a rank may take to open the model and its data longer than rank 0.
constexpr Duration kArrival{600'000};

RankPlace this_place() {
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  return {host, getpid()};
}

// A computation cannot be ended from outside; the journal has everything that is final.
void end_process(const Error& error) {
  write_record(record_of(error));
  std::_Exit(static_cast<int>(error.code()));
}

}  // namespace

Ranks::Ranks() {
  if (auto communicator = join_communicator()) {
    post_ = std::make_unique<PostOffice>(std::move(communicator), kSilence, kGrace, end_process);
  }
}

Ranks::Ranks(std::unique_ptr<Communicator> communicator)
    : post_(std::make_unique<PostOffice>(std::move(communicator), kSilence, kGrace, nullptr)) {}

Ranks::~Ranks() = default;

void Ranks::check_same(int rank, const Hello& hello, const Fingerprint& fingerprint,
                       bool mixed) const {
  const std::string where = fmt::format("rank {} ({})", rank, hello.place.text());
  const auto refuse = [&](const std::string& field, const std::string& here,
                          const std::string& there) {
    throw InputError({fmt::format("the ranks would not compute the same: {} differs", field), where,
                      fmt::format("\"{}\" there, \"{}\" on rank 0", there, here),
                      "the same program, model, data and options on all nodes"});
  };
  for (std::size_t f = 0; f < std::max(fingerprint.size(), hello.fingerprint.size()); ++f) {
    if (f >= hello.fingerprint.size()) refuse(fingerprint[f].first, fingerprint[f].second, "none");
    const auto& [field, value] = hello.fingerprint[f];
    if (f >= fingerprint.size()) refuse(field, "none", value);
    if (mixed && field == kDeviceField && fingerprint[f].first == kDeviceField) continue;
    if (hello.fingerprint[f] != fingerprint[f]) {
      refuse(fingerprint[f].first, fingerprint[f].second,
             field == fingerprint[f].first ? value : "none");
    }
  }
}

void Ranks::admit(const Fingerprint& fingerprint, const std::string& weights, bool mixed) {
  if (!post_) return;
  std::vector<RankPlace> places(static_cast<std::size_t>(size()), this_place());
  for (int rank = 1; rank < size(); ++rank) {
    std::optional<std::string> message;
    for (Duration waited{0}; !message; waited += kTick) {
      check_interrupt();
      message = post_->receive(rank, kControl, kTick);
      if (!message && waited > kArrival) {
        throw ResourceError({fmt::format("rank {} did not arrive", rank), "", "",
                             "see what the launcher reports about its node"});
      }
    }
    if (kind_of(*message) == MessageKind::failure) {
      throw_failure(*message, fmt::format("rank {}", rank));
    }
    const Hello hello = decode_hello(*message);
    check_same(rank, hello, fingerprint, mixed);
    for (const auto& [field, value] : hello.fingerprint) {
      if (field == kDeviceField) kinds_.push_back(value);
    }
    places[static_cast<std::size_t>(rank)] = hello.place;
    for (std::size_t d = 0; d < hello.devices.size(); ++d) {
      devices_.push_back(
          {rank, static_cast<int>(d), fmt::format("rank {} {}", rank, hello.devices[d])});
    }
  }
  places_ = places;
  for (int rank = 1; rank < size(); ++rank) {
    post_->send(rank, kControl, encode(Welcome{places, weights}));
  }
  post_->watch(places);
}

std::unique_ptr<SweepWorker> Ranks::worker(const RemoteDevice& device, const RankGoal& goal) {
  const RankPlace& place = places_[static_cast<std::size_t>(device.rank)];
  return std::make_unique<RemoteWorker>(
      *post_, device, fmt::format("rank {} ({})", device.rank, place.text()), goal);
}

std::string Ranks::introduce(const Fingerprint& fingerprint,
                             const std::vector<std::string>& devices) {
  post_->send(0, kControl, encode(Hello{this_place(), fingerprint, devices}));
  while (true) {
    check_interrupt();
    const auto message = post_->receive(0, kControl, kTick);
    if (!message) continue;
    if (kind_of(*message) == MessageKind::end) throw RankDismissed{decode_end(*message)};
    const Welcome welcome = decode_welcome(*message);
    post_->watch(welcome.ranks);
    return welcome.weights;
  }
}

int Ranks::serve(std::size_t devices, const WorkerOf& worker_of) {
  std::vector<std::jthread> threads;
  for (std::size_t device = 0; device < devices; ++device) {
    threads.emplace_back(
        [&, device](std::stop_token stop) { serve_device(device, worker_of, std::move(stop)); });
  }
  while (true) {
    check_interrupt();
    const auto message = post_->receive(0, kControl, kTick);
    if (message && kind_of(*message) == MessageKind::end) return decode_end(*message);
  }
}

// The life of a device's thread. What fails is rank 0's to report; a lost rank that of serve().
void Ranks::serve_device(std::size_t device, const WorkerOf& worker_of, std::stop_token stop) {
  struct Unwanted {};
  const int channel = static_cast<int>(device) + 1;
  const auto send = [&](const std::string& message) { post_->send(0, channel, message); };
  auto last = std::chrono::steady_clock::now();
  const SweepReports reports{[&](const LossPart& part) { send(encode(part)); },
                             [&](std::size_t done, std::size_t total) {
                               const auto now = std::chrono::steady_clock::now();
                               if (stop.stop_requested() || post_->receive(0, channel, Duration{0}))
                                 throw Unwanted{};
                               if (now - last < kTick) return;
                               last = now;
                               send(encode(RankProgress{done, total}));
                             }};
  try {
    while (!stop.stop_requested()) {
      const auto message = post_->receive(0, channel, kTick);
      // A stop that came after the end of its task is for nobody.
      if (!message || kind_of(*message) != MessageKind::task) continue;
      try {
        const RankTask task = decode_task(*message);
        send(encode(worker_of(device, task.goal).compute(task.task, reports)));
      } catch (const Unwanted&) {
        send(encode_failure(std::make_exception_ptr(Interrupted(SIGTERM))));
      } catch (...) {
        send(encode_failure(std::current_exception()));
      }
    }
  } catch (const Error&) {
    return;
  }
}

void Ranks::leave(int code) {
  if (!post_) return;
  if (rank() == 0) {
    for (int rank = 1; rank < size(); ++rank) post_->send(rank, kControl, encode_end(code));
  }
  post_->close(kLastWords);
  if (code == 0) {
    post_->finish();
  } else if (rank() == 0) {
    // The launcher ends the others when this process ends; let them read why first.
    std::this_thread::sleep_for(kTick);
  }
}

std::exception_ptr Ranks::cause_of(std::exception_ptr failure) {
  if (!post_) return failure;
  try {
    std::rethrow_exception(failure);
  } catch (const Interrupted&) {
    const auto lost = post_->lost_within(kGrace / 2);
    return lost ? std::make_exception_ptr(*lost) : failure;
  } catch (...) {
    return failure;
  }
}

bool Ranks::fail(const std::exception_ptr& failure) {
  if (!post_ || rank() == 0) return false;
  post_->send(0, kControl, encode_failure(failure));
  try {
    for (Duration waited{0}; waited < kLastWords; waited += kTick) {
      const auto message = post_->receive(0, kControl, kTick);
      if (message && kind_of(*message) == MessageKind::end) return true;
    }
  } catch (const Error&) {
    return false;
  }
  return false;
}

}  // namespace indexcache
