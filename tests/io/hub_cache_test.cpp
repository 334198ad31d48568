// SPDX-License-Identifier: Apache-2.0
#include "io/hub_cache.h"

#include "core/error.h"
#include "support/catch.h"
#include "support/files.h"

#include <cstdlib>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// models--ORG--NAME with the given snapshots, each with a config.json.
std::filesystem::path cache_entry(const TempFolder& cache, const std::string& name,
                                  const std::vector<std::string>& revisions) {
  const std::filesystem::path entry = cache / name;
  for (const std::string& revision : revisions) {
    std::filesystem::create_directories(entry / "snapshots" / revision);
    write_text(entry / "snapshots" / revision / "config.json", "{}");
  }
  std::filesystem::create_directories(entry / "refs");
  return entry;
}

std::string refusal(const std::filesystem::path& given) {
  try {
    model_folder(given);
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

}  // namespace

TEST_CASE("a model in a hub cache has its repository's name, however it is reached") {
  const TempFolder cache;
  const auto entry = cache_entry(cache, "models--deepseek-ai--DeepSeek-V3.2", {"0a1b2c"});
  const auto snapshot = entry / "snapshots/0a1b2c";
  CHECK(model_name(snapshot) == "deepseek-ai/DeepSeek-V3.2");
  CHECK(model_name(snapshot / "") == "deepseek-ai/DeepSeek-V3.2");
  CHECK(model_revision(snapshot) == "0a1b2c");
  std::filesystem::create_symlink(snapshot, cache / "mine");
  CHECK(model_name(cache / "mine") == "deepseek-ai/DeepSeek-V3.2");
  const auto single = cache_entry(cache, "models--gpt2", {"ff"});
  CHECK(model_name(single / "snapshots/ff") == "gpt2");
  const auto dashes = cache_entry(cache, "models--a--b--c", {"ff"});
  CHECK(model_name(dashes / "snapshots/ff") == "a/b--c");
}

TEST_CASE("other folders keep their names") {
  const TempFolder folder;
  std::filesystem::create_directories(folder / "models/GLM-5");
  std::filesystem::create_directories(folder / "backup/snapshots/monday");
  CHECK(model_name(folder / "models/GLM-5") == "GLM-5");
  CHECK(model_name(folder / "backup/snapshots/monday") == "monday");
  CHECK(model_revision(folder / "models/GLM-5").empty());
}

TEST_CASE("a cache entry stands for the snapshot that refs/main names") {
  const TempFolder cache;
  const auto entry = cache_entry(cache, "models--org--Tiny", {"aaa", "bbb"});
  CHECK_THAT(refusal(entry), Contains("several snapshots") && Contains("snapshots/aaa") &&
                                 Contains("snapshots/bbb"));
  write_text(entry / "refs/main", "bbb");
  CHECK(model_folder(entry) == entry / "snapshots/bbb");
  CHECK(model_folder(entry / "snapshots").filename() == "bbb");
  CHECK(model_folder(entry / "snapshots/aaa") == entry / "snapshots/aaa");
  write_text(entry / "refs/main", "../../elsewhere");
  CHECK_THAT(refusal(entry), Contains("several snapshots"));
  const auto one = cache_entry(cache, "models--org--One", {"ccc"});
  CHECK(model_folder(one) == one / "snapshots/ccc");
  const auto none = cache_entry(cache, "models--org--None", {});
  std::filesystem::create_directories(none / "snapshots");
  CHECK_THAT(refusal(none), Contains("has no snapshot") && Contains("incomplete"));
}

TEST_CASE("a name that is not a folder gets a hint") {
  const TempFolder cache;
  cache_entry(cache, "models--org--Tiny", {"aaa"});
  setenv("HF_HUB_CACHE", cache.path().c_str(), 1);
  CHECK_THAT(refusal("org/Tiny"),
             Contains("does not exist") && Contains((cache / "models--org--Tiny").string()));
  unsetenv("HF_HUB_CACHE");
  CHECK_THAT(refusal("nobody/Nothing-1.0"), Contains("a repository of the Hugging Face Hub") &&
                                                Contains("hf download nobody/Nothing-1.0"));
  CHECK_THAT(refusal("/nowhere/at/all"), Contains("does not exist") && !Contains("hf download"));
  write_text(cache / "model.safetensors", "x");
  CHECK_THAT(refusal(cache / "model.safetensors"),
             Contains("the model is not a folder") && Contains(cache.path().string()));
}
