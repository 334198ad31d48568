// SPDX-License-Identifier: Apache-2.0
// What a journal says, line by line; every line has a checksum (io/sealed_line.h) and its number:
//
//   {"line": 1, "schema": "indexcache-journal/3", "fingerprint": {...}}
//   {"line": 2, "baseline": [losses of every sequence]}
//   {"line": 3, "sequences": [0, 1], "losses": [{"pattern": "FFSF", "losses": [...]}, ...],
//    "created": {"at": "…", "seconds": 1.5}}                  losses of one wave of sequences
//
// Losses are hexadecimal floats: a resumed run continues from the same bits. A journal knows
// nothing of strategies: it answers for a pattern and a sequence. "created" holds what no two runs
// share (the time).
#pragma once

#include "core/fingerprint.h"
#include "io/json.h"
#include "search/loss_table.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

struct JournalState {
  std::optional<Json> fingerprint;  // an object; none in an empty journal
  std::optional<SequenceLosses> baseline;
  LossTable losses;
  double seconds = 0;  // that measuring them took
  std::size_t lines = 0;
  std::size_t bytes = 0;  // of those lines
  bool torn = false;      // more followed: the mark of a kill or a crash in the middle of a write
};

// Throws InputError naming "where:line" if a line that others follow is damaged, or if a line says
// what it must not. A damaged last line is left out (torn).
JournalState read_journal(std::string_view text, const std::string& where);

// The lines, sealed and with their newline; `line` is their number.
std::string header_line(const Fingerprint& fingerprint);
std::string baseline_line(const SequenceLosses& losses);
// `losses` are [patterns][sequences].
std::string losses_line(std::size_t line, std::span<const Pattern> patterns,
                        std::span<const std::size_t> sequences,
                        std::span<const SequenceLosses> losses, double seconds);

}  // namespace indexcache
