// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint.h"

#include "core/error.h"
#include "support/catch.h"
#include "support/files.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Two shards and their index.
void write_sharded(const TempFolder& folder, const std::string& index) {
  write_safetensors(folder / "one.safetensors", {{"a", "U8", {1}, "x"}});
  write_safetensors(folder / "two.safetensors", {{"b", "U8", {2}, "yz"}});
  write_text(folder / "model.safetensors.index.json", index);
}

std::string refusal(const TempFolder& folder) {
  try {
    const Checkpoint checkpoint(folder.path());
    for (const std::string& name : checkpoint.names()) checkpoint.tensor(name);
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

}  // namespace

TEST_CASE("shards are found through the index") {
  const TempFolder folder;
  write_sharded(folder, R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const Checkpoint checkpoint(folder.path());
  CHECK(checkpoint.shards().size() == 2);
  CHECK(checkpoint.tensor("b").shape == std::vector<std::int64_t>{2});
  CHECK(checkpoint.total_bytes() == 3);
  CHECK_FALSE(checkpoint.contains("c"));
  CHECK_THROWS_AS(checkpoint.tensor("c"), InputError);
  CHECK_THAT(checkpoint.where("b"), Contains("two.safetensors: b"));
}

TEST_CASE("the layout hash follows names, shapes and lengths") {
  const TempFolder a, b, c;
  write_safetensors(a / "model.safetensors", {{"t", "U8", {1}, "x"}});
  write_safetensors(b / "model.safetensors", {{"t", "U8", {1}, "y"}});
  write_safetensors(c / "model.safetensors", {{"u", "U8", {1}, "x"}});
  CHECK(Checkpoint(a.path()).layout_sha256() == Checkpoint(b.path()).layout_sha256());
  CHECK(Checkpoint(a.path()).layout_sha256() != Checkpoint(c.path()).layout_sha256());
}

TEST_CASE("an index that does not hold is refused") {
  const TempFolder missing, outside, lacks, empty, malformed;
  write_sharded(missing, R"({"weight_map":{"a":"one.safetensors","b":"three.safetensors"}})");
  CHECK_THAT(refusal(missing), Contains("a shard is missing") && Contains("three.safetensors"));
  write_sharded(outside, R"({"weight_map":{"a":"../one.safetensors"}})");
  CHECK_THAT(refusal(outside), Contains("outside the checkpoint folder"));
  write_sharded(lacks, R"({"weight_map":{"a":"two.safetensors"}})");
  CHECK_THAT(refusal(lacks), Contains("lacks a tensor"));
  CHECK_THAT(refusal(empty), Contains("no weights in the model folder"));
  write_sharded(malformed, R"({"weight_map":{"a":3}})");
  CHECK_THAT(refusal(malformed), Contains("malformed"));
  CHECK_THROWS_AS(Checkpoint(empty / "nowhere"), InputError);
}

TEST_CASE("the index decides which shard a tensor is in") {
  const TempFolder folder;
  write_sharded(folder, R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  write_safetensors(folder / "two.safetensors", {{"a", "U8", {3}, "old"}, {"b", "U8", {2}, "yz"}});
  write_safetensors(folder / "model-00001-of-00009.safetensors", {{"a", "U8", {3}, "old"}});
  write_text(folder / "model.safetensors", "a stale copy");
  const Checkpoint checkpoint(folder.path());
  CHECK(checkpoint.tensor("a").bytes == 1);
  CHECK(checkpoint.shards().size() == 2);
}

TEST_CASE("a shard that cannot be read is an error only for those who need it") {
  const TempFolder folder;
  write_sharded(folder, R"({"weight_map":{"a":"one.safetensors","b":"gone.safetensors",
                                          "c":"damaged.safetensors","d":"one.safetensors"}})");
  write_text(folder / "damaged.safetensors", "abc");
  const Checkpoint checkpoint(folder.path());
  CHECK(checkpoint.tensor("a").bytes == 1);
  CHECK(checkpoint.total_bytes() == 1);
  CHECK(checkpoint.contains("b"));
  CHECK(checkpoint.find("b") == nullptr);
  CHECK_THROWS_WITH(checkpoint.tensor("b"), Contains("a shard is missing"));
  CHECK_THROWS_WITH(checkpoint.tensor("c"), Contains("invalid safetensors file"));
  CHECK_THROWS_WITH(checkpoint.tensor("d"), Contains("lacks a tensor"));
}

TEST_CASE("shards are read without an index if all of them are there") {
  const TempFolder all, some, twice, consolidated;
  write_safetensors(all / "model-00001-of-00002.safetensors", {{"a", "U8", {1}, "x"}});
  write_safetensors(all / "model-00002-of-00002.safetensors", {{"b", "U8", {2}, "yz"}});
  write_text(all / "._model-00001-of-00002.safetensors", "of another system");
  write_text(all / "consolidated.safetensors", "the same in another form");
  CHECK(Checkpoint(all.path()).tensor_count() == 2);
  write_safetensors(some / "model-00001-of-00002.safetensors", {{"a", "U8", {1}, "x"}});
  CHECK_THAT(refusal(some), Contains("shards are missing") && Contains("1 of 2 shards") &&
                                Contains("model-00001-of-00002.safetensors exists"));
  write_safetensors(twice / "model-00001-of-00001.safetensors", {{"a", "U8", {1}, "x"}});
  write_safetensors(twice / "model-1-of-1.safetensors", {{"a", "U8", {1}, "x"}});
  CHECK_THAT(refusal(twice), Contains("a tensor is in two shards"));
  write_safetensors(consolidated / "consolidated.safetensors", {{"a", "U8", {1}, "x"}});
  CHECK(refusal(consolidated) == "accepted");
}

TEST_CASE("weights in another form are named") {
  const auto refusal_of = [](const std::string& file) {
    const TempFolder folder;
    write_text(folder / "config.json", "{}");
    write_text(folder / "training_args.bin", "");
    write_text(folder / file, "");
    return refusal(folder);
  };
  CHECK_THAT(refusal_of("model-Q4_K_M.gguf"), Contains("it contains model-Q4_K_M.gguf (GGUF)") &&
                                                  Contains("try: use the safetensors"));
  CHECK_THAT(refusal_of("pytorch_model.bin"),
             Contains("it contains pytorch_model.bin (PyTorch)") && Contains("save_pretrained"));
  CHECK_THAT(refusal_of("MODEL.GGUF"), Contains("(GGUF)"));
  CHECK_THAT(refusal_of("weights.00.npz"), Contains("MLX"));
  CHECK_THAT(refusal_of("adapter_model.safetensors"), Contains("a LoRA adapter"));
  CHECK_THAT(refusal_of("model.safetensors.incomplete"), Contains("an unfinished download"));
  CHECK_THAT(refusal_of("merged.safetensors"), Contains("call a single file model.safetensors"));
  CHECK_THAT(refusal_of("README.md"), Contains("neither model*.safetensors nor"));
}

TEST_CASE("an unfinished download is seen where hf download keeps it") {
  const TempFolder folder;
  std::filesystem::create_directories(folder / ".cache/huggingface/download");
  write_text(folder / ".cache/huggingface/download/abc.incomplete", "");
  CHECK_THAT(refusal(folder), Contains("abc.incomplete (an unfinished download)"));
}

TEST_CASE("a link to a file that is not there is an incomplete download") {
  const TempFolder single, indexed;
  std::filesystem::create_symlink("../../blobs/w", single / "model.safetensors");
  CHECK_THAT(refusal(single), Contains("its target ../../blobs/w is missing") &&
                                  Contains("the download is incomplete"));
  write_sharded(indexed, R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  std::filesystem::remove(indexed / "two.safetensors");
  std::filesystem::create_symlink("../../blobs/x", indexed / "two.safetensors");
  CHECK_THAT(refusal(indexed), Contains("two.safetensors") && Contains("../../blobs/x"));
}
