// SPDX-License-Identifier: Apache-2.0
// Calibration files in HDF5. The input is a recipe: which datasets and attributes a file has, of
// what shapes, types and values. Damaged bytes of a container are HDF5's to find; what the numbers
// inside may claim is ours.
#include "calibration/calibration_file.h"
#include "fuzz/target.h"
#include "io/hdf5.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <unistd.h>

namespace {

// Takes the recipe's bytes one after another; zeros when it has ended.
class Recipe {
 public:
  explicit Recipe(std::string_view bytes) : bytes_(bytes) {}

  bool ended() const { return at_ >= bytes_.size(); }
  std::uint8_t byte() { return ended() ? 0 : static_cast<std::uint8_t>(bytes_[at_++]); }
  // Small numbers mostly, now and then any.
  std::int64_t number() {
    const std::uint8_t kind = byte();
    if (kind < 200) return kind % 40;
    if (kind < 220) return -static_cast<std::int64_t>(byte());
    std::uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | byte();
    return static_cast<std::int64_t>(value >> kind % 64);
  }
  std::string text() {
    const std::size_t length = std::min<std::size_t>(byte(), bytes_.size() - at_);
    const std::string text(bytes_.substr(at_, length));
    at_ += length;
    return text;
  }

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
};

constexpr const char* kDatasets[] = {"/tokens", "/lengths", "/holdout", "/spans", "/documents"};
constexpr const char* kTexts[] = {"/description", "/tokens", "/spans"};
constexpr const char* kAttributes[] = {"schema", "tokenizer_sha256", "tokens_sha256",
                                       "description"};

void write(Recipe& recipe, indexcache::Hdf5Writer& file) {
  for (int objects = 0; objects < 12 && !recipe.ended(); ++objects) {
    const std::uint8_t kind = recipe.byte();
    if (kind % 8 == 6) {
      file.attribute(kAttributes[kind / 8 % 4], kind < 128 && kind / 8 % 4 == 0
                                                    ? "indexcache-calibration/1"
                                                    : recipe.text() + "x");
    } else if (kind % 8 == 7) {
      file.write_text(kTexts[kind / 8 % 3], recipe.text() + "{}");
    } else {
      std::vector<std::int64_t> shape;
      std::int64_t count = 1;
      for (int rank = 0; rank < 1 + kind / 16 % 3; ++rank) {
        shape.push_back(recipe.byte() % 9);
        count *= shape.back();
      }
      std::vector<std::int64_t> values;
      for (std::int64_t i = 0; i < count; ++i) values.push_back(recipe.number());
      file.write(kDatasets[recipe.byte() % std::size(kDatasets)], shape, values);
    }
  }
}

const std::string& scratch_file() {
  static const std::string path = [] {
    const char* folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    return std::string(folder) + "/indexcache-fuzz-" + std::to_string(getpid()) + ".h5";
  }();
  return path;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string& path = scratch_file();
  try {
    Recipe recipe(std::string_view(reinterpret_cast<const char*>(data), size));
    indexcache::Hdf5Writer file(path);
    write(recipe, file);
    file.close();
  } catch (const indexcache::ResourceError&) {
    unlink(path.c_str());
    return 0;  // an object twice
  }
  const auto read = [&](auto reader) { indexcache::fuzz::run(data, size, reader); };
  read([&](std::string_view) { indexcache::read_stored(path).tokens.fingerprint(); });
  read([&](std::string_view) {
    const auto summary = indexcache::read_summary(path);
    for (std::size_t s = 0; s < summary.lengths.size(); ++s) {
      indexcache::read_sequence(path, summary, s, 5);
    }
  });
  unlink(path.c_str());
  return 0;
}
