// SPDX-License-Identifier: Apache-2.0
// Command-line options that every measuring command has.
#pragma once

#include "commands.h"
#include "core/progress.h"
#include "run/session.h"

#include <CLI/CLI.hpp>

#include <string>

namespace indexcache {

// MODEL, --device, the precisions, --weights, --memory-limit, --mla-norm-eps, and --threads and
// --progress.
void add_device_options(CLI::App& command, DeviceOptions& options, std::string& progress);

// Whether a command can also do without an indexer (kNoIndexer).
enum class IndexerChoice { selecting, with_none };

// --indexer; `description` says what the command does with it.
void add_indexer_option(CLI::App& command, DeviceOptions& options, const char* description,
                        IndexerChoice choice = IndexerChoice::selecting);

// --threads and --progress.
void add_machine_options(CLI::App& command, int& threads, std::string& progress);

// Only --json, --quiet, and the options of logs and of settings.
void add_common_options(CLI::App& command, CommonOptions& common);

// `progress` is the value of --progress.
Progress::Style progress_style(const std::string& progress, const CommonOptions& common);
// The same on rank 0; other ranks narrate nothing.
Progress::Style progress_style(const std::string& progress, const CommonOptions& common,
                               const Ranks& ranks);

}  // namespace indexcache
