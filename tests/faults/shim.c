/*
 * A disk, a clock and a death on demand.
 *
 * Loaded with LD_PRELOAD into the server. It watches what the process does with
 * the files below FAULT_FOLDER and does what the words in the file FAULT_CONTROL
 * say. The test writes those words while the server runs, and reads them after
 * it was killed. With FAULT_JOURNAL every change of a file and every sync is
 * written down there, so that the test can tell what a power cut would have left
 * at any moment; the journal is then the disk, and nothing is synced in earnest.
 *
 * What it does itself goes to the kernel by syscall(2): a call of its own must
 * not come back to it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The numbers below stand in shim.rs as well. */
enum operation { WRITE = 1, SYNC = 2, OPEN = 4, RENAME = 8, UNLINK = 16, READ = 32 };
enum kind { LOG = 1, TABLE = 2, MANIFEST = 4, CURRENT = 8, HEAD = 16, AUDIT = 32, FOLDER = 64, OTHER = 128 };
enum action { NOTHING, KILL_BEFORE, KILL_AFTER, KILL_AT_ANSWER, FAIL };
enum record { OPENED = 1, WRITTEN, TRUNCATED, SYNCED, RENAMED, UNLINKED, MADE };

struct control {
    _Atomic uint64_t action;     /* what happens, ... */
    _Atomic uint64_t operations; /* ... at one of these operations */
    _Atomic uint64_t kinds;      /* on one of these kinds of file, ... */
    _Atomic uint64_t nth;        /* the n-th from now on */
    _Atomic uint64_t hits;       /* so many have come */
    _Atomic uint64_t fired;      /* whether it has happened */
    _Atomic uint64_t stall_ms;   /* each sync takes so long */
    _Atomic uint64_t limited;    /* whether the disk can be full */
    _Atomic int64_t room;        /* bytes that still fit */
    _Atomic uint64_t drops;      /* writes and syncs that are not done and reported as done */
    _Atomic int64_t step_ms;     /* the clock is set on by so much */
    _Atomic int64_t frozen_ms;   /* the clock stands still at this time, if not 0 */
    _Atomic uint64_t committing; /* whether the log was written and not yet synced */
    _Atomic uint64_t refused;    /* writes that found the disk full */
};

#define FILES 65536

static struct control *control;
static const char *folder;
static size_t folder_length;
static int journal = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int answering;
/* Of each descriptor the kind of its file, 0 if it is none of ours, and the number of its opening. */
static struct { _Atomic uint32_t kind; uint64_t number; } files[FILES];
static uint64_t openings;

__attribute__((constructor)) static void load(void)
{
    const char *path = getenv("FAULT_CONTROL");
    folder = getenv("FAULT_FOLDER");
    if (!path || !folder) return;
    folder_length = strlen(folder);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) abort();
    void *words = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (words == MAP_FAILED) abort();
    control = words;
    syscall(SYS_close, fd);
    if ((path = getenv("FAULT_JOURNAL"))) {
        journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (journal < 0) abort();
    }
}

/* The path below the folder; NULL if it lies elsewhere. */
static const char *below(const char *path)
{
    if (!control || strncmp(path, folder, folder_length) != 0) return NULL;
    if (path[folder_length] == '\0') return path + folder_length;
    return path[folder_length] == '/' ? path + folder_length + 1 : NULL;
}

static int ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

static uint32_t kind_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (ends_with(name, ".log")) return LOG;
    if (ends_with(name, ".sst")) return TABLE;
    if (strncmp(name, "MANIFEST", 8) == 0) return MANIFEST;
    if (strcmp(name, "CURRENT") == 0 || ends_with(name, ".dbtmp")) return CURRENT;
    if (strcmp(name, "HEAD") == 0) return HEAD;
    if (strcmp(name, "audit.jsonl") == 0) return AUDIT;
    return OTHER;
}

static uint32_t kind_at(int fd)
{
    return control && fd >= 0 && fd < FILES ? files[fd].kind : 0;
}

static void die(void)
{
    control->fired = 1;
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* Counts an operation. Returns 0 to go on, 1 if `aftermath` is to follow it, and
 * -1 if it has failed. */
static int strike(uint64_t operation, uint32_t kind)
{
    if (!kind || control->action == NOTHING) return 0;
    if (!(control->operations & operation) || !(control->kinds & kind)) return 0;
    if (atomic_fetch_add(&control->hits, 1) + 1 != control->nth) return 0;
    switch (control->action) {
    case KILL_BEFORE:
        die();
        return 0;
    case FAIL:
        control->fired = 1;
        errno = EIO;
        return -1;
    default:
        return 1;
    }
}

static void aftermath(void)
{
    if (control->action == KILL_AFTER) die();
    answering = 1;
}

/* Called with the lock held. */
static void record(uint64_t what, uint64_t number, uint64_t place, const void *bytes, size_t length)
{
    if (journal < 0) return;
    uint64_t header[4] = { what, number, place, length };
    struct iovec parts[2] = { { header, sizeof header }, { (void *)bytes, length } };
    if (syscall(SYS_writev, journal, parts, 2) != (long)(sizeof header + length)) abort();
}

/* How many of these bytes still fit on the disk. Called with the lock held. */
static size_t that_fit(int fd, size_t count, off_t at)
{
    struct stat status;
    if (!control->limited || fstat(fd, &status) != 0) return count;
    int64_t growth = at + (int64_t)count - status.st_size;
    if (growth <= 0) return count;
    if (growth <= control->room) {
        control->room -= growth;
        return count;
    }
    control->refused += 1;
    int64_t over = growth - control->room;
    if (over >= (int64_t)count) return 0;
    control->room = 0;
    return count - (size_t)over;
}

static ssize_t put(int fd, const void *bytes, size_t count, off_t at, int is_placed)
{
    uint32_t kind = kind_at(fd);
    if (!kind) {
        return is_placed ? syscall(SYS_pwrite64, fd, bytes, count, at) : syscall(SYS_write, fd, bytes, count);
    }
    int follows = strike(WRITE, kind);
    if (follows < 0) return -1;
    if (control->drops & WRITE) return (ssize_t)count;
    pthread_mutex_lock(&lock);
    if (kind == LOG) control->committing = 1;
    if (!is_placed) {
        int is_append = (int)syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND;
        at = syscall(SYS_lseek, fd, 0, is_append ? SEEK_END : SEEK_CUR);
    }
    size_t fit = that_fit(fd, count, at);
    ssize_t done = -1;
    if (fit == 0 && count > 0) {
        errno = ENOSPC;
    } else {
        done = is_placed ? syscall(SYS_pwrite64, fd, bytes, fit, at) : syscall(SYS_write, fd, bytes, fit);
    }
    int error = errno;
    if (done > 0) record(WRITTEN, files[fd].number, (uint64_t)at, bytes, (size_t)done);
    pthread_mutex_unlock(&lock);
    if (follows) aftermath();
    errno = error;
    return done;
}

static int settle(int fd, long call)
{
    uint32_t kind = kind_at(fd);
    if (!kind) return (int)syscall(call, fd);
    int follows = strike(SYNC, kind);
    if (follows < 0) return -1;
    if (control->drops & SYNC) return 0;
    uint64_t stall = control->stall_ms;
    if (stall) {
        struct timespec pause = { (time_t)(stall / 1000), (long)(stall % 1000) * 1000000 };
        syscall(SYS_nanosleep, &pause, NULL);
    }
    int done = journal < 0 ? (int)syscall(call, fd) : 0, error = errno;
    pthread_mutex_lock(&lock);
    record(SYNCED, files[fd].number, 0, NULL, 0);
    if (kind == LOG) control->committing = 0;
    pthread_mutex_unlock(&lock);
    if (follows) aftermath();
    errno = error;
    return done;
}

static int open_at(const char *path, int flags, mode_t mode)
{
    const char *name = below(path);
    uint32_t kind = name ? kind_of(name) : 0;
    int follows = strike(OPEN, kind);
    if (follows < 0) return -1;
    pthread_mutex_lock(&lock);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), error = errno;
    if (fd >= 0 && fd < FILES) {
        struct stat status;
        if (kind && fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) kind = FOLDER;
        files[fd].kind = kind;
        files[fd].number = kind ? ++openings : 0;
        if (kind) record(OPENED, openings, (flags & O_TRUNC) != 0, name, strlen(name));
    }
    pthread_mutex_unlock(&lock);
    if (follows && fd >= 0) aftermath();
    errno = error;
    return fd;
}

static mode_t mode_of(int flags, va_list list)
{
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(list, int) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_at(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_at(path, flags, mode);
}

int close(int fd)
{
    if (kind_at(fd)) files[fd].kind = 0;
    return (int)syscall(SYS_close, fd);
}

ssize_t write(int fd, const void *bytes, size_t count) { return put(fd, bytes, count, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return put(fd, bytes, count, at, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) { return put(fd, bytes, count, at, 1); }
int fsync(int fd) { return settle(fd, SYS_fsync); }
int fdatasync(int fd) { return settle(fd, SYS_fdatasync); }

ssize_t read(int fd, void *bytes, size_t count)
{
    uint32_t kind = kind_at(fd);
    if (kind && strike(READ, kind) < 0) return -1;
    return syscall(SYS_read, fd, bytes, count);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t at)
{
    uint32_t kind = kind_at(fd);
    if (kind && strike(READ, kind) < 0) return -1;
    return syscall(SYS_pread64, fd, bytes, count, at);
}

ssize_t pread64(int fd, void *bytes, size_t count, off_t at) { return pread(fd, bytes, count, at); }

static int truncate_at(int fd, off_t length)
{
    uint32_t kind = kind_at(fd);
    struct stat status;
    pthread_mutex_lock(&lock);
    int known = kind && fstat(fd, &status) == 0;
    int done = (int)syscall(SYS_ftruncate, fd, length), error = errno;
    if (kind && done == 0) {
        record(TRUNCATED, files[fd].number, (uint64_t)length, NULL, 0);
        if (known && status.st_size > length) control->room += status.st_size - length;
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int ftruncate(int fd, off_t length) { return truncate_at(fd, length); }
int ftruncate64(int fd, off_t length) { return truncate_at(fd, length); }

int fallocate(int fd, int mode, off_t at, off_t length)
{
    /* Room is reserved beyond the end of the file; a full disk has none. */
    if (kind_at(fd) && control->limited && control->room < length) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, at, length);
}

int rename(const char *from, const char *to)
{
    const char *old = below(from), *new = below(to);
    int follows = strike(RENAME, new ? kind_of(new) : 0);
    if (follows < 0) return -1;
    pthread_mutex_lock(&lock);
    int done = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0), error = errno;
    if (done == 0 && old && new) {
        char names[2 * PATH_MAX];
        size_t length = strlen(old) + 1;
        memcpy(names, old, length);
        memcpy(names + length, new, strlen(new));
        record(RENAMED, 0, 0, names, length + strlen(new));
    }
    pthread_mutex_unlock(&lock);
    if (follows) aftermath();
    errno = error;
    return done;
}

int unlink(const char *path)
{
    const char *name = below(path);
    int follows = strike(UNLINK, name ? kind_of(name) : 0);
    if (follows < 0) return -1;
    struct stat status;
    pthread_mutex_lock(&lock);
    int known = name && stat(path, &status) == 0;
    int done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0), error = errno;
    if (done == 0 && name) {
        record(UNLINKED, 0, 0, name, strlen(name));
        if (known) control->room += status.st_size;
    }
    pthread_mutex_unlock(&lock);
    if (follows) aftermath();
    errno = error;
    return done;
}

int mkdir(const char *path, mode_t mode)
{
    const char *name = below(path);
    pthread_mutex_lock(&lock);
    int done = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode), error = errno;
    if (done == 0 && name) record(MADE, 0, 0, name, strlen(name));
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

/* What the server says to its callers leaves through these two. */
ssize_t send(int fd, const void *bytes, size_t count, int flags)
{
    if (answering) die();
    return syscall(SYS_sendto, fd, bytes, count, flags, NULL, 0);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (answering && fd > STDERR_FILENO) die();
    return syscall(SYS_writev, fd, parts, count);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int done = (int)syscall(SYS_clock_gettime, clock, time);
    if (done != 0 || clock != CLOCK_REALTIME || !control) return done;
    int64_t ms = (int64_t)time->tv_sec * 1000 + time->tv_nsec / 1000000;
    ms = control->frozen_ms ? control->frozen_ms : ms + control->step_ms;
    time->tv_sec = ms / 1000;
    time->tv_nsec = ms % 1000 * 1000000;
    return 0;
}
