// SPDX-License-Identifier: Apache-2.0
#include "io/file_kind.h"

#include "core/error.h"

#include <fmt/format.h>

#include <cctype>
#include <vector>

namespace indexcache {
namespace {

using namespace std::string_view_literals;

constexpr const char* kSafetensorsRemedy =
    "use the checkpoint's safetensors files, or convert it with transformers (save_pretrained)";

struct Signature {
  std::string_view bytes;
  ForeignFile kind;
};

const std::vector<Signature>& signatures() {
  // Protocols 2 to 5.
  static const ForeignFile pickle = {"a pickle", "older .bin and .pt files of PyTorch are pickles",
                                     kSafetensorsRemedy};
  static const std::vector<Signature> list = {
      {"version https://git-lfs.github.com/spec/",
       {"a Git LFS pointer", "the repository was cloned without git-lfs",
        "git lfs pull in the folder of that file"}},
      {"/annex/objects/",
       {"a git-annex pointer", "the content was not fetched", "git annex get for that file"}},
      {"GGUF",
       {"a GGUF file", "llama.cpp's format is not supported",
        "use the safetensors checkpoint that it was converted from"}},
      {"PK\x03\x04",
       {"a zip archive", "PyTorch's .bin and .pt files are zip archives", kSafetensorsRemedy}},
      {"\x80\x02", pickle},
      {"\x80\x03", pickle},
      {"\x80\x04", pickle},
      {"\x80\x05", pickle},
      {"\x1f\x8b", {"gzip-compressed", "", "decompress it: gunzip"}},
      {"\x28\xb5\x2f\xfd", {"zstd-compressed", "", "decompress it: unzstd"}},
      {"\xfd"
       "7zXZ\0"sv,
       {"xz-compressed", "", "decompress it: unxz"}},
      {"BZh", {"bzip2-compressed", "", "decompress it: bunzip2"}},
      {"\x89HDF\r\n\x1a\n", {"an HDF5 file", "", kSafetensorsRemedy}},
      {"\x93NUMPY", {"a NumPy file", "", kSafetensorsRemedy}},
      {"PAR1", {"a Parquet file", "", "check which file is meant"}},
      {"\xff\xfe", {"UTF-16 text", "", "iconv -f UTF-16 -t UTF-8"}},
      {"\xfe\xff", {"UTF-16 text", "", "iconv -f UTF-16 -t UTF-8"}},
  };
  return list;
}

// Whether it begins with a tag, perhaps after a byte order mark and empty lines. Special tokens of
// tokenizers ("<|user|>") are no tags.
bool is_page(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == text.npos || text[begin] != '<' || begin + 1 >= text.size()) return false;
  const auto next = static_cast<unsigned char>(text[begin + 1]);
  return next == '!' || next == '?' || std::isalpha(next) != 0;
}

}  // namespace

const ForeignFile* kind_of_beginning(std::string_view beginning) {
  static const ForeignFile page = {"an HTML or XML page",
                                   "servers send one in place of a file that needs a login",
                                   "log in (hf auth login) and download the file again"};
  if (is_page(beginning)) return &page;
  for (const Signature& signature : signatures()) {
    if (beginning.starts_with(signature.bytes)) return &signature.kind;
  }
  return nullptr;
}

void refuse_other_kind(std::string_view beginning, const std::string& where,
                       const std::string& wanted) {
  const ForeignFile* kind = kind_of_beginning(beginning);
  if (kind == nullptr) return;
  throw InputError(
      {fmt::format("the file is {}, not {}", kind->name, wanted), where, kind->why, kind->remedy});
}

}  // namespace indexcache
