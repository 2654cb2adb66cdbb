/* A clock that runs SCALE times as fast since START, for every program of a root that has this library
 * in /etc/ld.so.preload: it sees later times, and each wait of it ends the sooner.
 *
 *     gcc -shared -fPIC -DSCALE=20 -DSTART=... -DMONOTONIC_START=... -o clock.so clock.c
 *
 * START and MONOTONIC_START are in nanoseconds, as the two clocks had them. Constants, not variables of
 * the environment, because mail servers clear that, change their root, and start one another; so all of
 * them agree on the time. Times of files stay those of the kernel. Waits of threads are not known here.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BILLION 1000000000LL

/* The kernel's set of signals has 64 bits. */
#define SIGNALS 8

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    long long start = MONOTONIC_START, time;

    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        start = START;
        break;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_BOOTTIME:
        break;
    default: /* CPU time */
        return failed;
    }
    if (failed)
        return failed;
    time = start + (now->tv_sec * BILLION + now->tv_nsec - start) * SCALE;
    now->tv_sec = time / BILLION;
    now->tv_nsec = time % BILLION;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec time;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec time;

    clock_gettime(CLOCK_REALTIME, &time);
    if (now)
        *now = time.tv_sec;
    return time.tv_sec;
}

static struct timespec shorter(const struct timespec *wait)
{
    long long time = (wait->tv_sec * BILLION + wait->tv_nsec) / SCALE;

    return (struct timespec){time / BILLION, time % BILLION};
}

/* Rounded up, or a loop that waits for the rest of a millisecond would not wait at all. */
static int shorter_milliseconds(int wait) { return wait > 0 ? (wait + SCALE - 1) / SCALE : wait; }

int nanosleep(const struct timespec *wait, struct timespec *left)
{
    struct timespec real = shorter(wait);
    int failed = (int)syscall(SYS_nanosleep, &real, left);

    if (failed && left) {
        long long time = (left->tv_sec * BILLION + left->tv_nsec) * SCALE;
        *left = (struct timespec){time / BILLION, time % BILLION};
    }
    return failed;
}

unsigned int sleep(unsigned int seconds)
{
    struct timespec left = {seconds, 0};

    return nanosleep(&left, &left) ? (unsigned int)left.tv_sec : 0;
}

int usleep(useconds_t microseconds)
{
    struct timespec wait = {microseconds / 1000000, microseconds % 1000000 * 1000L};

    return nanosleep(&wait, NULL);
}

static struct timeval scaled(struct timeval time, int faster)
{
    long long all = time.tv_sec * 1000000LL + time.tv_usec;
    long long other = faster ? all / SCALE : all * SCALE;

    if (faster && all && !other)
        other = 1; /* 0 would be no timer */
    return (struct timeval){other / 1000000, other % 1000000};
}

int setitimer(__itimer_which_t which, const struct itimerval *restrict timer,
              struct itimerval *restrict old)
{
    struct itimerval real = *timer;
    int failed;

    if (which == ITIMER_REAL)
        real = (struct itimerval){scaled(timer->it_interval, 1), scaled(timer->it_value, 1)};
    failed = (int)syscall(SYS_setitimer, which, &real, old);
    if (!failed && old && which == ITIMER_REAL)
        *old = (struct itimerval){scaled(old->it_interval, 0), scaled(old->it_value, 0)};
    return failed;
}

unsigned int alarm(unsigned int seconds)
{
    struct itimerval timer = {{0, 0}, {seconds, 0}}, old;

    if (setitimer(ITIMER_REAL, &timer, &old))
        return 0;
    return (unsigned int)(old.it_value.tv_sec + (old.it_value.tv_usec > 0));
}

int ppoll(struct pollfd *files, nfds_t count, const struct timespec *wait, const sigset_t *signals)
{
    struct timespec real;

    if (wait)
        real = shorter(wait);
    return (int)syscall(SYS_ppoll, files, count, wait ? &real : NULL, signals, SIGNALS);
}

int poll(struct pollfd *files, nfds_t count, int wait)
{
    struct timespec time = {wait / 1000, wait % 1000 * 1000000L};

    return ppoll(files, count, wait < 0 ? NULL : &time, NULL);
}

int pselect(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict bad,
            const struct timespec *restrict wait, const sigset_t *restrict signals)
{
    struct timespec real;
    struct { const sigset_t *signals; size_t size; } mask = {signals, SIGNALS};

    if (wait)
        real = shorter(wait);
    return (int)syscall(SYS_pselect6, count, in, out, bad, wait ? &real : NULL, &mask);
}

int select(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict bad,
           struct timeval *restrict wait)
{
    struct timespec time;

    if (wait)
        time = (struct timespec){wait->tv_sec, wait->tv_usec * 1000};
    return pselect(count, in, out, bad, wait ? &time : NULL, NULL);
}

int epoll_pwait(int epoll, struct epoll_event *events, int count, int wait, const sigset_t *signals)
{
    wait = shorter_milliseconds(wait);
    return (int)syscall(SYS_epoll_pwait, epoll, events, count, wait, signals, SIGNALS);
}

int epoll_wait(int epoll, struct epoll_event *events, int count, int wait)
{
    return epoll_pwait(epoll, events, count, wait, NULL);
}
