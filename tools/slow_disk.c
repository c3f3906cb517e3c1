/* A slow disk on a fast one: every barrier takes SLOW_DISK_US microseconds longer.
 *
 *     cc -shared -fPIC -O2 -o slow_disk.so slow_disk.c -ldl
 *     LD_PRELOAD=./slow_disk.so SLOW_DISK_US=5000 python ...
 *
 * A barrier is a call that returns when the disk has the data: fsync, fdatasync, msync(MS_SYNC), and
 * a write to a descriptor opened with O_DSYNC or O_SYNC. LMDB writes its meta page through such a one,
 * so a library that delayed only the syncs would make LMDB look twice as quick as it is.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct timespec delay;

__attribute__((constructor)) static void read_delay(void)
{
    const char *text = getenv("SLOW_DISK_US");
    long us = text ? atol(text) : 0;

    delay.tv_sec = us / 1000000;
    delay.tv_nsec = us % 1000000 * 1000;
}

/* Keeps errno, because it may be what the real call left behind. */
static void wait_for_disk(void)
{
    struct timespec left = delay;
    int saved = errno;

    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
    errno = saved;
}

static void wait_if_synchronous(int fd)
{
    int saved = errno;
    int flags = fcntl(fd, F_GETFL);

    errno = saved;
    /* O_SYNC has the bit of O_DSYNC in it. */
    if (flags != -1 && (flags & O_DSYNC))
        wait_for_disk();
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

int fsync(int fd)
{
    REAL(fsync);
    wait_for_disk();
    return real(fd);
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    wait_for_disk();
    return real(fd);
}

int msync(void *address, size_t length, int flags)
{
    REAL(msync);
    if (flags & MS_SYNC)
        wait_for_disk();
    return real(address, length, flags);
}

ssize_t write(int fd, const void *data, size_t count)
{
    REAL(write);
    wait_if_synchronous(fd);
    return real(fd, data, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev);
    wait_if_synchronous(fd);
    return real(fd, parts, count);
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t offset)
{
    REAL(pwrite);
    wait_if_synchronous(fd);
    return real(fd, data, count, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t offset)
{
    REAL(pwrite64);
    wait_if_synchronous(fd);
    return real(fd, data, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    REAL(pwritev);
    wait_if_synchronous(fd);
    return real(fd, parts, count, offset);
}

/* Python's os.pwritev is this one. */
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    REAL(pwritev2);
    wait_if_synchronous(fd);
    return real(fd, parts, count, offset, flags);
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags)
{
    REAL(pwritev64v2);
    wait_if_synchronous(fd);
    return real(fd, parts, count, offset, flags);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    REAL(pwritev64);
    wait_if_synchronous(fd);
    return real(fd, parts, count, offset);
}
