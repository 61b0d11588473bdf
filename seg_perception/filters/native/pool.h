// One pool of threads for all filters of this process. No OpenMP: two runtimes in one process would
// fight for the cores.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

namespace segf {

class Pool {
 public:
  using Task = std::function<void(int part)>;

  static Pool& instance();

  // How many threads work on a call of this thread, the caller included.
  int size() const { return std::min(full_size(), limit_); }
  int full_size() const { return size_.load(std::memory_order_relaxed); }
  void resize(int size);
  // At most so many for the calls of this thread from now on; gives what it was.
  static int limit(int threads);

  // Runs task(0) ... task(parts - 1) and returns when all are done. May be called from several
  // threads at once. Throws std::bad_alloc if a task did.
  void run(int parts, const Task& task);

  ~Pool();

 private:
  struct Job {
    const Task& task;
    const int parts;
    std::atomic<int> next{0};
    std::atomic<int> helpers{0};
    std::atomic<bool> failed{false};
  };

  void work_on(Job& job);
  void serve();
  void start_workers();

  static thread_local int limit_;

  std::atomic<int> size_{1};
  std::atomic<int> open_{0};  // jobs with parts that nobody has taken yet
  std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Job*> jobs_;
  std::vector<std::thread> workers_;
  bool stop_ = false;
};

// Part `part` of `parts` equal shares of [0, count).
struct Share {
  long first, last;
  Share(long count, int part, int parts)
      : first(count * part / parts), last(count * (part + 1) / parts) {}
};

}  // namespace segf
