// SPDX-License-Identifier: Apache-2.0
// Cuts a request into tasks for several workers, by sequence and by subtree of the patterns.
//
// Sequences share nothing, but each task brings the weights to its device again if they are
// streamed. Patterns share the layers on which they agree, which every part of them computes again.
// Which of the two pays depends on how many there are of each, so the cut is the one whose
// estimated time is shortest. Often it deals most sequences whole, and divides the patterns only on
// the sequences that are left over.
#pragma once

#include "search/sweep_cost.h"

#include <cstddef>
#include <map>
#include <span>
#include <vector>

namespace indexcache {

struct CutTask {
  std::vector<std::size_t> patterns;   // positions in the request
  std::vector<std::size_t> sequences;  // positions in the token set, ascending
  SweepEstimate estimate;
};

// Cuts one request for any numbers of workers, one after another.
class SweepCutter {
 public:
  // `patterns` and `sequences` are not empty. What is passed must outlive the object.
  SweepCutter(std::span<const Pattern> patterns, std::span<const std::size_t> sequences,
              SweepCost& cost);

  // Together all patterns on all sequences, each pair once; longest task first. One task for one
  // worker.
  std::vector<CutTask> cut(std::size_t workers);

 private:
  // Patterns that stay together.
  struct Group {
    std::vector<std::size_t> patterns;
    PatternWork work;
  };
  // All sequences but `divided` are dealt whole, in `bins`; the others in `parts` for each of so
  // many `groups` of patterns.
  struct Choice {
    std::size_t divided;
    bool cheapest;  // are divided, otherwise the most expensive ones
    std::size_t bins, groups, parts;
  };
  // The choice that scores best so far.
  struct Best {
    Choice choice;
    std::size_t tasks;
    double score;
  };
  // `sequences_` without those that a choice divides, and those.
  struct Sides {
    std::span<const std::size_t> dealt, divided;
  };

  const std::vector<Group>& divide(std::size_t groups);
  Sides sides(const Choice& choice) const;
  std::size_t tasks_of(const Choice& choice);
  // Calls visit(group, sequences) for every task.
  template <typename Visit>
  void for_tasks(const Choice& choice, const Visit& visit);
  double least_score(const Choice& choice, std::size_t workers);
  double score(const Choice& choice, std::size_t workers);
  void consider(const Choice& choice, std::size_t workers, Best& best);
  void consider_dealing(std::size_t divided, std::size_t workers, Best& best);

  std::span<const Pattern> patterns_;
  std::span<const std::size_t> request_;
  SweepCost& cost_;
  std::vector<std::size_t> sequences_;                // the most expensive ones first
  std::vector<double> seconds_;                       // of each, relative to each other
  std::map<std::size_t, std::vector<Group>> groups_;  // by their number
};

// When the last worker is done if each takes the next task as soon as it is free, in this order.
double spread_seconds(std::span<const CutTask> tasks, std::size_t workers);

// Positions of the patterns in `parts` (or fewer) groups, such that the most expensive group costs
// least. Each group is a range of the patterns in lexicographic order, so that those with long
// common prefixes stay together.
std::vector<std::vector<std::size_t>> subtrees(std::span<const Pattern> patterns, std::size_t parts,
                                               const StreamCosts& costs);

}  // namespace indexcache
