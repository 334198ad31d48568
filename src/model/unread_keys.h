// SPDX-License-Identifier: Apache-2.0
// Keys of config.json that no reader here uses.
#pragma once

#include <string>
#include <vector>

namespace indexcache {

// Of `unread`, those that could change the forward pass: all but the ones that are known not to,
// such as token ids, settings of training and what serving engines read.
std::vector<std::string> suspicious_keys(const std::vector<std::string>& unread);

// "a, b, c and 4 more": no more than `most` of the names, each of bounded length.
std::string listed(const std::vector<std::string>& names, std::size_t most = 6);

}  // namespace indexcache
