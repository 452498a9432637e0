/* A disk that fails: preloaded into an agent, it makes writes or syncs of the files under one folder fail with EIO while the
 * file DISK_FILE says so (struct order). What is failed is not done; everything else goes through. Reads are never failed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2 };

struct order {
        int32_t fails;         /* WRITES, SYNCS */
        _Atomic int32_t count; /* how many calls it failed */
        char under[1024];      /* the folder, with a slash at its end */
};

static struct order *order;

__attribute__((constructor)) static void map_order(void) {
        const char *path = getenv("DISK_FILE");
        int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        if (file < 0)
                return;
        void *page = mmap(NULL, sizeof *order, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (page != MAP_FAILED)
                order = page;
        close(file);
}

static int is_failed(int file, int32_t what) {
        char link[64], path[1100];
        if (!order || !(order->fails & what))
                return 0;
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length < 0 || strncmp(path, order->under, strlen(order->under)) != 0)
                return 0;
        order->count++;
        errno = EIO;
        return 1;
}

ssize_t write(int file, const void *data, size_t size) {
        return is_failed(file, WRITES) ? -1 : syscall(SYS_write, file, data, size);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
        return is_failed(file, WRITES) ? -1 : syscall(SYS_writev, file, parts, count);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
        return is_failed(file, WRITES) ? -1 : syscall(SYS_pwrite64, file, data, size, at);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
        return is_failed(file, WRITES) ? -1 : syscall(SYS_pwrite64, file, data, size, at);
}

int fsync(int file) { return is_failed(file, SYNCS) ? -1 : (int)syscall(SYS_fsync, file); }

int fdatasync(int file) { return is_failed(file, SYNCS) ? -1 : (int)syscall(SYS_fdatasync, file); }
