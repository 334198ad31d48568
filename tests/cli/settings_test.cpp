// SPDX-License-Identifier: Apache-2.0
// Command line over configuration file over environment over default.
#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"

#include <regex>
#include <set>

using namespace indexcache;
using namespace indexcache::test;

using Arguments = std::vector<std::string>;

TEST_CASE("every source of a setting is overridden by the next, and named") {
  const TempFolder folder;
  write_text(folder / "a.yaml", "model: from-file\nkeep: [1/2, 1/4]\nthreads: 3\n");
  write_text(folder / "b.yaml", "threads: 4\n");
  const ProcessResult result =
      run_tool({"run", "--config", folder / "a.yaml", "--config", folder / "b.yaml",
                "--calibration", "from-line", "--print-config"},
               {"INDEXCACHE_CALIBRATION=from-environment", "INDEXCACHE_MODEL=from-environment",
                "INDEXCACHE_HOLDOUT=0.5"});
  INFO(result.err);
  CHECK(result.code == 0);
  CHECK_THAT(result.out, Contains("calibration: from-line  # command line"));
  CHECK_THAT(result.out, Contains("model: from-file  # ") && Contains("a.yaml:1"));
  CHECK_THAT(result.out, Contains("keep: [1/2, 1/4]  # "));
  CHECK_THAT(result.out, Contains("threads: 4  # ") && Contains("b.yaml:1"));
  CHECK_THAT(result.out, Contains("holdout: 0.5  # environment INDEXCACHE_HOLDOUT"));
  CHECK_THAT(result.out, Contains("device: auto  # default"));
}

TEST_CASE("a run takes all its settings from a file") {
  const TempFolder folder;
  write_text(folder / "run.yaml", "model: " + data("dsa-mini").string() + "\n");
  const ProcessResult result = run_tool({"inspect", "--config", folder / "run.yaml"});
  INFO(result.err);
  CHECK(result.code == 0);
}

TEST_CASE("a home folder in a settings file or a variable is expanded as in a shell") {
  const TempFolder folder;
  write_text(folder / "run.yaml", "model: ~/model\ncalibration: [~/a.txt, b~/c, '~']\n");
  const ProcessResult result = run_tool({"run", "--config", folder / "run.yaml", "--print-config"},
                                        {"HOME=/home/some one", "INDEXCACHE_OUTPUT=~/out"});
  CHECK_THAT(result.out, Contains("model: /home/some one/model  # "));
  CHECK_THAT(result.out, Contains("calibration: [/home/some one/a.txt, b~/c, /home/some one]"));
  CHECK_THAT(result.out, Contains("output: /home/some one/out  # environment"));
}

TEST_CASE("a misspelled variable is named with what was probably meant") {
  const auto warnings = [](const std::string& variable, Arguments more = {}) {
    more.insert(more.begin(), {"inspect", data("dsa-mini")});
    const ProcessResult result = run_tool(more, {variable + "=1", "INDEXCACHE_THREADS=1"});
    INFO(variable);
    CHECK(result.code == 0);
    return result.err;
  };
  CHECK(warnings("INDEXCACHE_PRECISON") ==
        "warning: the environment variable INDEXCACHE_PRECISON has no effect: did you mean "
        "INDEXCACHE_PRECISION?\n");
  CHECK_THAT(warnings("INDEXCACHE_HOLDUOT"), Contains("did you mean INDEXCACHE_HOLDOUT?"));
  CHECK_THAT(warnings("INDEXCACHE_CPU_IAS"), Contains("did you mean INDEXCACHE_CPU_ISA?"));
  CHECK_THAT(warnings("INDEXCACHE_CONFIG"), Contains("INDEXCACHE_CONFIG has no effect: "));
  CHECK_THAT(warnings("INDEXCACHE_PRECISON", {"--print-config"}), Contains("INDEXCACHE_PRECISON"));
  CHECK(warnings("INDEXCACHE_PRECISON", {"--quiet"}).empty());
  // Options of other commands, and names that are nobody's misspelling.
  for (const char* other : {"INDEXCACHE_KEEP", "INDEXCACHE_SPARSE_STEPS", "INDEXCACHE_SERVICE_HOST",
                            "INDEXCACHE_VERSION", "INDEXCACHES", "MY_INDEXCACHE_PRECISON"}) {
    CHECK(warnings(other).empty());
  }
  // It explains an option that is missing.
  CHECK_THAT(run_tool({"run"}, {"INDEXCACHE_MODLE=m"}).err,
             Contains("did you mean INDEXCACHE_MODEL?") && Contains("are required"));
}

TEST_CASE("a misspelled variable is in the log, and a record in JSON") {
  const TempFolder folder;
  const std::string log = folder / "log";
  const ProcessResult result =
      run_tool({"inspect", data("dsa-mini"), "--quiet", "--log-file", log, "--log-format", "json"},
               {"INDEXCACHE_PRECISON=fp32"});
  CHECK(result.err.empty());
  CHECK_THAT(read_file(log), Contains("\"level\":\"warning\"") && Contains("INDEXCACHE_PRECISON"));
}

TEST_CASE("variables of scripts and of the build are not taken for misspelled ones") {
  const std::regex variable("INDEXCACHE_[A-Z_]+");
  std::set<std::string> names;
  const std::filesystem::path source = data("dsa-mini") / "../..";
  for (const char* folder : {"scripts", "packaging"}) {
    for (const auto& entry : std::filesystem::directory_iterator(source / folder)) {
      if (entry.path().extension() != ".sh") continue;
      const std::string text = read_file(entry.path());
      for (std::sregex_iterator at(text.begin(), text.end(), variable), end; at != end; ++at) {
        names.insert(at->str());
      }
    }
  }
  CHECK(names.contains("INDEXCACHE_PREFIX"));
  CHECK(names.contains("INDEXCACHE_CPU_ARCH"));
  names.erase("INDEXCACHE_CPU_ISA");  // of the program
  Arguments environment;
  for (const std::string& name : names) environment.push_back(name + "=1");
  const ProcessResult result = run_tool({"inspect", data("dsa-mini")}, environment);
  CHECK(result.code == 0);
  CHECK(result.err.empty());
}

TEST_CASE("unknown keys, values that do not fit and broken files exit 2 with the place") {
  const TempFolder folder;
  const auto refused = [&](const std::string& text) {
    write_text(folder / "x.yaml", text);
    const ProcessResult result = run_tool({"run", "--config", folder / "x.yaml"});
    CHECK(result.code == 2);
    return result.err;
  };
  CHECK_THAT(refused("callibration: x\n"), Contains("unknown setting \"callibration\"") &&
                                               Contains("x.yaml:1") &&
                                               Contains("did you mean \"calibration\"?"));
  CHECK_THAT(refused("keep: 4\nthreads: many\n"), Contains("x.yaml:2"));
  CHECK_THAT(refused("keep: {a: 1}\n"), Contains("must be a value"));
  CHECK_THAT(refused("- keep\n"), Contains("not a map"));
  CHECK_THAT(refused("keep: ~\n"), Contains("must be a value"));
  CHECK_THAT(refused("keep: [[1]]\n"), Contains("must be a value"));
  CHECK_THAT(refused("keep: 4\nkeep: 5\n"), Contains("x.yaml:2") && Contains("duplicate key"));
  CHECK_THAT(refused("keep: [1\nother: 2\n"), Contains("not valid YAML"));
  CHECK(run_tool({"run", "--config", folder / "missing.yaml"}).code == 2);
}
