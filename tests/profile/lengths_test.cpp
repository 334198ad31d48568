// SPDX-License-Identifier: Apache-2.0
// Files of lengths: every form that is read, and every row that is not.
#include "profile/lengths.h"

#include "support/catch.h"
#include "support/files.h"
#include "support/refusal.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

struct File {
  TempFolder folder;

  Lengths read(const std::string& text) const {
    write_text(folder / "lengths", text);
    return read_lengths(folder / "lengths");
  }
  std::string refusal(const std::string& text) const {
    return refusal_of([&] { read(text); });
  }
};

}  // namespace

TEST_CASE("lengths are read from JSON lines, CSV and histograms") {
  const File file;
  const std::vector<LengthCount> expected = {{100, 2, 2}, {8000, 1, 3}};
  const Lengths csv = file.read("prompt_tokens,output_tokens\n100,7\n8000, 30\n100,5\n");
  CHECK(csv.prompts == expected);
  CHECK(csv.requests == 3);
  CHECK(csv.prompt_tokens == 8200);
  CHECK(csv.output_tokens == 42);
  CHECK(csv.shortest() == 100);
  CHECK(csv.longest() == 8000);
  CHECK(file.read("user,length,count\r\nx,100,2\r\n,8000,1\r\nz,9,0\r\n").prompts == expected);
  const Lengths lines = file.read(
      "\n{\"prompt_tokens\": 100, \"model\": \"m\", \"output_tokens\": null}\n"
      "{\"usage\": {\"prompt_tokens\": 8000, \"completion_tokens\": 4}}\n"
      "{\"prompt\": 100, \"count\": 1}\n");
  CHECK(lines.prompts == expected);
  CHECK(lines.output_tokens == 4);
}

TEST_CASE("a bad file of lengths is refused with its line") {
  const File file;
  struct Case {
    const char *text, *line, *why;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"prompt_tokens\n12\nmany\n", "lengths:3", "prompt_tokens is \"many\""},
           {"length,count\n12,-1\n", "lengths:2", "count is \"-1\""},
           {"length,count\n12\n", "lengths:2", "the row has 1 columns and the header 2"},
           {"length,count\n1.5,1\n", "lengths:2", "length is \"1.5\""},
           {"length,count\n99999999999999999999,1\n", "lengths:2", "which is no length"},
           {"length,prompt\n", "lengths:1", "two columns of the header mean"},
           {"12,1\n", "lengths:1", "the header has no column prompt_tokens"},
           {"length,note\n12,\"a,b\"\n", "lengths:2", "the row has quotes"},
           {"length\n0\n", "lengths:2", "a prompt of 0 tokens"},
           {"{\"prompt_tokens\": 3}\n{\"tokens\": 3}\n", "lengths:2", "no prompt length"},
           {"{\"prompt_tokens\": 3}\n{\"prompt_tokens\": -3}\n", "lengths:2",
            "prompt_tokens is -3"},
           {"{\"prompt_tokens\": 2.5}\n", "lengths:1", "which is no length"},
           {"{\"prompt_tokens\": 3}\n\n3\n", "lengths:3", "the row is no JSON object"},
           {"{\"prompt_tokens\": 3\n", "lengths:1", ""},
           {"length,count\n5,1073741824\n5,1\n", "lengths:3", "more than 1073741824 requests"},
           {"length,count\n5,0\n", "lengths", "no requests"},
           {"", "lengths", "no requests"},
       }) {
    INFO(c.text);
    const std::string refusal = file.refusal(c.text);
    CHECK_THAT(refusal, Contains(c.line) && Contains(c.why) && Contains("JSON lines such as"));
  }
}
