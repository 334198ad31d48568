// SPDX-License-Identifier: Apache-2.0
#include "search/segment_paths.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace indexcache {

bool may_be_shared(const Constraints& constraints, const PatternSegment& segment) {
  if (constraints.max_run > 0 && segment.end - segment.first - 1 > constraints.max_run) {
    return false;
  }
  for (std::size_t layer = segment.first + 1; layer < segment.end; ++layer) {
    if (constraints.pinned_full[layer]) return false;
  }
  return true;
}

namespace {

bool may_be_full(const SegmentTable& table, const Constraints& constraints, std::size_t layer) {
  return table.start().is_full(layer) && !constraints.pinned_shared[layer];
}

bool is_allowed(const SegmentTable& table, const Constraints& constraints,
                const PatternSegment& segment) {
  const std::size_t layers = table.start().layers();
  if (!may_be_full(table, constraints, segment.first)) return false;
  if (segment.end < layers && !may_be_full(table, constraints, segment.end)) return false;
  return may_be_shared(constraints, segment);
}

struct Arc {
  std::size_t first;
  std::size_t end;
  double cost;  // or its bound
  bool measured;
};

// The allowed segments, ascending.
struct Arcs {
  Arcs(const SegmentTable& table, const Constraints& constraints) : layers(table.start().layers()) {
    for (std::size_t first = 0; first < layers; ++first) {
      for (const std::size_t end : table.ends(first)) {
        const PatternSegment segment{first, end};
        if (!is_allowed(table, constraints, segment)) continue;
        arcs.push_back({first, end, table.bound(segment), table.cost(segment).has_value()});
      }
    }
  }

  std::size_t layers;
  std::vector<Arc> arcs;
};

constexpr double kNoWay = std::numeric_limits<double>::infinity();

// Of `full` segments that were all measured.
double cheapest_measured(const Arcs& of, std::size_t full) {
  std::vector<double> costs(of.layers + 1, kNoWay);
  costs[0] = 0;
  for (std::size_t k = 1; k <= full; ++k) {
    std::vector<double> longer(of.layers + 1, kNoWay);
    for (const Arc& arc : of.arcs) {
      if (arc.measured) longer[arc.end] = std::min(longer[arc.end], costs[arc.first] + arc.cost);
    }
    costs = std::move(longer);
  }
  return costs[of.layers];
}

// A path to some layer: its last segment, and which path to that segment's first layer it extends.
struct Link {
  double cost;
  std::size_t first;
  std::size_t rank;
};

// links[k][end]: the cheapest ways to cover the layers before `end` with k segments.
using Links = std::vector<std::vector<std::vector<Link>>>;

Links cheapest_links(const Arcs& of, std::size_t count) {
  Links links(of.layers + 1, std::vector<std::vector<Link>>(of.layers + 1));
  links[0][0] = {{0, 0, 0}};
  for (std::size_t k = 1; k <= of.layers; ++k) {
    for (const Arc& arc : of.arcs) {
      if (!arc.measured) continue;
      const auto& ways = links[k - 1][arc.first];
      for (std::size_t rank = 0; rank < ways.size(); ++rank) {
        links[k][arc.end].push_back({ways[rank].cost + arc.cost, arc.first, rank});
      }
    }
    for (auto& ways : links[k]) {
      std::ranges::stable_sort(ways, {}, &Link::cost);
      if (ways.size() > count) ways.resize(count);
    }
  }
  return links;
}

SegmentPath path_of(const Links& links, std::size_t segments, Link last) {
  SegmentPath path{last.cost, {}};
  for (std::size_t left = segments; left > 0; --left) {
    path.firsts.push_back(last.first);
    if (left > 1) last = links[left - 1][last.first][last.rank];
  }
  std::ranges::reverse(path.firsts);
  return path;
}

}  // namespace

Pattern SegmentPath::pattern(std::size_t layers) const {
  std::vector<bool> full(layers, false);
  for (const std::size_t first : firsts) full[first] = true;
  return Pattern::from_full_layers(full);
}

SegmentPaths::SegmentPaths(const SegmentTable& table, const Constraints& constraints,
                           std::size_t count)
    : paths_(table.start().layers() + 1) {
  const std::size_t layers = table.start().layers();
  const Links links = cheapest_links(Arcs(table, constraints), count);
  for (std::size_t k = 1; k <= layers; ++k) {
    for (const Link& last : links[k][layers]) paths_[k].push_back(path_of(links, k, last));
  }
}

PathsThrough::PathsThrough(const SegmentTable& table, const Constraints& constraints,
                           std::size_t full)
    : table_(table), constraints_(constraints), full_(full) {
  const Arcs of(table, constraints);
  const Ways no_way(full + 1, std::vector<Way>(of.layers + 1, {kNoWay, {0, 0}}));
  before_ = after_ = no_way;
  before_[0][0].cost = after_[0][of.layers].cost = 0;
  const auto offer = [](Way& way, double cost, const Arc& arc) {
    if (cost < way.cost) way = {cost, {arc.first, arc.end}};
  };
  for (std::size_t k = 1; k <= full; ++k) {
    for (const Arc& arc : of.arcs) {
      offer(before_[k][arc.end], before_[k - 1][arc.first].cost + arc.cost, arc);
      offer(after_[k][arc.first], arc.cost + after_[k - 1][arc.end].cost, arc);
    }
  }
}

std::size_t PathsThrough::segments_before(const PatternSegment& segment) const {
  std::size_t best = 0;
  const auto around = [&](std::size_t k) {
    return before_[k][segment.first].cost + after_[full_ - 1 - k][segment.end].cost;
  };
  for (std::size_t k = 1; k < full_; ++k) {
    if (around(k) < around(best)) best = k;
  }
  return best;
}

double PathsThrough::cost(const PatternSegment& segment) const {
  if (!is_allowed(table_, constraints_, segment)) return kNoWay;
  const std::size_t k = segments_before(segment);
  return before_[k][segment.first].cost + table_.bound(segment) +
         after_[full_ - 1 - k][segment.end].cost;
}

std::vector<PatternSegment> PathsThrough::path(const PatternSegment& segment) const {
  std::vector<PatternSegment> path;
  if (cost(segment) == kNoWay) return path;
  const std::size_t k = segments_before(segment);
  std::size_t layer = segment.first;
  for (std::size_t left = k; left > 0; --left) {
    path.push_back(before_[left][layer].segment);
    layer = path.back().first;
  }
  std::ranges::reverse(path);
  path.push_back(segment);
  layer = segment.end;
  for (std::size_t left = full_ - 1 - k; left > 0; --left) {
    path.push_back(after_[left][layer].segment);
    layer = path.back().end;
  }
  return path;
}

std::vector<PatternSegment> open_segments(const SegmentTable& table, const Constraints& constraints,
                                          std::size_t full) {
  const PathsThrough through(table, constraints, full);
  const Arcs of(table, constraints);
  const double best = cheapest_measured(of, full);
  std::vector<PatternSegment> open;
  for (const Arc& arc : of.arcs) {
    if (!arc.measured && through.cost({arc.first, arc.end}) < best) {
      open.push_back({arc.first, arc.end});
    }
  }
  return open;
}

}  // namespace indexcache
