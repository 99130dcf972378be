/* Stands between a program and its files (LD_PRELOAD): writes down, in one order, every change and every sync of the
 * files below a folder, and makes them fail on request. For the checks of power.rs and disk.rs; Linux, 64 bits.
 *
 * WA_SHIM_ROOT     the folder; files that end in "-shm" or ".lock" are left alone, as nothing of them outlives a process
 * WA_SHIM_LOG      where records are appended; without it nothing is recorded
 * WA_SHIM_CONTROL  a folder in which the presence of a file makes operations fail:
 *                  eio-sync, eio-read, erofs-write, enospc-write;
 *                  die: the process is killed before its next change or sync, so that none is cut off halfway and
 *                  the record is whole
 * WA_SHIM_SYNC_US  syncs wait this many microseconds and reach no disk: for power loss that is only simulated
 *
 * A record is: u8 kind, u64 file (inode), u64 a, u64 b, u32 length, bytes; all in the machine's byte order. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, OPEN, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, UNLINK, RENAME, LINK, MKDIR };

#define FILES 65536
static _Atomic uint64_t tracked[FILES];
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static const char *root, *control;
static int log_fd = -1;
static long sync_us = -1;
static _Atomic uint64_t syncs;

__attribute__((constructor)) static void start(void) {
    root = getenv("WA_SHIM_ROOT");
    control = getenv("WA_SHIM_CONTROL");
    if (getenv("WA_SHIM_SYNC_US")) sync_us = atol(getenv("WA_SHIM_SYNC_US"));
    const char *log = getenv("WA_SHIM_LOG");
    if (root && log) {
        log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log_fd < 0) abort();
    }
}

static int ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && !strcmp(text + a - b, end);
}

static int concerns(const char *path) {
    if (!root || !path) return 0;
    size_t n = strlen(root);
    if (strncmp(path, root, n) || (path[n] && path[n] != '/')) return 0;
    return !ends_with(path, "-shm") && !ends_with(path, ".lock");
}

static int fault(const char *name) {
    char path[PATH_MAX];
    if (!control || snprintf(path, sizeof path, "%s/%s", control, name) >= (int)sizeof path) return 0;
    int before = errno, there = !syscall(SYS_faccessat, AT_FDCWD, path, F_OK);
    errno = before;
    return there;
}

/* Takes the lock under which every change is made and recorded. Whoever is to die does so here: nobody is amid a change. */
static void enter(void) {
    pthread_mutex_lock(&order);
    if (fault("die"))
        for (;;) syscall(SYS_kill, getpid(), SIGKILL);
}

/* To be called with the lock held, so that the order of the log is that of the changes. */
static void record(uint8_t kind, uint64_t file, uint64_t a, uint64_t b, const void *bytes, uint32_t length) {
    if (log_fd < 0) return;
    char head[29];
    head[0] = (char)kind;
    memcpy(head + 1, &file, 8);
    memcpy(head + 9, &a, 8);
    memcpy(head + 17, &b, 8);
    memcpy(head + 25, &length, 4);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)bytes, length}};
    if (syscall(SYS_writev, log_fd, parts, 2) != (long)(sizeof head + length)) abort();
}

static void record_path(uint8_t kind, uint64_t file, const char *path) { record(kind, file, 0, 0, path, strlen(path)); }

static void record_two(uint8_t kind, const char *from, const char *to) {
    char both[2 * PATH_MAX];
    size_t n = strlen(from), m = strlen(to);
    if (n + 1 + m > sizeof both) abort();
    memcpy(both, from, n + 1);
    memcpy(both + n + 1, to, m);
    record(kind, 0, 0, 0, both, n + 1 + m);
}

static uint64_t file_of(int fd) { return fd >= 0 && fd < FILES ? tracked[fd] : 0; }

static int open_any(int folder, const char *path, int flags, mode_t mode) {
    int ours = concerns(path);
    if (!ours) {
        int fd = syscall(SYS_openat, folder, path, flags, mode);
        if (fd >= 0 && fd < FILES) tracked[fd] = 0;
        return fd;
    }
    enter();
    int is_new = (flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK);
    if (is_new && (fault("enospc-write") || fault("erofs-write"))) {
        errno = fault("erofs-write") ? EROFS : ENOSPC;
        pthread_mutex_unlock(&order);
        return -1;
    }
    int fd = syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0) {
        struct stat found;
        int before = errno;
        if (fd >= FILES || fstat(fd, &found)) abort();
        errno = before;
        tracked[fd] = found.st_ino;
        record_path(is_new ? CREATE : OPEN, found.st_ino, path);
        if (!is_new && (flags & O_TRUNC)) record(TRUNCATE, found.st_ino, 0, 0, "", 0);
    }
    pthread_mutex_unlock(&order);
    return fd;
}

static mode_t mode_of(int flags, va_list more) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; }

#define OPENS(name, ...)                                                 \
    int name(__VA_ARGS__ const char *path, int flags, ...) {             \
        va_list more;                                                    \
        va_start(more, flags);                                           \
        mode_t mode = mode_of(flags, more);                              \
        va_end(more);                                                    \
        return open_any(FOLDER, path, flags, mode);                      \
    }
#define FOLDER AT_FDCWD
OPENS(open, )
OPENS(open64, )
#undef FOLDER
#define FOLDER folder
#define COMMA ,
OPENS(openat, int folder COMMA)
OPENS(openat64, int folder COMMA)

int close(int fd) {
    if (fd >= 0 && fd < FILES) tracked[fd] = 0;
    return syscall(SYS_close, fd);
}

static ssize_t write_any(int fd, const void *bytes, size_t length, off_t at, int positioned) {
    uint64_t file = file_of(fd);
    if (!file) return positioned ? syscall(SYS_pwrite64, fd, bytes, length, at) : syscall(SYS_write, fd, bytes, length);
    enter();
    ssize_t written = -1;
    static int takes_a_part;
    int full = fault("enospc-write");
    if (full) takes_a_part = !takes_a_part;
    if (fault("erofs-write")) {
        errno = EROFS;
    } else if (full && (!takes_a_part || length < 2)) {
        errno = ENOSPC;
    } else {
        /* A disk that runs full takes a part first. */
        if (full) length /= 2;
        record(WRITE, file, positioned ? at : lseek(fd, 0, SEEK_CUR), 0, bytes, length);
        written = positioned ? syscall(SYS_pwrite64, fd, bytes, length, at) : syscall(SYS_write, fd, bytes, length);
        if (log_fd >= 0 && written != (ssize_t)length) abort();
    }
    pthread_mutex_unlock(&order);
    return written;
}

ssize_t write(int fd, const void *bytes, size_t length) { return write_any(fd, bytes, length, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return write_any(fd, bytes, length, at, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) { return write_any(fd, bytes, length, at, 1); }

static ssize_t read_any(int fd, void *bytes, size_t length, off_t at, int positioned) {
    if (file_of(fd) && fault("eio-read")) {
        errno = EIO;
        return -1;
    }
    return positioned ? syscall(SYS_pread64, fd, bytes, length, at) : syscall(SYS_read, fd, bytes, length);
}

ssize_t read(int fd, void *bytes, size_t length) { return read_any(fd, bytes, length, 0, 0); }
ssize_t pread(int fd, void *bytes, size_t length, off_t at) { return read_any(fd, bytes, length, at, 1); }
ssize_t pread64(int fd, void *bytes, size_t length, off_t at) { return read_any(fd, bytes, length, at, 1); }

int ftruncate(int fd, off_t size) {
    uint64_t file = file_of(fd);
    if (!file) return syscall(SYS_ftruncate, fd, size);
    if (fault("erofs-write")) {
        errno = EROFS;
        return -1;
    }
    enter();
    int result = syscall(SYS_ftruncate, fd, size);
    if (!result) record(TRUNCATE, file, size, 0, "", 0);
    pthread_mutex_unlock(&order);
    return result;
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

static int sync_any(int fd, int only_data) {
    uint64_t file = file_of(fd);
    if (!file) return syscall(only_data ? SYS_fdatasync : SYS_fsync, fd);
    uint64_t number = ++syncs;
    int fails = fault("eio-sync");
    enter();
    record(SYNC_BEGIN, file, number, 0, "", 0);
    pthread_mutex_unlock(&order);
    int result = 0;
    if (fails) {
        errno = EIO;
        result = -1;
    } else if (sync_us >= 0) {
        usleep(sync_us);
    } else {
        result = syscall(only_data ? SYS_fdatasync : SYS_fsync, fd);
    }
    int before = errno;
    enter();
    record(SYNC_END, file, number, result != 0, "", 0);
    pthread_mutex_unlock(&order);
    errno = before;
    return result;
}
int fsync(int fd) { return sync_any(fd, 0); }
int fdatasync(int fd) { return sync_any(fd, 1); }

int unlinkat(int folder, const char *path, int flags) {
    enter();
    int result = syscall(SYS_unlinkat, folder, path, flags);
    if (!result && concerns(path)) record_path(UNLINK, 0, path);
    pthread_mutex_unlock(&order);
    return result;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int rename(const char *from, const char *to) {
    enter();
    int result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (!result && concerns(to)) record_two(RENAME, from, to);
    pthread_mutex_unlock(&order);
    return result;
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
    enter();
    int result = syscall(SYS_linkat, a, from, b, to, flags);
    if (!result && concerns(to)) record_two(LINK, from, to);
    pthread_mutex_unlock(&order);
    return result;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int mkdir(const char *path, mode_t mode) {
    enter();
    int result = syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (!result && concerns(path)) record_path(MKDIR, 0, path);
    pthread_mutex_unlock(&order);
    return result;
}
