// SPDX-License-Identifier: Apache-2.0
#include "core/bytes.h"

#include "support/catch.h"

using namespace indexcache;

TEST_CASE("sizes are read in the units that people write") {
  CHECK(parse_bytes("123456") == 123456);
  CHECK(parse_bytes("7B") == 7);
  CHECK(parse_bytes("24GiB") == std::int64_t{24} << 30);
  CHECK(parse_bytes("1.5G") == std::int64_t{3} << 29);
  CHECK(parse_bytes("800MB") == 800'000'000);
  CHECK(parse_bytes("2T") == std::int64_t{2} << 40);
  for (const char* text :
       {"", "G", "-1G", "0", "0.2B", "1GB/s", "1 G", "inf", "nan", "1e30T", "1X", "1Gi", "+5"}) {
    INFO(text);
    CHECK(parse_bytes(text) == std::nullopt);
  }
}

TEST_CASE("sizes are written in the unit that fits") {
  CHECK(bytes_text(100) == "100 B");
  CHECK(bytes_text(1536) == "1.5 KiB");
  CHECK(bytes_text(std::int64_t{12} << 20) == "12.0 MiB");
  CHECK(bytes_text(std::int64_t{7} << 29) == "3.50 GiB");
}
