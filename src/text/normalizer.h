// SPDX-License-Identifier: Apache-2.0
// Unicode normalization form C, the one normalizer that byte-level tokenizers use.
#pragma once

#include <string>
#include <string_view>

namespace indexcache {

// Valid UTF-8 in, composed UTF-8 out (Unicode Annex 15), through utf8proc. Marks and letters that
// Unicode gained after version 9 stay as and where they are, because the tables of Hugging Face
// tokenizers end there.
std::string normalize_nfc(std::string_view text);

}  // namespace indexcache
