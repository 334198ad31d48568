// SPDX-License-Identifier: Apache-2.0
// Forms of documents that are not read but well known: what they are, and what converts them.
#pragma once

#include "io/json.h"

#include <optional>
#include <string>

namespace indexcache {

struct ForeignForm {
  std::string what;    // "it is a conversation as ShareGPT has it"
  std::string filter;  // of jq, from the document to one that is read
};

// `chat`: whether conversations can be rendered; if not, the filter makes a text.
std::optional<ForeignForm> foreign_form(const Json& document, bool chat);

}  // namespace indexcache
