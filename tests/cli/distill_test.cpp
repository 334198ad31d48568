// SPDX-License-Identifier: Apache-2.0
// distill as its users run it: what it writes, what it leaves alone, and how it continues.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/model_copy.h"
#include "support/process.h"
#include "support/run_files.h"
#include "support/tokens.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <random>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;
using Files = std::map<std::string, std::string>;

Arguments joined(Arguments arguments, const Arguments& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Json document_of(const std::filesystem::path& output) {
  return parse_json(read_file(output / "distill.json"), "distill.json");
}

ProcessResult succeed(const Arguments& arguments) {
  ProcessResult result = run_tool(arguments, kFixedTime);
  INFO(command_line(arguments) << "\n" << result.err);
  REQUIRE(result.code == 0);
  return result;
}

// A tiny checkpoint, and sequences of which one judges.
struct DistillPlace {
  // Weights are random, so a gain is luck: the rate of gaining() is the first that has it.
  DistillPlace() {
    tiny_tokens(folder, 10, 70);
    for (const char* one : {"3e-3", "1e-3", "1e-2", "2e-3", "5e-3", "2e-2", "5e-4"}) {
      rate = one;
      succeed(gaining("probe", {"--restart"}));
      if (document_of(folder / "probe")["gain"] == true) break;
    }
    REQUIRE(document_of(folder / "probe")["gain"] == true);
  }

  Arguments distill(const std::string& output, const Arguments& more) const {
    return joined({"distill",
                   model.path(),
                   "-c",
                   folder / "tokens.jsonl",
                   "--device",
                   "cpu",
                   "--threads",
                   "1",
                   "-p",
                   "FFSSFS",
                   "--holdout",
                   "0.1",
                   "--steps",
                   "12",
                   "--batch",
                   "2",
                   "--validate-every",
                   "3",
                   "--sparse-steps",
                   "6",
                   "-o",
                   folder / output},
                  more);
  }
  Arguments gaining(const std::string& output, const Arguments& more = {}) const {
    return distill(output, joined({"--rate", rate}, more));
  }
  Arguments idle(const std::string& output) const {
    return distill(output, {"--rate", "1e-9", "--sparse-rate", "1e-9"});
  }

  ModelCopy model;
  TempFolder folder;
  std::string rate;
  const Files base = files_of(model.path());
};

// The document and every file of the new checkpoint, linked ones included.
Files results_of(const std::filesystem::path& output) {
  Files files;
  if (std::filesystem::exists(output / "model")) files = files_of(output / "model");
  files["distill.json"] = read_file(output / "distill.json");
  return files;
}

double judged_loss(const Json& document, const std::string& name, const std::string& indexers) {
  for (const Json& pattern : document["judge"]["patterns"]) {
    if (pattern["name"] == name && pattern["indexers"] == indexers) {
      return pattern["loss"].get<double>();
    }
  }
  FAIL(name << " with " << indexers << " was not judged");
  return 0;
}

// Kills the command until that has happened `kills` times; then the results must be those of the
// folder "whole".
void check_kills(const DistillPlace& place, int kills) {
  const auto command = [&](const char* output) {
    return place.gaining(output, {"--save-every", "0.01s"});
  };
  const auto begin = std::chrono::steady_clock::now();
  succeed(command("whole"));
  const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - begin;
  const Files expected = results_of(place.folder / "whole");
  REQUIRE(expected.contains("model.safetensors.index.json"));
  std::mt19937 random(7);
  std::uniform_real_distribution<double> moment(0, whole.count());
  int killed = 0, attempts = 0;
  while (killed < kills && attempts++ < 200) {
    if (run_and_kill(command("parts"), moment(random), kFixedTime) == 128 + SIGKILL) {
      ++killed;
      CHECK(files_of(place.model.path()) == place.base);
    } else {
      succeed(command("parts"));  // it says what is wrong if that failed
      REQUIRE(results_of(place.folder / "parts") == expected);
      std::filesystem::remove_all(place.folder / "parts");
    }
  }
  CHECK(killed == kills);
  succeed(command("parts"));
  CHECK(results_of(place.folder / "parts") == expected);
  CHECK(files_of(place.model.path()) == place.base);
}

}  // namespace

TEST_CASE("distilled indexers of a trained model are a checkpoint with the loss that was judged") {
  const TempFolder folder;
  std::filesystem::rename(short_tokens(folder, 300, 5), folder / "all.jsonl");
  const std::string all = read_file(folder / "all.jsonl");
  const auto last = all.rfind('\n', all.size() - 2) + 1;
  write_text(folder / "train.jsonl", all.substr(0, last));
  write_text(folder / "held.jsonl", all.substr(last));
  const std::string held = folder / "held.jsonl", model = folder / "out/model";
  const ProcessResult result = succeed({"distill",
                                        data("dsa-mini"),
                                        "-p",
                                        "uniform:4",
                                        "-c",
                                        folder / "train.jsonl",
                                        "--holdout",
                                        held,
                                        "--device",
                                        "cpu",
                                        "--threads",
                                        "2",
                                        "--steps",
                                        "10",
                                        "--rate",
                                        "2e-3",
                                        "--sparse-steps",
                                        "0",
                                        "--batch",
                                        "2",
                                        "--validate-every",
                                        "5",
                                        "-o",
                                        folder / "out"});
  CHECK_THAT(result.out, Contains("the loss increase falls from"));
  const Json document = document_of(folder / "out");
  CHECK(document["gain"] == true);
  CHECK(document["chosen"] == "dense");
  const double before = judged_loss(document, "pattern", "checkpoint"),
               after = judged_loss(document, "pattern", "dense");
  CHECK(after < before);
  CHECK(document["change"]["delta"].get<double>() == Approx(after - before).margin(1e-12));
  for (const Json& layer : document["layers"]) {
    CHECK(layer["attention_mass"]["after"] > layer["attention_mass"]["before"]);
  }
  const auto evaluate = [&](const std::string& folder_of_model, const std::string& pattern) {
    return parse_json(
        succeed({"eval", folder_of_model, pattern, "-c", held, "--device", "cpu", "--json"}).out,
        "eval");
  };
  // What is judged is what is written, to the last bit.
  CHECK(evaluate(model, "uniform:4")["patterns"][0]["loss"] == after);
  CHECK(evaluate(model, "uniform:4")["baseline"]["loss"] ==
        judged_loss(document, "all-Full", "dense"));
  CHECK(evaluate(data("dsa-mini"), "uniform:4")["patterns"][0]["loss"] == before);
  CHECK_THAT(succeed({"inspect", model}).out, Contains("trained for  FSSSFSSSFSSSFSSS"));
  // The folder of a training is exported with its checkpoint, and with no other.
  const std::string output = std::filesystem::path(model).parent_path();
  const ProcessResult exported = succeed({"export", output, "-e", "sglang"});
  CHECK_THAT(exported.out, Contains("FSSSFSSSFSSSFSSS"));
  CHECK_THAT(exported.err, Contains("the indexers that were trained for it"));
  CHECK(run_tool({"export", output, "-e", "vllm", "-m", data("dsa-mini")}).code == 3);
  CHECK(run_tool({"export", output, "-e", "lmdeploy"}).code == 3);
  CHECK_THAT(succeed({"export", "FSFSFSFSFSFSFSFS", "-e", "vllm", "-m", model}).err,
             Contains("were trained for another pattern"));
}

TEST_CASE("a training leaves the base checkpoint as it is and is shown again without work") {
  const DistillPlace place;
  const ProcessResult first = succeed(place.gaining("out"));
  CHECK_THAT(first.out, Contains("the loss increase falls from"));
  CHECK(files_of(place.model.path()) == place.base);
  CHECK(files_of(place.folder / "out/model").contains("model.safetensors.index.json"));
  CHECK_FALSE(std::filesystem::exists(place.folder / "out/training.safetensors"));
  const auto written = std::filesystem::last_write_time(place.folder / "out/distill.json");
  write_text(place.folder / "out/training.safetensors", "of a training killed at its very end");
  const ProcessResult again = succeed(place.gaining("out"));
  CHECK(again.out == first.out);
  CHECK_THAT(again.err, Contains("already finished"));
  CHECK_FALSE(std::filesystem::exists(place.folder / "out/training.safetensors"));
  CHECK(std::filesystem::last_write_time(place.folder / "out/distill.json") == written);
  const ProcessResult json = succeed(place.gaining("out", {"--json"}));
  CHECK(json.out == read_file(place.folder / "out/distill.json"));
}

TEST_CASE("indexers in FP8 are written in FP8, with the loss that was judged") {
  const TempFolder folder;
  std::filesystem::rename(tiny_tokens(folder, 1, 60), folder / "held.jsonl");
  const std::string train = tiny_tokens(folder, 9, 70), held = folder / "held.jsonl";
  const ModelCopy base("deepseek_v32_fp8_tiny");
  const Files before = files_of(base.path());
  for (const char* rate : {"1e-3", "3e-3", "1e-2", "3e-2"}) {  // the first that gains
    succeed({"distill",
             base.path(),
             "-p",
             "FSS",
             "-c",
             train,
             "--holdout",
             held,
             "--device",
             "cpu",
             "--steps",
             "8",
             "--sparse-steps",
             "0",
             "--batch",
             "3",
             "--validate-every",
             "4",
             "--rate",
             rate,
             "--restart",
             "-o",
             folder / "out"});
    if (document_of(folder / "out")["gain"] == true) break;
  }
  const Json document = document_of(folder / "out");
  REQUIRE(document["gain"] == true);
  CHECK(files_of(base.path()) == before);
  const ProcessResult result =
      succeed({"eval", folder / "out/model", "FSS", "-c", held, "--device", "cpu", "--json"});
  CHECK(parse_json(result.out, "eval")["patterns"][0]["loss"] ==
        judged_loss(document, "pattern", "dense"));
  CHECK_THAT(succeed({"inspect", folder / "out/model"}).out, Contains("F8_E4M3"));
}

TEST_CASE("the bytes of a training do not depend on threads, or on where weights wait") {
  const DistillPlace place;
  succeed(place.gaining("whole"));
  const Files whole = results_of(place.folder / "whole");
  succeed(place.gaining("stream", {"--weights", "stream"}));
  CHECK(results_of(place.folder / "stream") == whole);
  succeed(place.gaining("disk", {"--weights", "disk"}));
  CHECK(results_of(place.folder / "disk") == whole);
  Arguments three = place.gaining("three");
  *(std::ranges::find(three, "--threads") + 1) = "3";
  succeed(three);
  CHECK(results_of(place.folder / "three") == whole);
}

TEST_CASE("a training without a gain says so and writes no checkpoint") {
  const DistillPlace place;
  const ProcessResult result = succeed(place.idle("out"));
  CHECK_THAT(result.out, Contains("No gain: on held-out data") && Contains("base checkpoint"));
  CHECK_FALSE(std::filesystem::exists(place.folder / "out/model"));
  const Json document = document_of(place.folder / "out");
  CHECK(document["gain"] == false);
  CHECK(document["complete"] == true);
  CHECK(files_of(place.model.path()) == place.base);
  // A layer that learns from itself is another problem.
  const ProcessResult own = succeed(place.distill("own", {"--own"}));
  const Json control = document_of(place.folder / "own");
  CHECK(control["teacher"] == "own");
  for (const Json& layer : control["layers"]) {
    CHECK(layer["end"].get<int>() == layer["layer"].get<int>() + 1);
  }
}

TEST_CASE("another training in the folder exits 5 and is kept, unless it is to begin again") {
  const DistillPlace place;
  succeed(place.gaining("out"));
  const Files before = results_of(place.folder / "out");
  const auto refused = [&](const Arguments& more, const std::string& what) {
    const ProcessResult result = run_tool(place.gaining("out", more), kFixedTime);
    INFO(result.err);
    CHECK(result.code == 5);
    CHECK(result.out.empty());
    CHECK_THAT(result.err, Contains("different settings") && Contains(what));
    CHECK(results_of(place.folder / "out") == before);
  };
  refused({"--clip", "2"}, "clip was \"1\" and is now \"2\"");
  refused({"--sparse-rate", "0.002"}, "and is now \"0.002\"");
  refused({"--own"}, "teacher was \"segment\" and is now \"own\"");
  refused({"--validation", "0.4"}, "tokens: the sha256 was ");
  // What a kill in the middle of the first write leaves is not a reason to refuse the folder.
  std::filesystem::create_directory(place.folder / "torn");
  write_text(place.folder / "torn/training.safetensors.tmp-17", "torn");
  succeed(place.gaining("torn"));
  CHECK(results_of(place.folder / "torn") == before);
  CHECK_FALSE(std::filesystem::exists(place.folder / "torn/training.safetensors.tmp-17"));
  // A folder with other files is no place for a training.
  std::filesystem::create_directory(place.folder / "foreign");
  write_text(place.folder / "foreign/notes.txt", "notes");
  CHECK(run_tool(place.gaining("foreign")).code == 3);
  CHECK(files_of(place.folder / "foreign") == Files{{"notes.txt", "notes"}});
  succeed(place.gaining("out", {"--restart"}));
  CHECK(results_of(place.folder / "out") == before);
  succeed(joined(place.idle("out"), {"--restart"}));
  CHECK_FALSE(std::filesystem::exists(place.folder / "out/model"));
  CHECK(files_of(place.model.path()) == place.base);
}

TEST_CASE("a training that a budget ends continues to the bytes of an uninterrupted one") {
  const DistillPlace place;
  succeed(place.gaining("whole"));
  const Files whole = results_of(place.folder / "whole");
  for (const char* budget : {"0.001s", "0.06s"}) {
    std::filesystem::remove_all(place.folder / "parts");
    const ProcessResult cut = succeed(place.gaining("parts", {"--budget", budget}));
    const Json document = document_of(place.folder / "parts");
    if (budget == std::string("0.001s")) {
      CHECK(document["complete"] == false);
      CHECK(document["stages"][0]["steps_done"] <= 1);
      CHECK_THAT(cut.out, Contains("The budget ended the training"));
    }
    const ProcessResult end = succeed(place.gaining("parts"));
    if (document["complete"] == false) CHECK_THAT(end.err, Contains("continuing after step"));
    CHECK(results_of(place.folder / "parts") == whole);
    CHECK_FALSE(std::filesystem::exists(place.folder / "parts/training.safetensors"));
  }
  // Other settings do not continue it.
  succeed(place.gaining("other", {"--budget", "0.001s"}));
  CHECK(run_tool(place.gaining("other", {"--clip", "2"}), kFixedTime).code == 5);
}

TEST_CASE("a training killed at random moments ends in the bytes of an uninterrupted one") {
  check_kills(DistillPlace(), 6);
}

TEST_CASE("a training killed at 40 random moments ends in the bytes of an uninterrupted one",
          "[slow]") {
  check_kills(DistillPlace(), 40);
}

TEST_CASE(
    "a training that signals end keeps its steps and ends in the bytes of an uninterrupted one") {
  const DistillPlace place;
  const auto command = [&](const char* output) {
    Arguments arguments = place.gaining(output, {"--patience", "0"});
    *(std::ranges::find(arguments, "--steps") + 1) = "60";
    return arguments;
  };
  succeed(command("whole"));
  int interruptions = 0, code = 130;
  for (int i = 1; code == 130 && i < 100; ++i) {
    const std::string seconds = std::to_string(0.02 * i + 0.02);
    code =
        shell(kFixedTime.front() + " timeout --preserve-status -s INT " + seconds + " " +
              command_line(command("parts")) + " >/dev/null 2>" + (place.folder / "err").string());
    const std::string err = read_file(place.folder / "err");
    CAPTURE(i, err);
    REQUIRE((code == 0 || code == 130));
    if (code == 0 || !std::filesystem::exists(place.folder / "parts/training.safetensors")) {
      continue;
    }
    ++interruptions;
    // timeout sends the signal twice.
    CHECK_THAT(err, Contains("finished steps are kept; the same command continues"));
  }
  CHECK(interruptions > 0);
  CHECK(results_of(place.folder / "parts") == results_of(place.folder / "whole"));
}

TEST_CASE("a damaged state or document is refused, and --restart begins again") {
  const DistillPlace place;
  succeed(place.gaining("out", {"--budget", "0.001s"}));
  const auto state = place.folder / "out/training.safetensors";
  const std::string bytes = read_file(state);
  write_text(state, bytes.substr(0, bytes.size() / 2));
  const ProcessResult cut = run_tool(place.gaining("out"), kFixedTime);
  INFO(cut.err);
  CHECK(cut.code == 3);
  CHECK_THAT(cut.err, Contains("training.safetensors") && Contains("error: "));
  CHECK(files_of(place.model.path()) == place.base);
  succeed(place.gaining("out", {"--restart"}));
  const Files whole = results_of(place.folder / "out");
  write_text(place.folder / "out/distill.json", "{}");
  CHECK(run_tool(place.gaining("out"), kFixedTime).code == 3);
  succeed(place.gaining("out", {"--restart"}));
  CHECK(results_of(place.folder / "out") == whole);
}

TEST_CASE("a disk that fails while a checkpoint is written exits 4, and the training continues") {
  const DistillPlace place;
  const auto command = place.gaining("out", {"--save-every", "0.01s"});
  const Arguments preload = joined(kFixedTime, {std::string("LD_PRELOAD=") + INDEXCACHE_FAULTY_DISK,
                                                "ASAN_OPTIONS=verify_asan_link_order=0"});
  const std::string log = place.folder / "log";
  REQUIRE(run_tool(place.gaining("whole"), joined(preload, {"FAULTY_LOG=" + log})).code == 0);
  const Files whole = results_of(place.folder / "whole");
  const std::string lines = read_file(log);
  const auto calls = std::ranges::count(lines, '\n');
  REQUIRE(calls > 20);
  int failed = 0;
  for (std::ptrdiff_t call = 3; call <= calls; call += calls / 8) {
    std::filesystem::remove_all(place.folder / "out");
    CAPTURE(call);
    const ProcessResult result =
        run_tool(command, joined(preload, {"FAULTY_CALL=" + std::to_string(call),
                                           "FAULTY_ERROR=" + std::to_string(ENOSPC)}));
    INFO(result.err);
    CHECK((result.code == 4 || result.code == 0));
    failed += result.code == 4 ? 1 : 0;
    CHECK(files_of(place.model.path()) == place.base);
    succeed(command);
    CHECK(results_of(place.folder / "out") == whole);
  }
  CHECK(failed >= 5);
}
