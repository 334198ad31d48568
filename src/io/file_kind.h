// SPDX-License-Identifier: Apache-2.0
// What a file really is, from its first bytes: downloads often leave something else under the name
// of a weight or JSON file.
#pragma once

#include <string>
#include <string_view>

namespace indexcache {

struct ForeignFile {
  std::string name;    // "a Git LFS pointer"
  std::string why;     // how it came to be there; may be empty
  std::string remedy;  // a concrete thing to try
};

// The kind of file that begins so; null if it is none of the known ones.
const ForeignFile* kind_of_beginning(std::string_view beginning);

// Throws InputError naming `where` if a file that begins so is of a known kind. `wanted` is what it
// should be: "a safetensors file".
void refuse_other_kind(std::string_view beginning, const std::string& where,
                       const std::string& wanted);

}  // namespace indexcache
