// SPDX-License-Identifier: Apache-2.0
#include "search/segment_paths.h"

#include <algorithm>
#include <limits>

namespace indexcache {
namespace {

bool may_be_full(const SegmentTable& table, const Constraints& constraints, std::size_t layer) {
  return table.start().is_full(layer) && !constraints.pinned_shared[layer];
}

bool is_allowed(const SegmentTable& table, const Constraints& constraints,
                const PatternSegment& segment) {
  const std::size_t layers = table.start().layers();
  if (!may_be_full(table, constraints, segment.first)) return false;
  if (segment.end < layers && !may_be_full(table, constraints, segment.end)) return false;
  if (constraints.max_run > 0 && segment.end - segment.first - 1 > constraints.max_run) {
    return false;
  }
  for (std::size_t layer = segment.first + 1; layer < segment.end; ++layer) {
    if (constraints.pinned_full[layer]) return false;
  }
  return true;
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

// [segments][layer]: the least cost of so many segments that cover the layers before `layer`, or
// those from it on.
using CostTable = std::vector<std::vector<double>>;

CostTable cheapest_before(const Arcs& of, std::size_t most, bool only_measured) {
  CostTable costs(most + 1, std::vector<double>(of.layers + 1, kNoWay));
  costs[0][0] = 0;
  for (std::size_t k = 1; k <= most; ++k) {
    for (const Arc& arc : of.arcs) {
      if (only_measured && !arc.measured) continue;
      costs[k][arc.end] = std::min(costs[k][arc.end], costs[k - 1][arc.first] + arc.cost);
    }
  }
  return costs;
}

CostTable cheapest_after(const Arcs& of, std::size_t most) {
  CostTable costs(most + 1, std::vector<double>(of.layers + 1, kNoWay));
  costs[0][of.layers] = 0;
  for (std::size_t k = 1; k <= most; ++k) {
    for (const Arc& arc : of.arcs) {
      costs[k][arc.first] = std::min(costs[k][arc.first], arc.cost + costs[k - 1][arc.end]);
    }
  }
  return costs;
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

std::vector<PatternSegment> open_segments(const SegmentTable& table, const Constraints& constraints,
                                          std::size_t full) {
  const std::size_t layers = table.start().layers();
  const Arcs of(table, constraints);
  const CostTable before = cheapest_before(of, full, false);
  const CostTable after = cheapest_after(of, full);
  const double best = cheapest_before(of, full, true)[full][layers];
  std::vector<PatternSegment> open;
  for (const Arc& arc : of.arcs) {
    if (arc.measured) continue;
    double least = kNoWay;
    for (std::size_t k = 0; k < full; ++k) {
      least = std::min(least, before[k][arc.first] + arc.cost + after[full - 1 - k][arc.end]);
    }
    if (least < best) open.push_back({arc.first, arc.end});
  }
  return open;
}

}  // namespace indexcache
