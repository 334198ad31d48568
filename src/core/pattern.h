// SPDX-License-Identifier: Apache-2.0
// A sharing pattern: one character per decoder layer, F (Full) or S (Shared), or in models in which
// only some layers have an indexer's selection (core/layer_numbers.h), one for each of these. What
// is called a layer wherever patterns are compared, searched or stored is then such a letter.
//
// F runs its own lightning indexer; S attends to the index set of the nearest earlier F layer
// (IndexCache, arXiv 2603.12201, section 3). MTP layers are not part of a pattern.
#pragma once

#include <compare>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

class Pattern {
 public:
  // `text` holds F and S only and begins with F. Throws InputError naming the first position
  // that is wrong; `origin` says in the message where the text came from.
  static Pattern parse(std::string_view text, std::string_view origin = "pattern");

  // F exactly where `full[layer]`; layer 0 must be full.
  static Pattern from_full_layers(const std::vector<bool>& full);
  static Pattern all_full(std::size_t layers);

  // Uniform interleaving: layer l is F iff l mod `period` == 0 (rule C of core/frequency.h).
  // Requires period >= 1.
  static Pattern uniform(std::size_t layers, std::size_t period);

  std::size_t layers() const { return text_.size(); }
  bool is_full(std::size_t layer) const { return text_[layer] == 'F'; }
  std::size_t full_count() const;
  const std::string& text() const { return text_; }

  // The layer whose index set `layer` uses: itself if F, else the nearest earlier F layer.
  std::size_t donor(std::size_t layer) const;

  std::vector<std::size_t> full_layers() const;
  std::vector<std::size_t> shared_layers() const;

  // This pattern with one more layer shared; `layer` must not be 0.
  Pattern with_shared(std::size_t layer) const;
  // This pattern with one more layer full.
  Pattern with_full(std::size_t layer) const;

  friend auto operator<=>(const Pattern&, const Pattern&) = default;

 private:
  explicit Pattern(std::string text) : text_(std::move(text)) {}

  std::string text_;
};

// Positions that are true, ascending: layers of a mask.
std::vector<std::size_t> true_positions(const std::vector<bool>& mask);

// Throws InputError unless `pattern` has `layers` letters.
void check_letters(const Pattern& pattern, std::size_t layers, std::string_view origin);

// Throws InputError unless `pattern` has one letter for each of `has_indexer.size()` layers and is
// F only where the checkpoint holds an indexer.
void check_fits(const Pattern& pattern, const std::vector<bool>& has_indexer,
                std::string_view origin);

}  // namespace indexcache
