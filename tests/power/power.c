/*
 * A disk that can lose power, for tests: preloaded into a broker (LD_PRELOAD), it notes what is written
 * to the files below a directory, and what was synced, so that afterwards the files can be made what
 * they would be if everything that was not synced had been lost, or some of it. It also makes syncs
 * slow, and calls fail, when it is told to.
 *
 *   POWER_DIRECTORY  whose files are watched
 *   POWER_LOG        where writes and syncs are noted; nothing is noted without it
 *   POWER_CONTROL    a file that says what is wrong now, or nothing; read at each call
 *   POWER_SYNC_US    how long a sync takes at least, in microseconds
 *   POWER_WRITE_US   how long the first write to the journal after a sync takes at least
 *   POWER_STATE      a file of a page that says at each moment how many writes were made to the journal
 *                    and to other files since their last sync, and how many syncs there were: whoever
 *                    kills the process can look afterwards into what the kill fell; the process ends
 *                    with the one that started it
 *
 * What may be wrong:
 *
 *   full      there is no room: writes fail
 *   io        writes and syncs fail
 *   write     writes fail
 *   sync      syncs fail; what they were to make safe never is, whatever later ones say
 *   readonly  nothing can be written, and nothing opened to be written
 *   denied    nothing can be opened
 *   slow MS   each sync takes so many milliseconds, or until something else is said
 *
 * A record of the log: a header, the path, the bytes that were there before, the bytes that are there
 * now. What the system does with the log survives the end of the process, as the files do.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
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
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum kind { WRITE = 1, TRUNCATE = 2, SYNC = 3, FAILED_SYNC = 4, DELETE = 5 };

enum call { OPEN, OPEN_TO_WRITE, CHANGE, MAKE_SAFE };

struct header {
    uint32_t kind;
    uint32_t path_length;
    uint64_t offset;
    uint64_t size_before;
    uint64_t before_length;
    uint64_t after_length;
};

/* What POWER_STATE holds. */
struct state {
    uint64_t unsynced_journal;
    uint64_t unsynced_others;
    uint64_t syncs;
    uint64_t held_back; /* A write to the journal that has not been made yet. */
};

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_truncate)(int, off_t);
static int (*real_open)(const char *, int, ...);
static int (*real_unlink)(const char *);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

static char directory[PATH_MAX];
static size_t directory_length;
static const char *control;
static long sync_us, write_us;
static int log_fd = -1;
static struct state nowhere;
static volatile struct state *state = &nowhere;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void begin(void) {
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_truncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_open = dlsym(RTLD_NEXT, "open64");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    const char *watched = getenv("POWER_DIRECTORY");
    if (watched && realpath(watched, directory)) {
        directory_length = strlen(directory);
    }
    control = getenv("POWER_CONTROL");
    const char *slow = getenv("POWER_SYNC_US");
    sync_us = slow ? atol(slow) : 0;
    slow = getenv("POWER_WRITE_US");
    write_us = slow ? atol(slow) : 0;
    const char *page = getenv("POWER_STATE");
    if (page) {
        int fd = real_open(page, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        void *mapped = MAP_FAILED;
        if (fd >= 0 && !real_truncate(fd, sizeof *state)) {
            mapped = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        }
        if (mapped == MAP_FAILED) {
            abort();
        }
        state = mapped;
        /* Whoever kills it may be killed: nothing is to be left behind. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    const char *log = getenv("POWER_LOG");
    if (log) {
        log_fd = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
}

/* Whether a path is in the directory that is watched. */
static int is_inside(const char *path) {
    return directory_length && !strncmp(path, directory, directory_length)
        && path[directory_length] == '/';
}

/* What SQLite shares between connections is memory: it is made anew after a crash. */
static int is_memory(const char *path) { return strstr(path, "-shm") || strstr(path, ".lock"); }

/* The path of a file that is watched; false for all others. */
static int is_watched(int fd, char *path) {
    pthread_once(&once, begin);
    if (!directory_length) {
        return 0;
    }
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= (ssize_t)directory_length) {
        return 0;
    }
    path[length] = 0;
    return is_inside(path) && !is_memory(path);
}

/* How many writes to a file are not synced yet. */
static volatile uint64_t *unsynced(const char *path) {
    return strstr(path, "-wal") ? &state->unsynced_journal : &state->unsynced_others;
}

/* What is wrong now: the first word, and the number behind it. */
static long wrong(char word[16]) {
    char text[32] = {0};
    long number = 0;
    *word = 0;
    int fd = control ? real_open(control, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return 0;
    }
    if (read(fd, text, sizeof text - 1) > 0) {
        sscanf(text, "%15s %ld", word, &number);
    }
    close(fd);
    return number;
}

/* How a call fails now, as errno; 0 is not at all. */
static int failure(enum call call) {
    char word[16];
    wrong(word);
    if (!strcmp(word, "full")) {
        return call == CHANGE ? ENOSPC : 0;
    }
    if (!strcmp(word, "io")) {
        return call == CHANGE || call == MAKE_SAFE ? EIO : 0;
    }
    if (!strcmp(word, "write")) {
        return call == CHANGE ? EIO : 0;
    }
    if (!strcmp(word, "sync")) {
        return call == MAKE_SAFE ? EIO : 0;
    }
    if (!strcmp(word, "readonly")) {
        return call == CHANGE || call == OPEN_TO_WRITE ? EROFS : 0;
    }
    if (!strcmp(word, "denied")) {
        return call == OPEN || call == OPEN_TO_WRITE ? EACCES : 0;
    }
    return 0;
}

/* Waits as long as syncs take now. */
static void be_slow(void) {
    const long step = 10;
    char word[16];
    if (sync_us) {
        usleep((useconds_t)sync_us);
    }
    for (long waited = 0;; waited += step) {
        long most = wrong(word);
        if (strcmp(word, "slow") || waited >= most) {
            return;
        }
        usleep((useconds_t)(step * 1000));
    }
}

static void note(enum kind kind, const char *path, uint64_t offset, uint64_t size_before,
                 const void *before, uint64_t before_length, const void *after,
                 uint64_t after_length) {
    struct header header = {kind, (uint32_t)strlen(path), offset, size_before, before_length,
                            after_length};
    size_t length = sizeof header + header.path_length + before_length + after_length;
    char *record = malloc(length);
    if (!record) {
        abort();
    }
    char *end = mempcpy(record, &header, sizeof header);
    end = mempcpy(end, path, header.path_length);
    end = mempcpy(end, before, before_length);
    memcpy(end, after, after_length);
    if (real_write(log_fd, record, length) != (ssize_t)length) {
        abort(); /* Then the test is worth nothing. */
    }
    free(record);
}

/* What stands at a place of a file before it is changed. */
static char *before(int fd, uint64_t offset, uint64_t length, uint64_t *size, uint64_t *found) {
    struct stat stat;
    *size = fstat(fd, &stat) ? 0 : (uint64_t)stat.st_size;
    *found = offset >= *size ? 0 : (length < *size - offset ? length : *size - offset);
    char *bytes = malloc(*found + 1);
    if (!bytes || (*found && pread(fd, bytes, *found, (off_t)offset) != (ssize_t)*found)) {
        abort();
    }
    return bytes;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    char path[PATH_MAX];
    if (!is_watched(fd, path)) {
        return real_pwrite(fd, bytes, count, offset);
    }
    int error = failure(CHANGE);
    if (error) {
        errno = error;
        return -1;
    }
    if (write_us && strstr(path, "-wal") && !state->unsynced_journal) {
        state->held_back = 1;
        usleep((useconds_t)write_us);
    }
    pthread_mutex_lock(&lock);
    uint64_t size = 0, found = 0;
    char *old = log_fd < 0 ? NULL : before(fd, (uint64_t)offset, count, &size, &found);
    ssize_t written = real_pwrite(fd, bytes, count, offset);
    int result = errno;
    if (written > 0) {
        *unsynced(path) += 1;
        state->held_back = 0;
    }
    if (old && written > 0) {
        if (found > (uint64_t)written) {
            found = (uint64_t)written;
        }
        note(WRITE, path, (uint64_t)offset, size, old, found, bytes, (uint64_t)written);
    }
    free(old);
    pthread_mutex_unlock(&lock);
    errno = result;
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    return pwrite64(fd, bytes, count, offset);
}

int ftruncate64(int fd, off64_t length) {
    char path[PATH_MAX];
    if (!is_watched(fd, path)) {
        return real_truncate(fd, length);
    }
    int error = failure(CHANGE);
    if (error && error != ENOSPC) {
        errno = error;
        return -1;
    }
    pthread_mutex_lock(&lock);
    uint64_t size = 0, found = 0;
    char *old = log_fd < 0 ? NULL : before(fd, (uint64_t)length, UINT64_MAX / 2, &size, &found);
    int outcome = real_truncate(fd, length);
    int result = errno;
    if (old && !outcome) {
        note(TRUNCATE, path, (uint64_t)length, size, old, found, "", 0);
    }
    free(old);
    pthread_mutex_unlock(&lock);
    errno = result;
    return outcome;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int synced(int fd, int (**real)(int)) {
    char path[PATH_MAX];
    if (!is_watched(fd, path)) {
        return (*real)(fd);
    }
    be_slow();
    int error = failure(MAKE_SAFE);
    /* The process may be killed, the machine does not fail: what is noted as synced is. */
    pthread_mutex_lock(&lock);
    if (log_fd >= 0) {
        note(error ? FAILED_SYNC : SYNC, path, 0, 0, "", 0, "", 0);
    }
    if (!error) {
        *unsynced(path) = 0;
        state->syncs += 1;
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return error ? -1 : 0;
}

int fsync(int fd) {
    pthread_once(&once, begin);
    return synced(fd, &real_fsync);
}

int fdatasync(int fd) {
    pthread_once(&once, begin);
    return synced(fd, &real_fdatasync);
}

int open64(const char *path, int flags, ...) {
    pthread_once(&once, begin);
    mode_t mode = 0;
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    int writes = (flags & O_ACCMODE) != O_RDONLY;
    int error = is_inside(path) ? failure(writes ? OPEN_TO_WRITE : OPEN) : 0;
    if (error) {
        errno = error;
        return -1;
    }
    return real_open(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    mode_t mode = 0;
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    return open64(path, flags, mode);
}

int unlink(const char *path) {
    pthread_once(&once, begin);
    int outcome = real_unlink(path);
    int result = errno;
    if (!outcome && log_fd >= 0 && is_inside(path) && !is_memory(path)) {
        pthread_mutex_lock(&lock);
        note(DELETE, path, 0, 0, "", 0, "", 0);
        pthread_mutex_unlock(&lock);
    }
    errno = result;
    return outcome;
}
