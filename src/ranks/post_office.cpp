// SPDX-License-Identifier: Apache-2.0
#include "ranks/post_office.h"

#include "ranks/wire.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

namespace indexcache {
namespace {

using Duration = PostOffice::Duration;

constexpr Duration kIdle{1};     // between two looks for letters
constexpr Duration kLook{100};   // between two looks after others
constexpr Duration kSign{1000};  // between two signs of life

std::string letter_of(int channel, const std::string& message) {
  WireWriter writer;
  writer.put(static_cast<std::int32_t>(channel));
  return writer.take() + message;
}

}  // namespace

PostOffice::PostOffice(std::unique_ptr<Communicator> communicator, Duration silence, Duration grace,
                       std::function<void(const Error&)> on_lost)
    : communicator_(std::move(communicator)),
      rank_(communicator_->rank()),
      size_(communicator_->size()),
      silence_(silence),
      grace_(grace),
      on_lost_(std::move(on_lost)),
      heard_(static_cast<std::size_t>(size_), Clock::now()),
      next_look_(Clock::now()),
      next_sign_(Clock::now()),
      thread_([this](const std::stop_token& stop) {
        while (!stop.stop_requested()) work();
      }) {}

PostOffice::~PostOffice() = default;

void PostOffice::send(int to, int channel, const std::string& message) {
  const std::lock_guard lock(mutex_);
  outgoing_.emplace_back(to, letter_of(channel, message));
  all_sent_ = false;
}

std::optional<std::string> PostOffice::receive(int from, int channel, Duration longest) {
  std::unique_lock lock(mutex_);
  auto& box = boxes_[{from, channel}];
  arrived_.wait_for(lock, longest, [&] { return !box.empty() || lost_ || failure_; });
  if (!box.empty()) {
    std::string message = std::move(box.front());
    box.pop_front();
    return message;
  }
  if (lost_) throw error_of(*lost_);
  if (failure_) std::rethrow_exception(failure_);
  return std::nullopt;
}

void PostOffice::watch(std::vector<RankPlace> places) {
  const std::lock_guard lock(mutex_);
  places_ = std::move(places);
  std::ranges::fill(heard_, Clock::now());
}

std::optional<ResourceError> PostOffice::lost_within(Duration longest) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, longest, [&] { return lost_.has_value(); });
  if (!lost_) return std::nullopt;
  return error_of(*lost_);
}

void PostOffice::close(Duration longest) {
  std::unique_lock lock(mutex_);
  closed_ = true;
  sent_.wait_for(lock, longest, [&] { return all_sent_ || failure_; });
}

void PostOffice::finish() {
  thread_.request_stop();
  thread_.join();
  communicator_->finish();
}

// One round of the thread.
void PostOffice::work() {
  bool busy = false;
  try {
    send_queued();
    busy = deliver();
    look_after_others();
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!failure_ && !closed_) failure_ = std::current_exception();
    arrived_.notify_all();
  }
  if (!busy) std::this_thread::sleep_for(kIdle);
}

void PostOffice::send_queued() {
  std::deque<std::pair<int, std::string>> letters;
  {
    const std::lock_guard lock(mutex_);
    letters.swap(outgoing_);
    if (letters.empty() && all_sent_) return;
  }
  for (auto& [to, letter] : letters) {
    try {
      communicator_->send(to, std::move(letter));
    } catch (const Error&) {
      lose(to);
    }
  }
  const bool all_sent = communicator_->all_sent();
  const std::lock_guard lock(mutex_);
  all_sent_ = all_sent && outgoing_.empty();
  if (all_sent_) sent_.notify_all();
}

void PostOffice::lose(int other) {
  const std::lock_guard lock(mutex_);
  if (lost_ || closed_ || places_.empty()) return;
  lost_ = other;
  lost_at_ = Clock::now();
  arrived_.notify_all();
}

bool PostOffice::deliver() {
  auto letter = communicator_->receive();
  if (!letter) return false;
  const int channel = WireReader(letter->bytes).get<std::int32_t>();
  std::string message = letter->bytes.substr(sizeof(std::int32_t));
  const std::lock_guard lock(mutex_);
  heard_[static_cast<std::size_t>(letter->from)] = Clock::now();
  if (kind_of(message) != MessageKind::alive) {
    boxes_[{letter->from, channel}].push_back(std::move(message));
    arrived_.notify_all();
  }
  return true;
}

bool PostOffice::watches(int other) const {
  if (other == rank_) return false;
  return rank_ == 0 || other == 0 ||
         places_[static_cast<std::size_t>(other)].host ==
             places_[static_cast<std::size_t>(rank_)].host;
}

bool PostOffice::is_lost(int other, Clock::time_point now) const {
  const RankPlace& place = places_[static_cast<std::size_t>(other)];
  const bool here = place.host == places_[static_cast<std::size_t>(rank_)].host;
  if (here && kill(static_cast<pid_t>(place.process), 0) != 0 && errno == ESRCH) return true;
  const bool speaks = rank_ == 0 || other == 0;
  return speaks && now - heard_[static_cast<std::size_t>(other)] > silence_;
}

void PostOffice::look_after_others() {
  const Clock::time_point now = Clock::now();
  std::optional<ResourceError> report;
  {
    const std::lock_guard lock(mutex_);
    if (now >= next_sign_) {
      for (int other = 0; other < size_; ++other) {
        if (other == rank_ || (rank_ != 0 && other != 0)) continue;
        outgoing_.emplace_back(other, letter_of(kControl, message_of(MessageKind::alive)));
      }
      next_sign_ = now + kSign;
    }
    if (now < next_look_ || places_.empty() || closed_) return;
    next_look_ = now + kLook;
    for (int other = 0; other < size_ && !lost_; ++other) {
      if (!watches(other) || !is_lost(other, now)) continue;
      lost_ = other;
      lost_at_ = now;
      arrived_.notify_all();
    }
    if (lost_ && on_lost_ && now - lost_at_ >= grace_) report = error_of(*lost_);
  }
  if (report) std::exchange(on_lost_, nullptr)(*report);
}

ResourceError PostOffice::error_of(int lost) const {
  return ResourceError(
      {fmt::format("rank {} was lost", lost),
       fmt::format("rank {} ({})", lost, places_[static_cast<std::size_t>(lost)].text()),
       "its process ended, or its node does not answer any more",
       "the same command, with any number of ranks: it continues"});
}

}  // namespace indexcache
