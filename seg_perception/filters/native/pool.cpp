#include "pool.h"

#include <pthread.h>

#include <limits>
#include <new>
#include <utility>

namespace segf {
namespace {

// A filter has a dozen short steps: who waits for the next one spins this long before it sleeps.
constexpr int kSpins = 4000;

Pool* the_pool = nullptr;
std::once_flag made;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A forked child (torch's data loaders) has none of its parent's threads: it starts with a new pool.
void forget_after_fork() {
  const int size = the_pool->full_size();
  the_pool = new Pool;
  the_pool->resize(size);
}

}  // namespace

thread_local int Pool::limit_ = std::numeric_limits<int>::max();

int Pool::limit(int threads) { return std::exchange(limit_, threads); }

Pool& Pool::instance() {
  std::call_once(made, [] {
    the_pool = new Pool;
    pthread_atfork(nullptr, nullptr, forget_after_fork);
  });
  return *the_pool;
}

Pool::~Pool() { resize(1); }

void Pool::resize(int size) {
  std::vector<std::thread> leaving;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    size_ = size;
    stop_ = true;
    leaving.swap(workers_);
  }
  wake_.notify_all();
  for (std::thread& worker : leaving) worker.join();
  std::lock_guard<std::mutex> lock(mutex_);
  stop_ = false;
}

void Pool::run(int parts, const Task& task) {
  if (parts <= 1 || size() <= 1) {
    for (int part = 0; part < parts; ++part) task(part);
    return;
  }
  Job job{task, parts};
  std::list<Job*>::iterator place;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    start_workers();
    place = jobs_.insert(jobs_.end(), &job);
    open_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  work_on(job);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    jobs_.erase(place);
  }
  for (int spins = 0; job.helpers.load(std::memory_order_acquire) > 0; ++spins) {
    if (spins < kSpins) relax();
    else std::this_thread::yield();
  }
  if (job.failed) throw std::bad_alloc();
}

void Pool::work_on(Job& job) {
  for (;;) {
    const int part = job.next.fetch_add(1);
    if (part >= job.parts) return;
    if (part == job.parts - 1) open_.fetch_sub(1);
    try {
      job.task(part);
    } catch (const std::bad_alloc&) {
      job.failed = true;
    }
  }
}

void Pool::start_workers() {
  // While resize() waits for those who leave, new ones would leave at once.
  while (!stop_ && static_cast<int>(workers_.size()) < size() - 1) {
    workers_.emplace_back([this] { serve(); });
  }
}

void Pool::serve() {
  for (;;) {
    for (int spins = 0; spins < kSpins && open_.load(std::memory_order_acquire) == 0; ++spins) {
      relax();
    }
    Job* mine = nullptr;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || open_.load() > 0; });
      if (stop_) return;
      for (Job* job : jobs_) {
        if (job->next.load() < job->parts) mine = job;
      }
      if (mine) mine->helpers.fetch_add(1);
    }
    if (!mine) continue;
    work_on(*mine);
    mine->helpers.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace segf
