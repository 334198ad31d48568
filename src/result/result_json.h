// SPDX-License-Identifier: Apache-2.0
// run.json (docs/formats.md): its only writer and its only reader.
#pragma once

#include "io/json.h"
#include "result/result.h"

#include <filesystem>
#include <string>

namespace indexcache {

inline constexpr const char* kRunSchema = "indexcache-run/2";

Json to_json(const Result& result);

// Everything that to_json writes, checked: what is required is there, patterns are as long as the
// model and F only where it has indexers, donors are those of the patterns, every list has one
// number per sequence. A document of schema /1 is converted. Throws InputError naming `where` and
// the key.
Result result_from_json(const Json& document, const std::string& where);

// The result in a run folder, or in a file. Throws InputError, also for a folder whose run has not
// finished.
Result read_result(const std::filesystem::path& path);

// Whether the document says that it is a run.json, of whatever version.
bool is_run_document(const Json& document);

}  // namespace indexcache
