// SPDX-License-Identifier: Apache-2.0
#include "model/indexer_folder.h"

#include "io/files.h"
#include "io/json.h"
#include "model/dequantize.h"
#include "model/folder_plan.h"
#include "model/model.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/refusal.h"

#include <algorithm>
#include <csignal>
#include <map>
#include <set>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace indexcache;
using namespace indexcache::test;

namespace fs = std::filesystem;

namespace {

// The bytes of all files below a folder, by name.
std::map<std::string, std::string> hashes(const fs::path& folder) {
  std::map<std::string, std::string> list;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().lexically_relative(folder).string();
    if (entry.is_regular_file()) list[name] = sha256_of_file(entry.path());
  }
  return list;
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

void scale_all(std::vector<float>& values, float factor) {
  for (float& value : values) value *= factor;
}

// The indexers of some layers with every value changed, as they will be stored.
std::vector<StoredIndexer> changed(const Model& model, const std::vector<std::int64_t>& layers) {
  std::vector<StoredIndexer> indexers;
  for (std::int64_t layer : layers) {
    TrainedIndexer indexer = read_indexer(model.config, model.checkpoint, layer);
    scale_all(indexer.wq_b, 1.3f);
    scale_all(indexer.wk, -0.7f);
    scale_all(indexer.k_norm, 2.0f);
    for (float& value : indexer.k_norm_bias) value += 0.25f;
    scale_all(indexer.weights_proj, 0.9f);
    indexers.push_back(quantize_indexer(model.config, model.checkpoint, indexer));
  }
  return indexers;
}

std::vector<std::int64_t> owners(const Model& model) {
  std::vector<std::int64_t> layers;
  for (std::size_t i = 0; i < model.has_indexer.size(); ++i) {
    if (model.has_indexer[i]) layers.push_back(static_cast<std::int64_t>(i));
  }
  return layers;
}

// Every tensor that loaders get from the files that the index names: each once, with the bytes of
// the base or of a new indexer.
void check_folder(const Model& base, const std::vector<StoredIndexer>& indexers,
                  const fs::path& folder) {
  std::map<std::string, std::string> expected;
  for (const std::string& name : base.checkpoint.names()) {
    expected[name] = sha256(base.checkpoint.read(name));
  }
  for (const StoredIndexer& indexer : indexers) {
    for (const EncodedTensor& t : indexer.tensors) expected[t.name] = sha256(t.bytes);
  }
  const auto index = parse_shard_index(read_file(folder / "model.safetensors.index.json"), "index");
  std::map<std::string, std::string> found;
  std::int64_t total = 0;
  std::set<std::string> files;
  for (const auto& [name, file] : index) files.insert(file);
  for (const std::string& name : files) {
    const SafetensorsFile shard(folder / name);
    CHECK(shard.metadata().at("format") == "pt");
    for (const auto& [tensor_name, tensor] : shard.tensors()) {
      CHECK(found.emplace(tensor_name, sha256(shard.read(tensor))).second);
      CHECK(index.at(tensor_name) == name);
      total += tensor.bytes;
    }
  }
  CHECK(found == expected);
  const Json json = parse_json(read_file(folder / "model.safetensors.index.json"), "index");
  CHECK(json["metadata"]["total_size"] == total);
  const Model model = open_model(folder);
  CHECK(model.has_indexer == base.has_indexer);
  CHECK(model.config_sha256 == base.config_sha256);
  CHECK(model.warnings() == base.warnings());
  for (const StoredIndexer& indexer : indexers) {
    const std::int64_t layer = indexer.dequantized.layer;
    CHECK(read_indexer(model.config, model.checkpoint, layer) == indexer.dequantized);
  }
  for (const std::string& name : files) CHECK(names_in(folder).contains(name));
  for (const std::string& name : names_in(folder)) {
    CHECK((!name.ends_with(".safetensors") || files.contains(name)));
  }
}

void write(const Model& model, const std::vector<StoredIndexer>& indexers, const fs::path& folder,
           LinkKind link = LinkKind::symbolic) {
  write_indexer_folder(model.checkpoint, indexers, {{{"steps", "100"}}, link}, folder);
}

}  // namespace

TEST_CASE("a folder with retrained indexers has their values, and the base stays as it is") {
  for (const char* name : {"deepseek_v32_fp8_tiny", "glm_moe_dsa_fp8_tiny", "deepseek_v32_tiny",
                           "glm_moe_dsa_shared_tiny"}) {
    const TempFolder folder;
    copy_folder(golden(name), folder / "base");
    const auto before = hashes(folder / "base");
    const Model model = open_model(folder / "base");
    const auto indexers = changed(model, owners(model));
    write(model, indexers, folder / "new");
    check_folder(model, indexers, folder / "new");
    CHECK(hashes(folder / "base") == before);
    CHECK(names_in(folder.path()) == std::set<std::string>{"base", "new"});
    CHECK_FALSE(fs::is_symlink(folder / "new" / "config.json"));
  }
}

TEST_CASE("only the shards of replaced tensors are rewritten, the others are linked") {
  const TempFolder folder;
  const Model model = open_model(data("dsa-mini"));
  const auto indexers = changed(model, {0, 1});
  write(model, indexers, folder / "new/", LinkKind::symbolic);
  check_folder(model, indexers, folder / "new");
  const auto bytes =
      indexer_folder_bytes(model.config, model.checkpoint, {0, 1}, LinkKind::symbolic);
  std::int64_t written = 0, linked = 0;
  for (const auto& entry : fs::directory_iterator(folder / "new")) {
    if (entry.path().extension() != ".safetensors") continue;
    if (!entry.is_symlink()) {
      written += static_cast<std::int64_t>(entry.file_size());
      continue;
    }
    ++linked;
    const fs::path target = fs::read_symlink(entry.path());
    CHECK(target == fs::canonical(data("dsa-mini") / entry.path().filename()));
  }
  CHECK(linked == 1);
  CHECK(std::abs(written - bytes.indexers - bytes.rewritten) < 4096);
  CHECK(bytes.copied == static_cast<std::int64_t>(fs::file_size(folder / "new" / "config.json")));
  const SafetensorsFile shard(folder / "new" / "model-indexers.safetensors");
  CHECK(shard.metadata() == SafetensorsMetadata{{"format", "pt"}, {"steps", "100"}});
  CHECK(shard.tensors().size() == 10);
  CHECK(fs::is_symlink(folder / "new" / "tokenizer.json"));
  CHECK(sha256_of_file(folder / "new" / "tokenizer.json") ==
        sha256_of_file(data("dsa-mini") / "tokenizer.json"));
}

TEST_CASE("equal indexers give equal bytes, in whatever order they come") {
  const TempFolder folder;
  const Model model = open_model(golden("deepseek_v32_tiny"));
  auto indexers = changed(model, {4, 1});
  write(model, indexers, folder / "a");
  std::ranges::reverse(indexers);
  write(model, indexers, folder / "b");
  CHECK(hashes(folder / "a") == hashes(folder / "b"));
}

TEST_CASE("a single file gets another name, which no loader prefers to the index") {
  const TempFolder folder;
  const Model model = open_model(golden("deepseek_v32_tiny"));
  write(model, changed(model, {3}), folder / "new");
  const std::set<std::string> names = names_in(folder / "new");
  CHECK_FALSE(names.contains("model.safetensors"));
  CHECK(names.contains("model-00001-of-00002.safetensors"));
  CHECK(names.contains("model-00002-of-00002.safetensors"));
  const SafetensorsFile old(golden("deepseek_v32_tiny") / "model.safetensors");
  const SafetensorsFile rest(folder / "new" / "model-00001-of-00002.safetensors");
  CHECK(rest.metadata() == old.metadata());
  CHECK(rest.tensors().size() == old.tensors().size() - 5);
}

TEST_CASE("links and copies may be of other kinds") {
  const TempFolder folder;
  copy_folder(golden("deepseek_v32_fp8_tiny"), folder / "base");
  write_text(folder / "base" / "tokenizer.json", "{}");
  const Model model = open_model(folder / "base");
  const auto indexers = changed(model, {3});
  write(model, indexers, folder / "hard", LinkKind::hard);
  write(model, indexers, folder / "copy", LinkKind::copy);
  CHECK(fs::equivalent(folder / "hard" / "tokenizer.json", folder / "base" / "tokenizer.json"));
  CHECK_FALSE(
      fs::equivalent(folder / "copy" / "tokenizer.json", folder / "base" / "tokenizer.json"));
  for (const char* name : {"hard", "copy"}) {
    check_folder(model, indexers, folder / name);
    for (const auto& entry : fs::directory_iterator(folder / name)) CHECK(!entry.is_symlink());
  }
  const auto bytes = indexer_folder_bytes(model.config, model.checkpoint, {3}, LinkKind::copy);
  std::int64_t written = 0;
  for (const auto& entry : fs::directory_iterator(folder / "copy")) {
    written += static_cast<std::int64_t>(entry.file_size());
  }
  const auto index = fs::file_size(folder / "copy" / "model.safetensors.index.json");
  CHECK(std::abs(written - bytes.total() - static_cast<std::int64_t>(index)) < 4096);
}

TEST_CASE("hard links reach no other file system") {
  const TempFolder folder;
  struct stat here {
  }, there{};
  REQUIRE(stat(folder.path().c_str(), &here) == 0);
  if (stat("/dev/shm", &there) != 0 || here.st_dev == there.st_dev) return;
  std::string other = "/dev/shm/indexcache-XXXXXX";
  if (mkdtemp(other.data()) == nullptr) return;
  copy_folder(golden("deepseek_v32_tiny"), folder / "base");
  const Model model = open_model(folder / "base");
  const std::string refusal = refusal_of(
      [&] { write(model, changed(model, {3}), fs::path(other) / "new", LinkKind::hard); });
  const bool empty = fs::is_empty(other);
  fs::remove_all(other);
  CHECK_THAT(refusal, Contains("is on another file system") && Contains("use symbolic links"));
  CHECK(empty);
}

TEST_CASE("a snapshot of the Hugging Face cache is linked to its blobs") {
  const TempFolder folder;
  const fs::path entry = folder / "models--org--name", snapshot = entry / "snapshots" / "abc";
  fs::create_directories(snapshot);
  fs::create_directories(entry / "blobs");
  copy_folder(golden("deepseek_v32_fp8_tiny"), folder / "download");
  write_text(folder / "download" / "tokenizer.json", "{}");
  for (const auto& file : fs::directory_iterator(folder / "download")) {
    const std::string name = file.path().filename().string();
    fs::copy_file(file.path(), entry / "blobs" / ("hash-of-" + name));
    fs::create_symlink("../../blobs/hash-of-" + name, snapshot / name);
  }
  const Model model = open_model(snapshot);
  const auto indexers = changed(model, {3});
  write(model, indexers, folder / "new");
  check_folder(model, indexers, folder / "new");
  CHECK(fs::read_symlink(folder / "new" / "tokenizer.json") ==
        fs::canonical(entry / "blobs" / "hash-of-tokenizer.json"));
}

TEST_CASE("a shard that would have no tensor is left out, also when indexers are trained again") {
  const TempFolder folder;
  const Model first = open_model(golden("deepseek_v32_tiny"));
  write(first, changed(first, {1, 2}), folder / "one");
  const Model second = open_model(folder / "one");
  const auto indexers = changed(second, {1, 2});
  write(second, indexers, folder / "two");
  check_folder(second, indexers, folder / "two");
  const std::set<std::string> names = names_in(folder / "two");
  CHECK(names.contains("model-00001-of-00002.safetensors"));
  CHECK(names.contains("model-indexers.safetensors"));
  CHECK_FALSE(names.contains("model-00002-of-00002.safetensors"));
  CHECK(fs::read_symlink(folder / "two" / "model-00001-of-00002.safetensors") ==
        fs::canonical(folder / "one" / "model-00001-of-00002.safetensors"));
}

TEST_CASE("shards without an index get one, and keep no name that loaders prefer") {
  const auto check = [](const std::string& one, const std::string& two) {
    const TempFolder folder;
    copy_folder(golden("deepseek_v32_fp8_tiny"), folder / "base");
    fs::remove(folder / "base" / "model.safetensors.index.json");
    fs::rename(folder / "base" / "model-00001-of-00002.safetensors", folder / "base" / one);
    fs::rename(folder / "base" / "model-00002-of-00002.safetensors", folder / "base" / two);
    const Model model = open_model(folder / "base");
    const auto indexers = changed(model, owners(model));
    write(model, indexers, folder / "new");
    check_folder(model, indexers, folder / "new");
    return names_in(folder / "new");
  };
  CHECK(check("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors") ==
        std::set<std::string>{"config.json", "golden_full.json", "model-00001-of-00002.safetensors",
                              "model-00002-of-00002.safetensors", "model-indexers.safetensors",
                              "model.safetensors.index.json"});
  const auto names = check("consolidated-1.safetensors", "consolidated-2.safetensors");
  CHECK(names.contains("model-consolidated-1.safetensors"));
  CHECK(names.contains("model-consolidated-2.safetensors"));
}

TEST_CASE("stale and hidden files and other forms of the weights are left out") {
  const TempFolder folder;
  copy_folder(golden("deepseek_v32_fp8_tiny"), folder / "base");
  for (const char* name : {"model.safetensors", "consolidated.safetensors", "pytorch_model.bin",
                           "consolidated.safetensors.index.json", "pytorch_model.bin.index.json",
                           "weights.pth", ".gitattributes", "model-indexers.safetensors"}) {
    write_text(folder / "base" / name, "stale");
  }
  fs::create_directory(folder / "base" / "assets");
  fs::create_symlink("nowhere", folder / "base" / "gone.txt");
  write_text(folder / "base" / "chat_template.jinja", "{}");
  Json index = parse_json(read_file(folder / "base" / "model.safetensors.index.json"), "index");
  index["metadata"]["origin"] = "elsewhere";
  write_text(folder / "base" / "model.safetensors.index.json", index.dump());
  const Model model = open_model(folder / "base");
  const auto indexers = changed(model, {0});
  write(model, indexers, folder / "new");
  check_folder(model, indexers, folder / "new");
  CHECK(names_in(folder / "new") ==
        std::set<std::string>{"chat_template.jinja", "config.json", "golden_full.json",
                              "model-00001-of-00002.safetensors",
                              "model-00002-of-00002.safetensors", "model-indexers-2.safetensors",
                              "model.safetensors.index.json"});
  index = parse_json(read_file(folder / "new" / "model.safetensors.index.json"), "index");
  CHECK(index["metadata"]["origin"] == "elsewhere");
}

TEST_CASE("an old copy of a replaced tensor in another shard is removed, too") {
  const TempFolder folder;
  copy_folder(golden("deepseek_v32_fp8_tiny"), folder / "base");
  const std::string name = "model.layers.0.self_attn.indexer.wk.weight";
  for (const char* file :
       {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}) {
    auto tensors = read_safetensors(folder / "base" / file);
    if (std::ranges::find(tensors, name, &StoredTensor::name) != tensors.end()) continue;
    tensors.push_back({name, "F8_E4M3", {32, 160}, std::string(32 * 160, '\0')});
    write_safetensors(folder / "base" / file, tensors);
  }
  const Model model = open_model(folder / "base");
  write(model, changed(model, {0}), folder / "new");
  for (const auto& entry : fs::directory_iterator(folder / "new")) {
    if (entry.path().extension() != ".safetensors") continue;
    const bool fresh = entry.path().filename() == "model-indexers.safetensors";
    CHECK(SafetensorsFile(entry.path()).tensors().contains(name) == fresh);
  }
}

TEST_CASE("an output folder that cannot be used is refused, and nothing is left") {
  const TempFolder folder;
  const Model model = open_model(golden("deepseek_v32_tiny"));
  const auto indexers = changed(model, {1});
  fs::create_directories(folder / "full");
  write_text(folder / "full/notes.txt", "keep");
  CHECK_THAT(refusal_of([&] { write(model, indexers, folder / "full"); }),
             Contains("the output folder cannot be used") && Contains("it is not empty") &&
                 Contains("choose an output folder that does not exist yet"));
  CHECK_THAT(refusal_of([&] { require_new_folder(folder / "full/notes.txt"); }),
             Contains("it is not a folder"));
  CHECK_THAT(refusal_of([&] { require_new_folder(folder / "full/notes.txt/new"); }),
             Contains("notes.txt"));
  CHECK_THAT(refusal_of([&] { require_new_folder(""); }), Contains("Invalid argument"));
  CHECK(refusal_of([&] { require_new_folder(folder / "a/b/c/"); }) == "accepted");
  CHECK(names_in(folder.path()) == std::set<std::string>{"full"});
  fs::create_directories(folder / "empty");
  fs::create_symlink("empty", folder / "link");
  write(model, indexers, folder / "link");
  CHECK(fs::is_symlink(folder / "link"));
  check_folder(model, indexers, folder / "empty");
  if (geteuid() == 0) return;  // root may write everywhere
  fs::create_directories(folder / "closed");
  chmod((folder / "closed").c_str(), 0555);
  CHECK_THAT(refusal_of([&] { write(model, indexers, folder / "closed/new"); }),
             Contains("Permission denied"));
}

TEST_CASE("a failure in the middle leaves no folder") {
  const TempFolder folder;
  copy_folder(golden("deepseek_v32_tiny"), folder / "base");
  const Model model = open_model(folder / "base");
  const auto indexers = changed(model, {1});
  fs::resize_file(folder / "base" / "model.safetensors", 100000);
  CHECK_THAT(refusal_of([&] { write(model, indexers, folder / "new"); }),
             Contains("cannot read a file") && Contains("model.safetensors"));
  CHECK(names_in(folder.path()) == std::set<std::string>{"base"});
}

TEST_CASE("a disk that is full leaves no folder, whichever file it refuses") {
  const TempFolder folder;
  copy_folder(golden("deepseek_v32_tiny"), folder / "base");
  const Model model = open_model(folder / "base");
  const auto indexers = changed(model, {1});
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (rlim_t bytes : {1000, 40000, 100000, 1000000}) {
    const rlimit limit{bytes, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string refusal = refusal_of([&] { write(model, indexers, folder / "new"); });
    setrlimit(RLIMIT_FSIZE, &before);
    CHECK_THAT(refusal, Contains("cannot write a file") && Contains("File too large"));
    CHECK(names_in(folder.path()) == std::set<std::string>{"base"});
  }
  std::signal(SIGXFSZ, handler);
  write(model, indexers, folder / "new");
  check_folder(model, indexers, folder / "new");
}

TEST_CASE("a base whose parts are missing, or whose config.json names weights, is refused") {
  const TempFolder folder;
  copy_folder(golden("deepseek_v32_fp8_tiny"), folder / "base");
  const fs::path index = folder / "base" / "model.safetensors.index.json";
  const std::string before = read_file(index);
  Json json = parse_json(before, "index");
  json["weight_map"]["model.layers.9.extra"] = "model-00009-of-00002.safetensors";
  write_text(index, json.dump());
  {
    const Model model = open_model(folder / "base");
    const auto indexers = changed(model, {1});
    CHECK_THAT(refusal_of([&] { write(model, indexers, folder / "new"); }),
               Contains("a shard is missing") && Contains("model-00009-of-00002"));
    CHECK_THAT(refusal_of([&] {
                 indexer_folder_bytes(model.config, model.checkpoint, {1}, LinkKind::symbolic);
               }),
               Contains("a shard is missing"));
  }
  write_text(index, before);
  json = parse_json(read_file(folder / "base" / "config.json"), "config");
  json["transformers_weights"] = "other.safetensors";
  write_text(folder / "base" / "config.json", json.dump());
  const Model model = open_model(folder / "base");
  CHECK_THAT(refusal_of([&] { write(model, changed(model, {1}), folder / "new"); }),
             Contains("transformers_weights") && Contains("other.safetensors"));
  CHECK(names_in(folder.path()) == std::set<std::string>{"base"});
}
