// SPDX-License-Identifier: Apache-2.0
#include "run/size_search.h"

#include "present/target_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace indexcache {

bool stays_within(const Measured& measured, double rise) {
  return measured.delta.ci95 && measured.delta.ci95->second <= rise;
}

SizeSearch::SizeSearch(const SearchSubject& subject, Instruments& instruments, Progress& progress,
                       const SequenceLosses& baseline)
    : subject_(subject), instruments_(instruments), progress_(progress), baseline_(baseline) {}

std::size_t SizeSearch::fewest_within(double rise, const Strategy& strategy,
                                      const std::function<SearchSpace(std::size_t full)>& space_of,
                                      const SearchSink& sink) const {
  const SizeRange sizes = reachable_sizes(subject_.space.start, subject_.space.constraints);
  if (!instruments_.measures()) {
    return std::clamp((subject_.space.start.full_count() + 3) / 4, sizes.fewest, sizes.most);
  }
  std::size_t low = sizes.fewest, high = sizes.most;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (is_within(rise, strategy, space_of(middle), sink)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return high;
}

bool SizeSearch::is_within(double rise, const Strategy& strategy, const SearchSpace& space,
                           const SearchSink& sink) const {
  const std::size_t full = space.targets.back();
  Pattern found = space.start;
  const SearchSink finds = {
      [&](PathStep step) {
        found = step.pattern;
        sink.step(std::move(step));
      },
      [&](std::vector<Considered> measured) { sink.measured(std::move(measured)); },
      {}};
  strategy.search(instruments_.search(), space, finds);
  Evaluator& plain = instruments_.next_token_losses();
  const PairedDifference delta =
      paired_difference(plain.losses_of(found), baseline_, plain.weights());
  progress_.note(fmt::format("{}: {} F layers, loss increase {}, at most {}", max_rise_text(rise),
                             full, delta_text(delta.mean), delta_text(delta.ci95->second)));
  return delta.ci95->second <= rise;
}

std::string max_rise_text(double rise) {
  return fmt::format("max-rise {}", rise);
}

std::vector<Request> with_request(std::vector<Request> requests, const Request& more) {
  const auto at = std::ranges::find_if(
      requests, [&](const Request& request) { return request.full <= more.full; });
  if (at != requests.end() && at->full == more.full) {
    at->text = joined_request(at->text, more.text);
  } else {
    requests.insert(at, more);
  }
  return requests;
}

std::string joined_request(const std::string& text, const std::string& more) {
  return text + ", " + more;
}

std::string without_request(const std::string& joined, const std::string& text) {
  return joined.substr(0, joined.size() - text.size() - 2);
}

}  // namespace indexcache
