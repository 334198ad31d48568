// SPDX-License-Identifier: Apache-2.0
// The folders that commands write into, and what a run leaves in its own.
#pragma once

#include "core/fingerprint.h"
#include "result/result.h"
#include "run/subject.h"

#include <filesystem>
#include <optional>
#include <string>

namespace indexcache {

// Makes the folder and those above it; `option` named it. Throws InputError, or ResourceError when
// the disk refuses.
void make_folder(const std::filesystem::path& folder, const std::string& option = "--output");

// Checks that the folder can be written, or made if it does not exist. A folder that holds other
// files than logs, but nothing of this tool (none of `own_files`), is refused with InputError:
// nothing of theirs can then be overwritten. So is a log file with the name of an output. Makes
// nothing, so commands call it before they read documents or load weights.
void check_folder(const std::filesystem::path& folder,
                  const std::initializer_list<const char*>& own_files);

// Makes the folder like make_folder and checks it.
void prepare_folder(const std::filesystem::path& folder,
                    const std::initializer_list<const char*>& own_files);

// The stored result if the folder holds exactly this run, finished.
std::optional<Result> finished_run(const std::filesystem::path& folder,
                                   const Fingerprint& fingerprint, const SearchSubject& subject);

// In a run folder: indexers of all segments while they are trained, and what became of those of a
// target.
inline constexpr const char* kStudentsFile = "students.safetensors";
std::string distilled_folder_name(std::size_t kept);

// Removes what a run on a model with so many layers wrote, except its journal.
void discard_outputs(const std::filesystem::path& folder, std::size_t layers);

// Removes the temporary files that a kill in the middle of a write left. Call it only while the
// journal's lock is held, so that nobody is writing one.
void remove_leftovers(const std::filesystem::path& folder);

// overlap.h5, heatmap.png, pattern.yaml for every target, report.html and, last, run.json.
void write_outputs(const std::filesystem::path& folder, const Result& result,
                   const Overlap& overlap);

// Makes report.html from the other files if it is missing.
void complete_report(const std::filesystem::path& folder);

}  // namespace indexcache
