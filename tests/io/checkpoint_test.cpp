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
  const TempFolder missing, outside, lacks, empty, twice, malformed;
  write_sharded(missing, R"({"weight_map":{"a":"one.safetensors","b":"three.safetensors"}})");
  CHECK_THAT(refusal(missing), Contains("a shard is missing") && Contains("three.safetensors"));
  write_sharded(outside, R"({"weight_map":{"a":"../one.safetensors"}})");
  CHECK_THAT(refusal(outside), Contains("outside the checkpoint folder"));
  write_sharded(lacks, R"({"weight_map":{"a":"two.safetensors"}})");
  CHECK_THAT(refusal(lacks), Contains("lacks a tensor"));
  CHECK_THAT(refusal(empty), Contains("no weights in the model folder"));
  write_sharded(malformed, R"({"weight_map":{"a":3}})");
  CHECK_THAT(refusal(malformed), Contains("malformed"));
  write_sharded(twice, R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  write_safetensors(twice / "two.safetensors", {{"a", "U8", {1}, "x"}, {"b", "U8", {2}, "yz"}});
  CHECK_THAT(refusal(twice), Contains("stands in two shards"));
  CHECK_THROWS_AS(Checkpoint(empty / "nowhere"), InputError);
}
