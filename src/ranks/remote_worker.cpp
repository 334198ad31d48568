// SPDX-License-Identifier: Apache-2.0
#include "ranks/remote_worker.h"

#include "core/interrupt.h"

#include <utility>

namespace indexcache {
namespace {

constexpr PostOffice::Duration kWait{100};

}  // namespace

RemoteWorker::RemoteWorker(PostOffice& post, RemoteDevice device, std::string place, RankGoal goal)
    : post_(post), device_(std::move(device)), place_(std::move(place)), goal_(std::move(goal)) {}

SweepOutput RemoteWorker::compute(const SweepTask& task, const SweepReports& reports) {
  post_.send(device_.rank, device_.device + 1, encode(RankTask{goal_, task}));
  try {
    return await(reports);
  } catch (const Error&) {
    throw;  // the rank's own, or it is lost
  } catch (...) {
    stop();
    throw;
  }
}

SweepOutput RemoteWorker::await(const SweepReports& reports) {
  RankProgress progress{0, 1};
  while (true) {
    const auto message = post_.receive(device_.rank, device_.device + 1, kWait);
    const MessageKind kind = message ? kind_of(*message) : MessageKind::alive;
    switch (kind) {
      case MessageKind::output:
        return decode_output(*message);
      case MessageKind::failure:
        throw_failure(*message, place_);
      case MessageKind::part:
        if (reports.part_done) {
          const RankPart part = decode_part(*message);
          reports.part_done({part.patterns, part.sequences, part.losses});
        }
        break;
      case MessageKind::progress:
        progress = decode_progress(*message);
        break;
      default:
        check_interrupt();  // nothing came
    }
    // May throw, because another worker failed.
    if (reports.progress) reports.progress(progress.done, progress.total);
  }
}

// Ends the task, so that the next one may begin.
void RemoteWorker::stop() noexcept {
  try {
    post_.send(device_.rank, device_.device + 1, message_of(MessageKind::stop));
    while (true) {
      const auto message = post_.receive(device_.rank, device_.device + 1, kWait);
      if (!message) continue;
      const MessageKind kind = kind_of(*message);
      if (kind == MessageKind::output || kind == MessageKind::failure) return;
    }
  } catch (...) {
    return;  // the rank is lost, and somebody else will report it
  }
}

}  // namespace indexcache
