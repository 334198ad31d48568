// SPDX-License-Identifier: Apache-2.0
// The time of a device by component of the forward pass.
//
// Time is cut wherever an operation begins or ends, and each piece belongs to the innermost
// operation that is at work then, or to Component::gaps if none is. The pieces therefore add up to
// all of the time, whatever an operation does inside.
#pragma once

#include "backend/device.h"

#include <cstddef>
#include <utility>
#include <vector>

namespace indexcache {

// A Clock has a type Stamp and
//   void start();                         forgets all stamps
//   void prepare(std::size_t stamps);     so many stamp() calls will not fail
//   Stamp stamp() noexcept;               marks the present in the device's queue of work
//   void wait();                          until the device has passed all stamps
//   double seconds(Stamp from, Stamp to); after wait()
template <typename Clock>
class ComponentTimeline {
 public:
  explicit ComponentTimeline(Clock clock = Clock()) : clock_(std::move(clock)) {}

  void start() {
    clock_.start();
    cuts_.clear();
    open_ = 0;
    running_ = true;
    prepare();
    cut(Component::gaps);
  }

  ComponentProfile take() {
    ComponentProfile profile;
    if (!std::exchange(running_, false)) return profile;
    cut(Component::gaps);
    clock_.wait();
    for (std::size_t i = 0; i + 1 < cuts_.size(); ++i) {
      const double piece = clock_.seconds(cuts_[i].at, cuts_[i + 1].at);
      const auto add = [&](Component component, double share) {
        profile.seconds[static_cast<std::size_t>(component)] += piece * share;
        profile.pieces[static_cast<std::size_t>(component)] += share;
      };
      add(cuts_[i].until_next, 1 - cuts_[i].share);
      add(cuts_[i].other, cuts_[i].share);
    }
    return profile;
  }

  // An operation that is at work while it lives; does nothing while no time is taken.
  class Scope {
   public:
    Scope(ComponentTimeline& timeline, Component component)
        : timeline_(timeline), counts_(timeline.running_) {
      if (!counts_) return;
      ++timeline_.open_;
      timeline_.prepare();
      outer_ = timeline_.cuts_.back().until_next;
      timeline_.cut(component);
    }
    ~Scope() {
      if (!counts_ || !timeline_.running_) return;
      --timeline_.open_;
      timeline_.cut(outer_);
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    // `share` of the time since the last cut was spent on `other`.
    void give(Component other, double share) {
      if (!counts_) return;
      timeline_.cuts_.back().other = other;
      timeline_.cuts_.back().share = share;
    }

   private:
    ComponentTimeline& timeline_;
    bool counts_;
    Component outer_ = Component::gaps;
  };

 private:
  struct Cut {
    typename Clock::Stamp at;
    Component until_next;
    Component other;
    double share;
  };

  // Destructors cut as well, once for each open operation, and take() once.
  void prepare() {
    const std::size_t coming = open_ + 2;
    clock_.prepare(coming);
    if (cuts_.capacity() < cuts_.size() + coming) cuts_.reserve(2 * (cuts_.size() + coming));
  }

  void cut(Component until_next) noexcept {
    cuts_.push_back({clock_.stamp(), until_next, until_next, 0.0});
  }

  Clock clock_;
  bool running_ = false;
  std::size_t open_ = 0;  // operations
  std::vector<Cut> cuts_;
};

}  // namespace indexcache
