/* Processes to be watched. Usage: target MARK PROCESSES THREADS WAKES
 * Starts PROCESSES children of THREADS threads each; every thread wakes WAKES times a second, spread over
 * the second, computes for some 20 us and sleeps again (0: it sleeps for good). Prints the children's pids,
 * lives until stdin ends, and takes them with it. MARK is what a sampler may look for.
 * Built by bench/watch.py. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static int wakes;

static _Noreturn void *live(void *place) {
  struct timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  next.tv_nsec = (long)place;
  next.tv_sec++;
  long step = wakes ? 1000000000L / wakes : 0;
  while (wakes) {
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    for (volatile int i = 0; i < 20000; i++) {
    }
    next.tv_nsec += step;
    while (next.tv_nsec >= 1000000000L) next.tv_nsec -= 1000000000L, next.tv_sec++;
  }
  for (;;) pause();
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  int processes = atoi(argv[2]), threads = atoi(argv[3]);
  wakes = atoi(argv[4]);
  pid_t pids[processes + 1];
  for (int i = 0; i < processes; i++) {
    pids[i] = fork();
    if (pids[i] == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      close(0), close(1);
      pthread_t thread;
      for (int k = 1; k < threads; k++)
        if (pthread_create(&thread, NULL, live, (void *)((i * 7919L + k * 104729L) % 1000 * 1000000L))) return 1;
      live((void *)(i * 7919L % 1000 * 1000000L));
    }
    if (pids[i] < 0) return 1;
  }
  for (int i = 0; i < processes; i++) printf("%d ", pids[i]);
  printf("\n");
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
  for (int i = 0; i < processes; i++) kill(pids[i], SIGKILL);
}
