/* A wall clock that is wrong: preloaded into an agent, it shifts what the agent's libc tells as the time of day by the
 * seconds in the file CLOCK_FILE (8 bytes, little-endian), read again at every call so that the clock can jump. Monotonic
 * and boot clocks stay as they are. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *shift_s;

__attribute__((constructor)) static void map_shift(void) {
        const char *path = getenv("CLOCK_FILE");
        int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (file < 0)
                return;
        void *page = mmap(NULL, sizeof *shift_s, PROT_READ, MAP_SHARED, file, 0);
        if (page != MAP_FAILED)
                shift_s = page;
        close(file);
}

static int64_t shift(void) { return shift_s ? *shift_s : 0; }

int clock_gettime(clockid_t clock, struct timespec *now) {
        int failed = (int)syscall(SYS_clock_gettime, clock, now);
        if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
                now->tv_sec += shift();
        return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
        int failed = (int)syscall(SYS_gettimeofday, now, zone);
        if (!failed)
                now->tv_sec += shift();
        return failed;
}

time_t time(time_t *result) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        if (result)
                *result = now.tv_sec;
        return now.tv_sec;
}
