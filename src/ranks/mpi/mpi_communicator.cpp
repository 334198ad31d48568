// SPDX-License-Identifier: Apache-2.0
// The only file that knows MPI: its C interface.
#include "core/error.h"
#include "ranks/communicator.h"
#include "ranks/launcher.h"

#include <algorithm>
#include <limits>
#include <list>
#include <mpi.h>
#include <utility>

namespace indexcache {
namespace {

void check(int status, const char* what) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw ResourceError({"a message between ranks failed", what,
                       std::string(text, static_cast<std::size_t>(length)),
                       "the same command, which continues"});
}

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator() {
    // One thread at a time, but not the one that is here now (post_office.h).
    int provided = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    check(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
    if (provided < MPI_THREAD_SERIALIZED && size_ > 1) {
      throw ResourceError({"this MPI does not support threads", "MPI_THREAD_SERIALIZED", "",
                           "an MPI that was built with threads"});
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void send(int to, std::string bytes) override {
    if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
      throw ResourceError({"a message between ranks is too large", "", "it has more than 2 GiB",
                           "fewer held-out tokens"});
    }
    Sending& sending = sending_.emplace_back(std::move(bytes), MPI_REQUEST_NULL);
    check(MPI_Isend(sending.bytes.data(), static_cast<int>(sending.bytes.size()), MPI_BYTE, to,
                    kTag, MPI_COMM_WORLD, &sending.request),
          "MPI_Isend");
  }

  std::optional<Letter> receive() override {
    int arrived = 0;
    MPI_Status status;
    check(MPI_Iprobe(MPI_ANY_SOURCE, kTag, MPI_COMM_WORLD, &arrived, &status), "MPI_Iprobe");
    if (arrived == 0) return std::nullopt;
    int bytes = 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    Letter letter{status.MPI_SOURCE, std::string(static_cast<std::size_t>(bytes), '\0')};
    check(MPI_Recv(letter.bytes.data(), bytes, MPI_BYTE, letter.from, kTag, MPI_COMM_WORLD,
                   MPI_STATUS_IGNORE),
          "MPI_Recv");
    return letter;
  }

  bool all_sent() override {
    std::erase_if(sending_, [](Sending& sending) {
      int done = 0;
      check(MPI_Test(&sending.request, &done, MPI_STATUS_IGNORE), "MPI_Test");
      return done != 0;
    });
    return sending_.empty();
  }

  void finish() override { MPI_Finalize(); }

 private:
  static constexpr int kTag = 1;

  // A message that MPI may still read.
  struct Sending {
    Sending(std::string message, MPI_Request pending)
        : bytes(std::move(message)), request(pending) {}
    std::string bytes;
    MPI_Request request;
  };

  int rank_ = 0;
  int size_ = 1;
  std::list<Sending> sending_;
};

}  // namespace

// MPI is not touched unless a launcher is there: a single process pays nothing for it.
std::unique_ptr<Communicator> join_communicator() {
  if (launched_ranks() == 0) return nullptr;
  auto communicator = std::make_unique<MpiCommunicator>();
  if (communicator->size() > 1) return communicator;
  communicator->finish();
  return nullptr;
}

std::string communicator_text() {
  char version[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(version, &length);
  const std::string text(version, static_cast<std::size_t>(length));
  return text.substr(0, text.find_first_of(",\n"));
}

}  // namespace indexcache
