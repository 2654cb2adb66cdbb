/* Callers for a benchmark, in one epoll loop.

   load PORT CONNECTIONS AT-ONCE speaks as Postfix does to a host that offers PIPELINING: greeting,
   EHLO, then MAIL, RCPT and DATA in one segment, QUIT, and all until the end. It prints one JSON
   object; a server that does not refuse the recipient and the data is an error, exit status 1.

   load PORT CONNECTIONS holds that many open once they are greeted, says so in a line on standard
   output, and lets go of them when its standard input ends.

   They come from many addresses, so that neither ports nor limits for one address run out. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ADDRESSES = 200, PATIENCE_MS = 20000 };

/* What is said once so many replies are there, and what each of them has to begin with. */
static const struct { const char *say; int replies; const char *expect[3]; } STEPS[] = {
    {NULL, 1, {"220"}},
    {"EHLO mx.client.example\r\n", 1, {"250"}},
    {"MAIL FROM:<ann@client.example>\r\nRCPT TO:<bob@server.example>\r\nDATA\r\n", 3, {"250", "5", "5"}},
    {"QUIT\r\n", 1, {"221"}},
};
enum { LAST = sizeof STEPS / sizeof *STEPS - 1 };

struct caller {
    int fd, step, reply, column; /* column: of the line that is being read */
    char head[4];                /* of that line */
    double start;
};

static int epoll, port;
static long finished, begun;
static double *greeted, *answered;
static long greetings, answers;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void call(struct caller *c) {
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + begun++ % ADDRESSES);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port);
    *c = (struct caller){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (c->fd < 0) err(1, "socket");
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
    if (bind(c->fd, (void *)&from, sizeof from)) err(1, "bind");
    c->start = now();
    if (connect(c->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) err(1, "connect");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event)) err(1, "epoll_ctl");
}

/* A whole reply is there: check it, and go on if it was the last that this step waits for. */
static void take(struct caller *c) {
    if (c->step > LAST) errx(1, "a reply that nobody asked for: %.4s", c->head);
    const char *expected = STEPS[c->step].expect[c->reply];
    if (strncmp(c->head, expected, strlen(expected)))
        errx(1, "reply %d of step %d is %.4s, not %s", c->reply, c->step, c->head, expected);
    if (++c->reply < STEPS[c->step].replies) return;
    if (c->step == 0) greeted[greetings++] = now() - c->start;
    if (c->step == LAST) answered[answers++] = now() - c->start;
    c->reply = 0;
    if (++c->step > LAST) return;
    const char *say = STEPS[c->step].say;
    if (send(c->fd, say, strlen(say), MSG_NOSIGNAL) != (ssize_t)strlen(say)) err(1, "send, step %d", c->step);
}

/* Read what is there; false once it is the end. hold: say nothing, whatever is read. */
static bool hear(struct caller *c, bool hold) {
    char octets[4096];
    ssize_t length = recv(c->fd, octets, sizeof octets, 0);
    if (length < 0 && errno == EAGAIN) return true;
    if (length < 0) err(1, "step %d", c->step);
    if (length == 0 && (hold || c->step <= LAST)) errx(1, "closed in step %d", c->step);
    for (ssize_t i = 0; i < length; i++) {
        if (c->column < 4) c->head[c->column] = octets[i];
        c->column++;
        if (octets[i] != '\n') continue;
        c->column = 0;
        if (c->head[3] == '-') continue; /* a line of several: RFC 5321, 4.2.1 */
        if (hold) finished++;
        else take(c);
    }
    return length > 0;
}

static int by_value(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

int main(int count, char **words) {
    if (count < 3) errx(64, "usage: load PORT CONNECTIONS [AT-ONCE]");
    port = atoi(words[1]);
    long all = atol(words[2]), at_once = count > 3 ? atol(words[3]) : all;
    bool hold = count == 3;
    struct caller *callers = calloc(at_once, sizeof *callers);
    greeted = calloc(all, sizeof *greeted);
    answered = calloc(all, sizeof *answered);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    double start = now();
    /* Those that are held come few at a time, for a listening socket's queue is finite. */
    long opening = hold && at_once > 100 ? 100 : at_once;
    while (begun < opening && begun < all) call(callers + begun);
    while (finished < all) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, PATIENCE_MS);
        if (ready <= 0) errx(1, "nothing comes, with %ld of %ld finished", finished, all);
        for (int i = 0; i < ready; i++) {
            struct caller *c = events[i].data.ptr;
            long before = finished;
            if (!hear(c, hold)) {
                finished++;
                close(c->fd);
            }
            if (finished > before && begun < all) call(hold ? callers + begun : c);
        }
    }
    if (hold) {
        puts("held");
        fflush(stdout);
        while (getchar() != EOF) continue;
        return 0;
    }
    double seconds = now() - start;
    qsort(greeted, all, sizeof *greeted, by_value);
    qsort(answered, all, sizeof *answered, by_value);
    printf("{\"seconds\": %.6f", seconds);
    printf(", \"greeted_p50\": %.6f, \"greeted_p99\": %.6f", greeted[all / 2], greeted[all * 99 / 100]);
    printf(", \"answered_p50\": %.6f, \"answered_p99\": %.6f}\n", answered[all / 2], answered[all * 99 / 100]);
}
