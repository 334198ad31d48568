// SPDX-License-Identifier: Apache-2.0
// Letters of this rank, sorted by sender and channel, and whether the other ranks are alive.
//
// A thread owns the communicator: it sends, receives, and says now and then that this rank is
// alive, however long a computation takes. A rank on this host is lost when its process is gone;
// one on another host when nothing was heard of it for a while.
#pragma once

#include "ranks/communicator.h"
#include "ranks/messages.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace indexcache {

// Channel 0 is for the life of a rank, channel d + 1 for the work of its device d.
inline constexpr int kControl = 0;

class PostOffice {
 public:
  using Duration = std::chrono::milliseconds;

  // `silence`: after which a rank is lost. `on_lost` is called once, on the thread of the post
  // office, `grace` after a rank was lost, unless close() is called before.
  PostOffice(std::unique_ptr<Communicator> communicator, Duration silence, Duration grace,
             std::function<void(const Error&)> on_lost);
  ~PostOffice();
  PostOffice(const PostOffice&) = delete;
  PostOffice& operator=(const PostOffice&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  // Returns at once.
  void send(int to, int channel, const std::string& message);
  // The next message on a channel; waits for it at most so long. Throws ResourceError naming the
  // rank if one is lost and no message is there, and what the communicator throws.
  std::optional<std::string> receive(int from, int channel, Duration longest);

  // Begins to watch the others: rank 0 all, other ranks rank 0 and those of their host.
  void watch(std::vector<RankPlace> places);
  // Waits at most so long for a rank to be lost; its error if one is.
  std::optional<ResourceError> lost_within(Duration longest);

  // The end: ranks may go from now on. Waits at most so long until everything is sent.
  void close(Duration longest);
  // After close(), if nothing failed: waits for all ranks.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  void work();
  bool deliver();
  void send_queued();
  void lose(int other);
  void look_after_others();
  bool is_lost(int other, Clock::time_point now) const;
  bool watches(int other) const;
  ResourceError error_of(int lost) const;

  std::unique_ptr<Communicator> communicator_;
  int rank_;
  int size_;
  Duration silence_;
  Duration grace_;
  std::function<void(const Error&)> on_lost_;

  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::condition_variable sent_;
  std::map<std::pair<int, int>, std::deque<std::string>> boxes_;  // by sender and channel
  std::deque<std::pair<int, std::string>> outgoing_;
  bool all_sent_ = true;
  std::vector<RankPlace> places_;
  std::vector<Clock::time_point> heard_;
  std::optional<int> lost_;
  Clock::time_point lost_at_;
  bool closed_ = false;
  std::exception_ptr failure_;
  Clock::time_point next_look_;
  Clock::time_point next_sign_;
  std::jthread thread_;
};

}  // namespace indexcache
