/*
 * A disk that can lose power, for tests: preloaded into a broker (LD_PRELOAD), it notes what is written
 * to the files below a directory, and what was synced, so that afterwards the files can be made what
 * they would be if everything that was not synced had been lost, or some of it. It also makes syncs
 * slow, and writes fail, when it is told to.
 *
 *   POWER_DIRECTORY  whose files are watched
 *   POWER_LOG        where writes and syncs are noted; nothing is noted without it
 *   POWER_CONTROL    a file that says what fails now: "full", "io", or nothing; read at each call
 *   POWER_SYNC_US    how long a sync takes at least, in microseconds
 *   POWER_WRITE_US   how long the first write to the journal after a sync takes at least
 *   POWER_STATE      a file of a page that says at each moment how many writes were made to the journal
 *                    and to other files since their last sync, and how many syncs there were: whoever
 *                    kills the process can look afterwards into what the kill fell; the process ends
 *                    with the one that started it
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
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum kind { WRITE = 1, TRUNCATE = 2, SYNC = 3 };

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
        int fd = open(page, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
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
        log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
}

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
    /* What SQLite shares between connections is memory: it is made anew after a crash. */
    return !strncmp(path, directory, directory_length) && path[directory_length] == '/'
        && !strstr(path, "-shm") && !strstr(path, ".lock");
}

/* How many writes to a file are not synced yet. */
static volatile uint64_t *unsynced(const char *path) {
    return strstr(path, "-wal") ? &state->unsynced_journal : &state->unsynced_others;
}

/* What fails now, as errno; 0 is nothing. */
static int failure(void) {
    if (!control) {
        return 0;
    }
    char word[8] = {0};
    int fd = open(control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t length = read(fd, word, sizeof word - 1);
    close(fd);
    if (length >= 4 && !strncmp(word, "full", 4)) {
        return ENOSPC;
    }
    return length >= 2 && !strncmp(word, "io", 2) ? EIO : 0;
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
    int error = failure();
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
    if (sync_us) {
        usleep((useconds_t)sync_us);
    }
    int error = failure();
    if (error == EIO) {
        errno = error;
        return -1;
    }
    /* The process may be killed, the machine does not fail: what is noted as synced is. */
    pthread_mutex_lock(&lock);
    if (log_fd >= 0) {
        note(SYNC, path, 0, 0, "", 0, "", 0);
    }
    *unsynced(path) = 0;
    state->syncs += 1;
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) {
    pthread_once(&once, begin);
    return synced(fd, &real_fsync);
}

int fdatasync(int fd) {
    pthread_once(&once, begin);
    return synced(fd, &real_fdatasync);
}
