/* Loaded before libc: makes the n-th of some system calls on files below a folder fail, once or from then on; and has
   the clock on the wall jump, not the one that only counts. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, RESIZE = 4, OPEN = 8, RENAME = 16, READ = 32 };

static char folder[4096];
static int kinds, error_number, lasting;
static long remaining = -1, failures;

/* Called from the tests. */
void fault_arm(const char *below, int which, long nth, int with, int from_then_on) {
    strncpy(folder, below, sizeof folder - 1);
    kinds = which;
    error_number = with;
    lasting = from_then_on;
    failures = 0;
    remaining = nth;
}

long fault_disarm(void) {
    remaining = -1;
    return failures;
}

static int fails(int kind) {
    if (remaining < 0 || !(kinds & kind)) return 0;
    if (remaining > 1) {
        remaining--;
        return 0;
    }
    if (!lasting) remaining = -1;
    failures++;
    errno = error_number;
    return 1;
}

static int path_fails(int kind, const char *path) {
    return remaining >= 0 && path && strncmp(path, folder, strlen(folder)) == 0 && fails(kind);
}

static int descriptor_fails(int kind, int descriptor) {
    char link[64], path[4096];
    if (remaining < 0 || !(kinds & kind)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return path_fails(kind, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *from, size_t size) {
    return descriptor_fails(WRITE, fd) ? -1 : REAL(write)(fd, from, size);
}
ssize_t pwrite(int fd, const void *from, size_t size, off_t at) {
    return descriptor_fails(WRITE, fd) ? -1 : REAL(pwrite)(fd, from, size, at);
}
ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at) {
    return descriptor_fails(WRITE, fd) ? -1 : REAL(pwrite64)(fd, from, size, at);
}
ssize_t pread(int fd, void *into, size_t size, off_t at) {
    return descriptor_fails(READ, fd) ? -1 : REAL(pread)(fd, into, size, at);
}
ssize_t pread64(int fd, void *into, size_t size, off64_t at) {
    return descriptor_fails(READ, fd) ? -1 : REAL(pread64)(fd, into, size, at);
}
int fsync(int fd) { return descriptor_fails(SYNC, fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return descriptor_fails(SYNC, fd) ? -1 : REAL(fdatasync)(fd); }
int ftruncate(int fd, off_t size) { return descriptor_fails(RESIZE, fd) ? -1 : REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { return descriptor_fails(RESIZE, fd) ? -1 : REAL(ftruncate64)(fd, size); }
int rename(const char *from, const char *to) { return path_fails(RENAME, from) ? -1 : REAL(rename)(from, to); }
int unlink(const char *path) { return path_fails(RENAME, path) ? -1 : REAL(unlink)(path); }

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return path_fails(OPEN, path) ? -1 : REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return path_fails(OPEN, path) ? -1 : REAL(open64)(path, flags, mode);
}

static long shift_s;

void clock_jump(long by_s) { shift_s = by_s; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = REAL(clock_gettime)(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += shift_s;
    return result;
}
time_t time(time_t *now) {
    time_t seconds = REAL(time)(NULL) + shift_s;
    if (now) *now = seconds;
    return seconds;
}
