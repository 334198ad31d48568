// SPDX-License-Identifier: Apache-2.0
// A finished run whose run.json lost a value, or has one of another type: every command that reads
// it exits 0 or 3 (`check` also 1), never 70, and all agree on whether it can be read. The commands
// run for a choice of values; the functions that they call run for all of them.
#include "core/error.h"
#include "gate/verdict.h"
#include "io/files.h"
#include "present/page.h"
#include "present/terminal_summary.h"
#include "present/verdict_output.h"
#include "result/overlap_file.h"
#include "result/pattern_file.h"
#include "result/result_json.h"
#include "support/catch.h"
#include "support/damage.h"
#include "support/files.h"
#include "support/process.h"
#include "support/tokens.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;

struct FinishedRun {
  FinishedRun() {
    tiny_tokens(folder);
    const ProcessResult result = run_tool(run());
    INFO(result.err);
    REQUIRE(result.code == 0);
    document = parse_json(read_file(file()), "run.json");
    write_text(folder / "gate.yaml",
               "schema: indexcache-gate/1\nguards:\n  max_kept_ratio: 1\n"
               "  max_holdout_delta: 100\n  min_donor_overlap: 0\n  same_fingerprint: true\n");
    copy_folder(folder / "run", folder / "base");
  }

  std::filesystem::path file() const { return folder / "run/run.json"; }
  Arguments run() const {
    return {"run",    golden("deepseek_v32_tiny"),
            "-c",     folder / "tokens.jsonl",
            "--keep", "1/2,1/3",
            "-o",     folder / "run",
            "-q"};
  }
  Arguments check() const {
    return {"check",      folder / "run",          "-g", folder / "gate.yaml",
            "--baseline", folder / "base/run.json"};
  }
  Arguments report() const { return {"report", folder / "run", "-o", folder / "page"}; }
  Arguments exported() const { return {"export", folder / "run", "--all"}; }
  Arguments evaluated() const {
    return {"eval", golden("deepseek_v32_tiny"), folder / "run",
            "-c",   folder / "tokens.jsonl",     "-q"};
  }
  Arguments overlap() const {
    return {"overlap",   golden("deepseek_v32_tiny"),
            "-c",        folder / "tokens.jsonl",
            "--against", folder / "run",
            "-o",        folder / "new",
            "-q"};
  }

  // Runs the command; true if it could read the file.
  bool reads(const Arguments& arguments) const {
    const ProcessResult result = run_tool(arguments, {"GITHUB_ACTIONS="});
    INFO(arguments[0] << ": " << result.err);
    const bool gate_failed = arguments[0] == "check" && result.code == 1;
    CHECK((result.code == 0 || result.code == 3 || gate_failed));
    return result.code != 3;
  }

  TempFolder folder;
  Json document;
};

// One removal, and one value of another type, of every `stride`-th place: which type changes from
// place to place.
template <typename Check>
void for_some_damage(const Json& document, std::size_t depth, std::size_t stride,
                     const Check& check) {
  std::size_t place = 0;
  std::size_t index = 0;
  for (const std::string& pointer : pointers_of(document, depth)) {
    if (index++ % stride != 0) continue;
    check(Damage{pointer + " removed", without(document, pointer)});
    Json changed = document;
    Json& value = changed.at(Json::json_pointer(pointer));
    const auto& values = values_of_each_type();
    while (values[place % values.size()].type() == value.type()) ++place;
    value = values[place++ % values.size()];
    check(Damage{pointer + ": " + value.dump(), std::move(changed)});
  }
}

template <typename Read>
bool can(const Read& read) {
  try {
    read();
    return true;
  } catch (const InputError&) {
    return false;
  }
}

}  // namespace

TEST_CASE("every command gives the same verdict on a damaged run.json") {
  const FinishedRun finished;
  for_some_damage(finished.document, 1, 1, [&](const Damage& damage) {
    INFO(damage.name);
    write_text(finished.file(), damage.document.dump());
    const bool readable = can([&] { read_result(finished.file()); });
    CHECK(finished.reads(finished.check()) == readable);
    CHECK(finished.reads(finished.report()) == readable);
    CHECK(finished.reads(finished.exported()) == readable);
    CHECK(finished.reads(finished.evaluated()) == readable);
    CHECK(finished.reads(finished.overlap()) == readable);
    CHECK(finished.reads(finished.run()) == readable);
    copy_folder(finished.folder / "base", finished.folder / "run");
  });
}

TEST_CASE("check and report agree on damage of the second level") {
  const FinishedRun finished;
  for_some_damage(finished.document, 2, 4, [&](const Damage& damage) {
    INFO(damage.name);
    write_text(finished.file(), damage.document.dump());
    const bool readable = can([&] { read_result(finished.file()); });
    CHECK(finished.reads(finished.check()) == readable);
    CHECK(finished.reads(finished.report()) == readable);
  });
}

TEST_CASE("what the commands call agrees on every single damage") {
  const FinishedRun finished;
  const Overlap overlap = read_overlap(finished.folder / "run/overlap.h5").overlap;
  const Gate gate = read_gate(finished.folder / "gate.yaml");
  const StoredPattern baseline = read_stored_pattern(finished.folder / "base");
  for_every_damage(finished.document, 64, [&](const Damage& damage) {
    INFO(damage.name);
    std::optional<Result> result;
    can([&] { result.emplace(result_from_json(damage.document, "run.json")); });
    std::optional<StoredPattern> stored;
    can([&] { stored.emplace(stored_pattern_of_document(damage.document, "", "run.json")); });
    const bool own = is_run_document(damage.document);
    if (own) {
      CHECK(stored.has_value() == result.has_value());
      CHECK(can([&] { pattern_of_document(damage.document, std::nullopt, "run.json"); }) ==
            result.has_value());
    }
    if (!result) return;
    CHECK_FALSE(report_html({*result, overlap, {}, "run"}).empty());
    CHECK_FALSE(summary_text(*result, "run").empty());
    std::optional<Verdict> verdict;
    can([&] { verdict.emplace(apply_gate(gate, *stored, baseline, std::nullopt)); });
    if (verdict) CHECK_FALSE(verdict_junit(*verdict).empty());
  });
}
