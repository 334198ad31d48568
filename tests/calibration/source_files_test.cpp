// SPDX-License-Identifier: Apache-2.0
// Folders and files as people have them.
#include "calibration/source_files.h"

#include "support/catch.h"
#include "support/files.h"
#include "support/refusal.h"

#include <filesystem>
#include <set>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

using namespace indexcache;
using namespace indexcache::test;

namespace {

namespace fs = std::filesystem;

std::set<std::string> names_in(const SourceFiles& found, const fs::path& folder) {
  std::set<std::string> names;
  for (const SourceFile& file : found.files) {
    CHECK(names.insert(file.path.lexically_relative(folder).string()).second);
  }
  return names;
}

using Names = std::set<std::string>;

}  // namespace

TEST_CASE("what systems leave in a folder is passed over and counted") {
  const TempFolder folder;
  for (const char* name : {"d/.git", "d/.ipynb_checkpoints", "d/__MACOSX", "d/in/.cache"}) {
    fs::create_directories(folder / name);
  }
  for (const char* name :
       {"a.jsonl", "._a.jsonl", ".git/z.jsonl", ".ipynb_checkpoints/a.jsonl", "__MACOSX/a.jsonl",
        "in/b.TXT", "in/.cache/c.txt", "in/.hidden.txt", "README.md", "config.json", "Thumbs.db"}) {
    write_text(folder / "d" / name, "text");
  }
  const SourceFiles found = find_source_files({folder / "d"});
  CHECK(names_in(found, folder / "d") == Names{"a.jsonl", "in/b.TXT"});
  CHECK(found.hidden == 6);
  CHECK(found.passed_over == 3);
  CHECK(found.other_kinds ==
        std::map<std::string, std::size_t>{{".db", 1}, {".json", 1}, {".md", 1}});
  // A folder that is named is read, whatever its name.
  CHECK(names_in(find_source_files({folder / "d/.git"}), folder / "d/.git") == Names{"z.jsonl"});
  // --format is for every file, but not for what the system keeps.
  CHECK(find_source_files({folder / "d"}, FileKind::text).files.size() == 5);
}

TEST_CASE("links are followed, each folder once, and never out of the folder by its own parents") {
  const TempFolder folder;
  for (const char* name : {"d/in/deep", "other/more"}) fs::create_directories(folder / name);
  for (const char* name : {"d/a.txt", "d/in/b.txt", "d/in/deep/c.txt", "other/o.txt",
                           "other/more/m.txt", "outside.txt"}) {
    write_text(folder / name, "text");
  }
  const Names plain{"a.txt", "in/b.txt", "in/deep/c.txt"};
  fs::create_symlink("..", folder / "d/up");
  fs::create_symlink(".", folder / "d/self");
  fs::create_symlink("/", folder / "d/root");
  fs::create_symlink("../..", folder / "d/in/deep/up");
  fs::create_symlink("deep", folder / "d/in/again");
  fs::create_symlink("loop", folder / "d/loop");
  fs::create_symlink("nowhere", folder / "d/broken.txt");
  CHECK(names_in(find_source_files({folder / "d"}), folder / "d") == plain);
  CHECK(names_in(find_source_files({folder / "d/"}), folder / "d") == plain);
  fs::create_symlink("../other", folder / "d/other");
  fs::create_symlink("../other/more", folder / "d/more");
  fs::create_symlink("../../d", folder / "other/more/back");
  Names all = plain;
  for (const char* name : {"other/o.txt", "more/m.txt"}) all.insert(name);
  const auto with_links = names_in(find_source_files({folder / "d"}), folder / "d");
  CHECK(with_links.size() == 5);
  CHECK(with_links.contains("other/o.txt"));
  // A folder is followed when it is what was named.
  fs::create_symlink("d", folder / "link");
  CHECK(names_in(find_source_files({folder / "link"}), folder / "link").size() == 5);
}

TEST_CASE("pipes, sockets, devices and standard input are refused at once") {
  const TempFolder folder;
  const std::string pipe = folder / "pipe.jsonl";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  const std::string address = folder / "socket.txt";
  const int socket_file = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  address.copy(name.sun_path, sizeof(name.sun_path) - 1);
  REQUIRE(bind(socket_file, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0);
  close(socket_file);
  const auto refused = [](const std::string& input, std::optional<FileKind> format = {}) {
    return refusal_of([&] { find_source_files({input}, format); });
  };
  CHECK_THAT(refused(pipe), Contains("it is a pipe") && Contains("to a file first"));
  CHECK_THAT(refused(address), Contains("it is a socket"));
  CHECK_THAT(refused("/dev/null", FileKind::text), Contains("it is not a file"));
  CHECK_THAT(refused("-"),
             Contains("standard input is not supported") && Contains("to a file first"));
  CHECK_THAT(refused(folder / "*.jsonl"), Contains("it is a pipe"));
  // In a folder they are no files.
  write_text(folder / "a.txt", "text");
  CHECK(names_in(find_source_files({folder.path()}), folder.path()) == Names{"a.txt"});
}

TEST_CASE("endings count in any case, and other files are refused with the way on") {
  const std::pair<const char*, FileKind> kinds[] = {
      {"DATA.TXT", FileKind::text},    {"wiki.test.raw", FileKind::text},
      {"a.Text", FileKind::text},      {"calibration.md", FileKind::text},
      {"a.JSONL", FileKind::jsonl},    {"a.ndjson", FileKind::jsonl},
      {"a.jsonl.GZ", FileKind::jsonl}, {"a.JSON", FileKind::json},
      {"a.json.zst", FileKind::json},  {"a.H5", FileKind::hdf5},
      {"a.npy.gz", FileKind::npy}};
  for (const auto& [name, kind] : kinds) {
    INFO(name);
    CHECK(kind_of(name) == kind);
  }
  const std::pair<const char*, const char*> refused[] = {{"a.parquet", "read_parquet('FILE')"},
                                                         {"a.PARQUET", "the file type .parquet"},
                                                         {"a.csv", "read_csv"},
                                                         {"a.jsonl.xz", "unxz"},
                                                         {"a.tar.gz", "tar -xf"},
                                                         {"a.xyz", "its name ends in \".xyz\""},
                                                         {"a", "its name has no extension"},
                                                         {"a.h5.gz", "unknown file type"},
                                                         {"a.xyz", "--format txt, jsonl or json"}};
  for (const auto& [name, what] : refused) {
    INFO(name);
    CHECK_THAT(refusal_of([&] { kind_of(name); }), Contains(what));
  }
  const TempFolder folder;
  write_text(folder / "a.md", "x");
  write_text(folder / "b.md", "x");
  CHECK_THAT(refusal_of([&] { find_source_files({folder.path()}); }),
             Contains("only unsupported files: 2 .md") && Contains("'FOLDER/*.md'"));
  CHECK(find_source_files({folder / "*.md"}).files.size() == 2);
  write_text(folder / "c.parquet", "x");
  CHECK_THAT(refusal_of([&] { find_source_files({folder.path()}); }), Contains("read_parquet"));
}
