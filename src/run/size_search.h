// SPDX-License-Identifier: Apache-2.0
// --max-rise: the fewest indexers that keep the loss increase within a limit.
#pragma once

#include "core/progress.h"
#include "result/result.h"
#include "run/instruments.h"
#include "run/subject.h"

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace indexcache {

// Whether the upper end of the 95% interval of the loss increase is at most `rise`, in nats per
// token.
bool stays_within(const Measured& measured, double rise);

class SizeSearch {
 public:
  // `baseline`: losses of the calibration sequences with every indexer. The references must outlive
  // it.
  SizeSearch(const SearchSubject& subject, Instruments& instruments, Progress& progress,
             const SequenceLosses& baseline);

  // The fewest F layers with which the pattern that `strategy` finds stays within `rise` on the
  // calibration data, by bisection: one layer fewer was measured and does not, or the constraints
  // leave none. Assumes that the loss rises as F layers are removed. `space_of` gives the search
  // space of one size, and `sink` receives what the searches find. If no size stays within `rise`,
  // the largest. A plan, which measures nothing, assumes a quarter of the indexers.
  std::size_t fewest_within(double rise, const Strategy& strategy,
                            const std::function<SearchSpace(std::size_t full)>& space_of,
                            const SearchSink& sink) const;

 private:
  bool is_within(double rise, const Strategy& strategy, const SearchSpace& space,
                 const SearchSink& sink) const;

  const SearchSubject& subject_;
  Instruments& instruments_;
  Progress& progress_;
  const SequenceLosses& baseline_;
};

// "max-rise 0.02".
std::string max_rise_text(double rise);

// `requests` and one more, by falling number of F layers; requests for the same size are joined.
std::vector<Request> with_request(std::vector<Request> requests, const Request& more);
// "1/4, max-rise 0.02", and back.
std::string joined_request(const std::string& text, const std::string& more);
std::string without_request(const std::string& joined, const std::string& text);

}  // namespace indexcache
