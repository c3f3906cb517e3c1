/* What processes do to the files under one folder: written down call by call, or made to fail.
 *
 *     cc -shared -fPIC -O2 -o interposer.so interposer.c -lpthread
 *     LD_PRELOAD=./interposer.so python ...      # then interposer_watch(folder, stream)
 *
 * Nothing happens before `interposer_watch`. From then on every call that changes a file or a name under
 * the folder is made under one lock, between threads and between forked processes, and appended to the
 * stream before the lock is let go: so the order in the stream is the order in which things happened.
 * Stores into shared mappings are found by comparing pages at each other entry. Python reads the
 * stream: tools/harness/stream.py has the same layout and the same kinds.
 *
 * `interposer_fail` makes the k-th call that can fail do so; calls are counted over all processes.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { WRITE = 1, SYNC, SIZE, CREATE, MKDIR, LINK, UNLINK, RMDIR, RENAME, STORE, MARK, FAULT };

enum { AT_ONCE_DURABLE = 1, SHRINKS = 2 }; /* flags of WRITE, of SIZE */

enum fault { NO_FAULT, FAIL_ONCE, FAIL_FOR_EVER, SHORT_WRITE, KILL_BEFORE, KILL_AFTER, FAIL_LATE };

/* What is to become of one call; FAILS_LATE: it is done, and says that it failed. */
enum fate { GOES_ON, FAILS, FAILS_LATE };

struct entry {
    uint32_t kind, flags, pid, name_bytes;
    uint64_t inode;  /* of the file or folder that the call is about */
    uint64_t folder; /* of the folder that holds the name */
    uint64_t place;  /* offset; for RENAME the folder that holds the new name */
    uint64_t size;   /* of the file, for SIZE */
    uint32_t new_name_bytes, data_bytes;
};

#define PAGE_BYTES 4096
#define INODES_MAX (1 << 16) /* a power of two; a life makes some hundreds */
#define MAPS_MAX 32

/* Shared by all processes of a life. */
struct shared {
    uint64_t inodes[INODES_MAX];
    long calls, hit;
};

struct map {
    unsigned char *start, *shadow;
    size_t bytes;
    uint64_t inode;
};

static int stream = -1;
static dev_t device;
static struct shared *shared;
static struct map maps[MAPS_MAX];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long fault_call = -1;
static int fault_errno, fault_kind, barriers_only;

/* --- The lock ---------------------------------------------------------------------------- */

static void lock_stream(short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};

    while (fcntl(stream, F_SETLKW, &lock) != 0 && errno == EINTR)
        ;
}

static void enter(void)
{
    pthread_mutex_lock(&mutex);
    /* A record lock: the kernel frees it when its holder is killed. */
    lock_stream(F_WRLCK);
}

static void leave(void)
{
    int saved = errno;

    lock_stream(F_UNLCK);
    pthread_mutex_unlock(&mutex);
    errno = saved;
}

/* --- Which files are ours ------------------------------------------------------------------ */

static uint64_t *slot_of(uint64_t inode)
{
    uint64_t at = inode * 0x9E3779B97F4A7C15ull >> 48;

    while (shared->inodes[at & (INODES_MAX - 1)] != 0 && shared->inodes[at & (INODES_MAX - 1)] != inode)
        at++;
    return &shared->inodes[at & (INODES_MAX - 1)];
}

static int is_ours(const struct stat *found)
{
    return found->st_dev == device && *slot_of(found->st_ino) == found->st_ino;
}

static int watches(int fd, struct stat *found)
{
    int saved = errno;
    int ours = stream >= 0 && fd != stream && fstat(fd, found) == 0 && is_ours(found);

    errno = saved;
    return ours;
}

/* Find the folder that holds the name *path*, and where the name begins in it. */
static const char *name_in(int at, const char *path, struct stat *folder)
{
    char copy[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int saved = errno, found;

    if (slash == NULL) {
        found = at == AT_FDCWD ? stat(".", folder) : fstat(at, folder);
    } else if (slash == path || slash - path >= PATH_MAX) {
        found = stat("/", folder);
    } else {
        memcpy(copy, path, slash - path);
        copy[slash - path] = 0;
        found = fstatat(at, copy, folder, 0);
    }
    errno = saved;
    if (found != 0 || !is_ours(folder))
        return NULL;
    return slash == NULL ? path : slash + 1;
}

/* --- Writing it down -------------------------------------------------------------------------- */

static void append(struct entry entry, const char *name, const char *new_name, const void *data)
{
    struct iovec parts[4];
    ssize_t bytes;

    entry.pid = getpid();
    entry.name_bytes = name ? strlen(name) : 0;
    entry.new_name_bytes = new_name ? strlen(new_name) : 0;
    parts[0] = (struct iovec){&entry, sizeof entry};
    parts[1] = (struct iovec){(void *)name, entry.name_bytes};
    parts[2] = (struct iovec){(void *)new_name, entry.new_name_bytes};
    parts[3] = (struct iovec){(void *)data, entry.data_bytes};
    bytes = sizeof entry + entry.name_bytes + entry.new_name_bytes + entry.data_bytes;
    /* Half an entry would make everything behind it nonsense. */
    if (syscall(SYS_writev, stream, parts, 4) != bytes)
        abort();
}

static void append_stores(struct map *map)
{
    unsigned char page[PAGE_BYTES];
    size_t at, bytes;

    for (at = 0; at < map->bytes; at += PAGE_BYTES) {
        bytes = map->bytes - at < PAGE_BYTES ? map->bytes - at : PAGE_BYTES;
        if (memcmp(map->start + at, map->shadow + at, bytes) == 0)
            continue;
        memcpy(page, map->start + at, bytes); /* other threads go on storing */
        memcpy(map->shadow + at, page, bytes);
        append((struct entry){.kind = STORE, .inode = map->inode, .place = at, .data_bytes = bytes}, NULL, NULL, page);
    }
}

static void append_all_stores(void)
{
    for (int i = 0; i < MAPS_MAX; i++)
        if (maps[i].start != NULL)
            append_stores(&maps[i]);
}

static void note(struct entry entry, const char *name, const char *new_name, const void *data)
{
    int saved = errno;

    append_all_stores();
    append(entry, name, new_name, data);
    errno = saved;
}

/* --- Making it fail ----------------------------------------------------------------------------- */

static void die(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
}

/* A sync that failed: what was on its way to *inode* may be there or not, and no later sync sees to it. */
static void note_failed_sync(uint64_t inode)
{
    append((struct entry){.kind = FAULT, .flags = SYNC, .inode = inode}, NULL, NULL, NULL);
}

/* Decide about one call, inside the lock. *is_cut* is NULL where there is nothing to cut: a sync, or a name. */
static enum fate fate_of_call(int *is_cut, int is_barrier)
{
    long call = shared->calls;

    if (barriers_only && !is_barrier)
        return GOES_ON;
    shared->calls++;

    errno = fault_errno;
    if (fault_kind == NO_FAULT || call < fault_call || (fault_kind == SHORT_WRITE && is_cut == NULL))
        return GOES_ON;
    if (call > fault_call)
        return fault_kind == FAIL_FOR_EVER ? FAILS : GOES_ON;
    shared->hit = 1;
    append((struct entry){.kind = FAULT, .place = call}, NULL, NULL, NULL);
    switch (fault_kind) {
    case KILL_BEFORE:
        die();
        return FAILS;
    case SHORT_WRITE:
        *is_cut = 1;
        return GOES_ON;
    case FAIL_LATE:
        return FAILS_LATE;
    default:
        return fault_kind == KILL_AFTER ? GOES_ON : FAILS;
    }
}

/* End one call that was made: leave the lock, and give what it gives. */
static long end_call(enum fate fate, long done)
{
    if (fault_kind == KILL_AFTER && shared->hit && shared->calls - 1 == fault_call)
        die();
    if (fate != GOES_ON) {
        errno = fault_errno;
        done = -1;
    }
    leave();
    return done;
}

/* --- For the process that is watched --------------------------------------------------------------- */

static void before_fork(void)
{
    pthread_mutex_lock(&mutex);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&mutex);
}

static void after_fork_in_child(void)
{
    memset(maps, 0, sizeof maps);
    pthread_mutex_unlock(&mutex);
}

/* Watch *folder* from now on; 0 when it is watched. Once a process. */
int interposer_watch(const char *folder, const char *stream_path)
{
    struct stat found;
    int low;

    if (stream >= 0 || stat(folder, &found) != 0)
        return -1;
    low = syscall(SYS_openat, AT_FDCWD, stream_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    shared = (void *)syscall(SYS_mmap, NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (low < 0 || shared == MAP_FAILED)
        return -1;
    device = found.st_dev;
    *slot_of(found.st_ino) = found.st_ino;
    pthread_atfork(before_fork, after_fork, after_fork_in_child);
    /* Away from the small numbers, which a program may take for its own. */
    stream = fcntl(low, F_DUPFD_CLOEXEC, 700);
    syscall(SYS_close, low);
    return stream < 0 ? -1 : 0;
}

/* Make call number *call* (from 0) fail as *kind* says; of the barriers alone, if so: what returns when the disk has it. */
void interposer_fail(long call, int kind, int error, int of_barriers)
{
    barriers_only = of_barriers;
    fault_call = call;
    fault_kind = kind;
    fault_errno = error;
}

/* Say how many calls that can fail were made. */
long interposer_calls(void)
{
    return shared == NULL ? 0 : shared->calls;
}

/* Put a mark of the caller's own into the stream. */
void interposer_mark(const void *data, uint32_t bytes)
{
    if (stream < 0)
        return;
    enter();
    note((struct entry){.kind = MARK, .data_bytes = bytes}, NULL, NULL, data);
    leave();
}

/* Write down every store that was made so far, before the memory goes. */
void interposer_settle(void)
{
    if (stream < 0)
        return;
    enter();
    append_all_stores();
    leave();
}

/* Die as by `kill -9`, with everything written down that was done; never between a call and its entry. */
void interposer_die(void)
{
    enter();
    append_all_stores();
    die();
}

/* --- Data ------------------------------------------------------------------------------------------- */

static uint32_t durability_of(int fd)
{
    /* O_SYNC has the bit of O_DSYNC in it. */
    return fcntl(fd, F_GETFL) & O_DSYNC ? AT_ONCE_DURABLE : 0;
}

/* One write of any form. *at* is -1 where the descriptor's own position counts. */
static ssize_t written(int fd, const struct iovec *parts, int count, off64_t at)
{
    struct stat found;
    struct iovec half;
    ssize_t done;
    off64_t place;
    int is_cut = 0;
    enum fate fate;

    if (!watches(fd, &found))
        return at < 0 ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, at, 0);
    enter();
    fate = fate_of_call(&is_cut, durability_of(fd));
    if (fate == FAILS)
        return end_call(fate, -1);
    if (is_cut) {
        half = (struct iovec){parts[0].iov_base, parts[0].iov_len / 2};
        parts = &half;
        count = 1;
    }
    done = at < 0 ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, at, 0);
    if (done > 0) {
        char *data = malloc(done), *end = data;

        for (int i = 0; end < data + done; i++) {
            size_t bytes = parts[i].iov_len, left = data + done - end;

            end = mempcpy(end, parts[i].iov_base, bytes < left ? bytes : left);
        }
        place = at < 0 ? lseek(fd, 0, SEEK_CUR) - done : at;
        note((struct entry){.kind = WRITE,
                            .flags = fate == GOES_ON ? durability_of(fd) : 0,
                            .inode = found.st_ino,
                            .place = place,
                            .data_bytes = done},
             NULL, NULL, data);
        free(data);
        if (fate == FAILS_LATE && durability_of(fd))
            note_failed_sync(found.st_ino);
    }
    return end_call(fate, done);
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    struct stat found;
    struct iovec part = {(void *)data, bytes};

    if (!watches(fd, &found))
        return syscall(SYS_write, fd, data, bytes);
    return written(fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return written(fd, parts, count, -1);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t at)
{
    struct iovec part = {(void *)data, bytes};

    return written(fd, &part, 1, at);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    return pwrite64(fd, data, bytes, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at)
{
    return written(fd, parts, count, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    return written(fd, parts, count, at);
}

static int synced(long number, int fd)
{
    struct stat found;
    enum fate fate;
    int done;

    if (!watches(fd, &found))
        return syscall(number, fd);
    enter();
    fate = fate_of_call(NULL, 1);
    if (fate != GOES_ON) {
        append_all_stores();
        note_failed_sync(found.st_ino);
        return end_call(fate, -1);
    }
    done = syscall(number, fd);
    if (done == 0)
        note((struct entry){.kind = SYNC, .inode = found.st_ino}, NULL, NULL, NULL);
    return end_call(fate, done);
}

int fsync(int fd)
{
    return synced(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return synced(SYS_fdatasync, fd);
}

static void note_size(int fd, uint64_t before)
{
    struct stat found;

    if (fstat(fd, &found) == 0 && (uint64_t)found.st_size != before)
        note((struct entry){.kind = SIZE,
                            .flags = (uint64_t)found.st_size < before ? SHRINKS : 0,
                            .inode = found.st_ino,
                            .size = found.st_size},
             NULL, NULL, NULL);
}

int ftruncate64(int fd, off64_t bytes)
{
    struct stat found;
    enum fate fate;
    int done;

    if (!watches(fd, &found))
        return syscall(SYS_ftruncate, fd, bytes);
    enter();
    fate = fate_of_call(NULL, 0);
    if (fate == FAILS)
        return end_call(fate, -1);
    fstat(fd, &found);
    done = syscall(SYS_ftruncate, fd, bytes);
    if (done == 0)
        note_size(fd, found.st_size);
    return end_call(fate, done);
}

int ftruncate(int fd, off_t bytes)
{
    return ftruncate64(fd, bytes);
}

/* Gives the error's number and leaves errno alone, unlike all others. */
int posix_fallocate64(int fd, off64_t at, off64_t bytes)
{
    struct stat found;
    enum fate fate;
    int saved = errno, done, error;

    if (!watches(fd, &found)) {
        done = syscall(SYS_fallocate, fd, 0, at, bytes);
    } else {
        enter();
        fate = fate_of_call(NULL, 0);
        done = -1;
        if (fate != FAILS) {
            fstat(fd, &found);
            done = syscall(SYS_fallocate, fd, 0, at, bytes);
            if (done == 0)
                note_size(fd, found.st_size);
        }
        done = end_call(fate, done);
    }
    error = done == 0 ? 0 : errno;
    errno = saved;
    return error;
}

int posix_fallocate(int fd, off_t at, off_t bytes)
{
    return posix_fallocate64(fd, at, bytes);
}

/* --- Names ------------------------------------------------------------------------------------------- */

static int opened(int at, const char *path, int flags, mode_t mode)
{
    struct stat folder, found;
    const char *name;
    enum fate fate = GOES_ON;
    int fd, existed;

    if (stream < 0 || !(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE)
        return syscall(SYS_openat, at, path, flags, mode);
    enter();
    name = name_in(at, path, &folder);
    existed = name != NULL && fstatat(at, path, &found, 0) == 0;
    if (name != NULL && !existed)
        fate = fate_of_call(NULL, 0);
    if (fate == FAILS)
        return end_call(fate, -1);
    fd = syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0 && name != NULL) {
        if (existed) {
            if (flags & O_TRUNC)
                note_size(fd, found.st_size);
        } else if (fstat(fd, &found) == 0) {
            *slot_of(found.st_ino) = found.st_ino;
            note((struct entry){.kind = CREATE, .inode = found.st_ino, .folder = folder.st_ino}, name, NULL, NULL);
        }
    }
    if (fate == FAILS_LATE && fd >= 0)
        syscall(SYS_close, fd);
    if (name != NULL && !existed)
        return end_call(fate, fd);
    leave();
    return fd;
}

#define MODE_OF(flags, last) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list arguments; \
        va_start(arguments, last); \
        mode = va_arg(arguments, mode_t); \
        va_end(arguments); \
    }

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int open(const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return opened(AT_FDCWD, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return opened(at, path, flags | O_LARGEFILE, mode);
}

int openat(int at, const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return opened(at, path, flags, mode);
}

int mkdirat(int at, const char *path, mode_t mode)
{
    struct stat folder, found;
    const char *name;
    enum fate fate = GOES_ON;
    int done;

    if (stream < 0)
        return syscall(SYS_mkdirat, at, path, mode);
    enter();
    name = name_in(at, path, &folder);
    if (name != NULL)
        fate = fate_of_call(NULL, 0);
    if (fate == FAILS)
        return end_call(fate, -1);
    done = syscall(SYS_mkdirat, at, path, mode);
    if (done == 0 && name != NULL && fstatat(at, path, &found, 0) == 0) {
        *slot_of(found.st_ino) = found.st_ino;
        note((struct entry){.kind = MKDIR, .inode = found.st_ino, .folder = folder.st_ino}, name, NULL, NULL);
    }
    return end_call(fate, done);
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int unlinkat(int at, const char *path, int flags)
{
    struct stat folder, found;
    const char *name;
    enum fate fate = GOES_ON;
    int done;

    if (stream < 0)
        return syscall(SYS_unlinkat, at, path, flags);
    enter();
    name = name_in(at, path, &folder);
    if (name != NULL && fstatat(at, path, &found, AT_SYMLINK_NOFOLLOW) != 0)
        name = NULL;
    if (name != NULL)
        fate = fate_of_call(NULL, 0);
    if (fate == FAILS)
        return end_call(fate, -1);
    done = syscall(SYS_unlinkat, at, path, flags);
    if (name != NULL && done == 0)
        note((struct entry){.kind = flags & AT_REMOVEDIR ? RMDIR : UNLINK,
                            .inode = found.st_ino,
                            .folder = folder.st_ino},
             name, NULL, NULL);
    return end_call(fate, done);
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int renameat(int at, const char *path, int new_at, const char *new_path)
{
    struct stat folder, new_folder, found;
    const char *name, *new_name;
    enum fate fate = GOES_ON;
    int done, is_seen;

    if (stream < 0)
        return syscall(SYS_renameat2, at, path, new_at, new_path, 0);
    enter();
    name = name_in(at, path, &folder);
    new_name = name_in(new_at, new_path, &new_folder);
    is_seen = name != NULL && new_name != NULL && fstatat(at, path, &found, AT_SYMLINK_NOFOLLOW) == 0;
    if (is_seen)
        fate = fate_of_call(NULL, 0);
    if (fate == FAILS)
        return end_call(fate, -1);
    done = syscall(SYS_renameat2, at, path, new_at, new_path, 0);
    if (is_seen && done == 0)
        note((struct entry){.kind = RENAME,
                            .inode = found.st_ino,
                            .folder = folder.st_ino,
                            .place = new_folder.st_ino},
             name, new_name, NULL);
    return end_call(fate, done);
}

int rename(const char *path, const char *new_path)
{
    return renameat(AT_FDCWD, path, AT_FDCWD, new_path);
}

int linkat(int at, const char *path, int new_at, const char *new_path, int flags)
{
    struct stat folder, found;
    const char *name;
    int done;

    if (stream < 0)
        return syscall(SYS_linkat, at, path, new_at, new_path, flags);
    enter();
    name = name_in(new_at, new_path, &folder);
    done = syscall(SYS_linkat, at, path, new_at, new_path, flags);
    if (done == 0 && name != NULL && fstatat(new_at, new_path, &found, 0) == 0)
        note((struct entry){.kind = LINK, .inode = found.st_ino, .folder = folder.st_ino}, name, NULL, NULL);
    leave();
    return done;
}

int link(const char *path, const char *new_path)
{
    return linkat(AT_FDCWD, path, AT_FDCWD, new_path, 0);
}

/* --- Memory ------------------------------------------------------------------------------------------- */

static void *mapped(void *wanted, size_t bytes, int protection, int flags, int fd, off64_t at)
{
    void *start = (void *)syscall(SYS_mmap, wanted, bytes, protection, flags, fd, at);
    struct stat found;

    if (start == MAP_FAILED || at != 0 || !(protection & PROT_WRITE) || !(flags & MAP_SHARED) || !watches(fd, &found))
        return start;
    enter();
    for (int i = 0; i < MAPS_MAX; i++) {
        if (maps[i].start != NULL)
            continue;
        maps[i] = (struct map){start, malloc(bytes), bytes, found.st_ino};
        memcpy(maps[i].shadow, start, bytes);
        break;
    }
    leave();
    return start;
}

void *mmap64(void *wanted, size_t bytes, int protection, int flags, int fd, off64_t at)
{
    return mapped(wanted, bytes, protection, flags, fd, at);
}

void *mmap(void *wanted, size_t bytes, int protection, int flags, int fd, off_t at)
{
    return mapped(wanted, bytes, protection, flags, fd, at);
}

int munmap(void *start, size_t bytes)
{
    if (stream >= 0) {
        for (int i = 0; i < MAPS_MAX; i++) {
            if (maps[i].start != start)
                continue;
            enter();
            append_stores(&maps[i]);
            free(maps[i].shadow);
            maps[i].start = NULL;
            leave();
        }
    }
    return syscall(SYS_munmap, start, bytes);
}
