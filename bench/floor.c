/* The floor of a process sampler: stat and statm of each pid kept open, read with pread once a second,
 * one row written for each. Usage: floor PID...   Built by bench/bench_collect.py. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int open_file(const char *pid, const char *name) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
  return open(path, O_RDONLY | O_CLOEXEC);
}

int main(int argc, char **argv) {
  int *fds = malloc(sizeof(int) * 2 * argc);
  for (int i = 1; i < argc; i++) {
    fds[2 * i] = open_file(argv[i], "stat");
    fds[2 * i + 1] = open_file(argv[i], "statm");
  }
  struct timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  for (;;) {
    char stat[1024], statm[256];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    long long ms = now.tv_sec * 1000LL + now.tv_nsec / 1000000;
    for (int i = 1; i < argc; i++) {
      ssize_t n = pread(fds[2 * i], stat, sizeof stat - 1, 0);
      ssize_t m = pread(fds[2 * i + 1], statm, sizeof statm - 1, 0);
      if (n <= 0 || m <= 0) continue;
      stat[n] = statm[m] = 0;
      char *field = strrchr(stat, ')') + 2;
      for (int k = 0; k < 11; k++) field = strchr(field, ' ') + 1;
      unsigned long utime = strtoul(field, &field, 10), stime = strtoul(field, &field, 10);
      unsigned long pages = strtoul(strchr(statm, ' ') + 1, NULL, 10);
      printf("{\"ts_ms\":%lld,\"pid\":%s,\"rss_kb\":%lu,\"utime\":%lu,\"stime\":%lu}\n", ms, argv[i], pages * 4,
             utime, stime);
    }
    fflush(stdout);
    next.tv_sec++;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
  }
}
