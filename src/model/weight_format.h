// SPDX-License-Identifier: Apache-2.0
// Formats of stored weights that are known by name but not read.
#pragma once

#include "core/error.h"
#include "io/checkpoint.h"
#include "io/json.h"
#include "model/family.h"
#include "model/weight_table.h"

#include <string>

namespace indexcache {

// The weights are in a format that only serving engines read. Everything that needs no weights, as
// export and most of inspect, works with such a checkpoint.
class UnreadFormat : public InputError {
 public:
  // `format` is what it is: "AWQ (4-bit)".
  UnreadFormat(const std::string& format, const std::string& where);
};

// What a quantization_config describes, if it is not block-wise FP8; else "".
std::string unread_quantization(const Json& quantization_config);

// What the tensors next to the weight `spec` show that it is stored as, if it is not a format that
// is read; else "". It need not exist: packed formats have other names.
std::string unread_storage(const Family& family, const Checkpoint& checkpoint,
                           const TensorSpec& spec);

}  // namespace indexcache
