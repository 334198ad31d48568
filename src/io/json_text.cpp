// SPDX-License-Identifier: Apache-2.0
#include "io/json_text.h"

namespace indexcache {

std::string json_text(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace indexcache
