/* The floor: the work of null521 serve as one epoll loop in C. floor PORT [IDLE-TIMEOUT SESSION-TIMEOUT]

   It has the dialogue of refuse-at=rcpt, with a reply to each pipelined command, the same limits and
   the same lingering close, on 127.0.0.1. It has no TLS, writes no records, and serves for comparison
   only. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_COMMANDS = 100, MAX_LINE = 2048, MAX_OCTETS = 65536, LINGER_SECONDS = 2, SPARE_FILES = 16 };
static const long LINGER_OCTETS = 16 << 20;

#define HOST "floor.example"
#define REFUSAL HOST " is configured NOT to accept any mail.\r\n"
#define OFFER "250-" HOST "\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"

/* The replies to each verb, before EHLO and after it: RFC 2034. The last is for all other commands. */
static const struct { const char *verb, *plain, *enhanced; } DIALOGUE[] = {
    {"EHLO", OFFER, OFFER},
    {"HELO", "250 " HOST "\r\n", "250 " HOST "\r\n"},
    {"MAIL", "250 OK\r\n", "250 2.1.0 OK\r\n"},
    {"RSET", "250 OK\r\n", "250 2.0.0 OK\r\n"},
    {"NOOP", "250 OK\r\n", "250 2.0.0 OK\r\n"},
    {"QUIT", "221 " HOST "\r\n", "221 2.0.0 " HOST "\r\n"},
    {NULL, "521 " REFUSAL, "521 5.3.2 " REFUSAL},
};
enum { EHLO, HELO, QUIT = 5, ALL_ELSE };

/* Room for the replies to all commands of one connection: none is longer than the offer. */
static char replies[(MAX_COMMANDS + 2) * sizeof OFFER];
static size_t replies_length;

struct connection {
    TAILQ_ENTRY(connection) by_silence, by_age;
    int fd;
    time_t last_active, came;
    int commands;
    long octets, drained;
    bool enhanced, ended, lingering;
    char *rest, *unsent; /* an incomplete line; replies that the socket had no room for */
    size_t rest_length, unsent_length;
};
TAILQ_HEAD(list, connection);
/* The timeout is the same for all in a list, so each list is in the order of deadlines. */
static struct list by_silence = TAILQ_HEAD_INITIALIZER(by_silence);
static struct list by_age = TAILQ_HEAD_INITIALIZER(by_age);
static struct list lingering = TAILQ_HEAD_INITIALIZER(lingering);
static int epoll, listener, connections, most;
static time_t now;

static void watch(int operation, int fd, uint32_t events, void *what) {
    struct epoll_event event = {.events = events, .data.ptr = what};
    if (epoll_ctl(epoll, operation, fd, &event)) err(1, "epoll_ctl");
}

static time_t monotonic(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return time.tv_sec;
}

static void drop(struct connection *c) {
    TAILQ_REMOVE(c->lingering ? &lingering : &by_silence, c, by_silence);
    if (!c->lingering) TAILQ_REMOVE(&by_age, c, by_age);
    close(c->fd);
    free(c->rest);
    free(c->unsent);
    free(c);
    if (connections-- == most) watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
}

/* Closing with unread octets would send a RST, which can destroy replies that the client has not read. */
static void linger(struct connection *c) {
    if (shutdown(c->fd, SHUT_WR)) return drop(c);
    TAILQ_REMOVE(&by_silence, c, by_silence);
    TAILQ_REMOVE(&by_age, c, by_age);
    c->lingering = true;
    c->last_active = now;
    TAILQ_INSERT_TAIL(&lingering, c, by_silence);
}

static void reply(const char *text) {
    size_t length = strlen(text);
    memcpy(replies + replies_length, text, length);
    replies_length += length;
}

static void refuse(struct connection *c) {
    reply(c->enhanced ? DIALOGUE[ALL_ELSE].enhanced : DIALOGUE[ALL_ELSE].plain);
    c->ended = true;
}

static void answer(struct connection *c, const char *line, size_t length) {
    if (c->commands++ >= MAX_COMMANDS || length >= MAX_LINE) return refuse(c);
    int verb = 0;
    bool is_verb = length == 4 || (length > 4 && strchr(" \t\r", line[4]));
    while (verb < ALL_ELSE && !(is_verb && !strncasecmp(line, DIALOGUE[verb].verb, 4))) verb++;
    if (verb == EHLO || verb == HELO) c->enhanced = false;
    reply(c->enhanced ? DIALOGUE[verb].enhanced : DIALOGUE[verb].plain);
    if (verb == EHLO) c->enhanced = true;
    if (verb == QUIT) c->ended = true;
}

/* Send the replies; keep as unsent what the socket has no room for. False if the connection was dropped. */
static bool flush(struct connection *c) {
    ssize_t sent = send(c->fd, replies, replies_length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return drop(c), false;
    if (sent < 0) sent = 0;
    if ((c->unsent_length = replies_length - sent)) {
        if (!(c->unsent = malloc(c->unsent_length))) return drop(c), false;
        memcpy(c->unsent, replies + sent, c->unsent_length);
        watch(EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
    } else if (c->ended) {
        return linger(c), true;
    }
    return true;
}

static void write_unsent(struct connection *c) {
    ssize_t sent = send(c->fd, c->unsent, c->unsent_length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return drop(c);
    if (sent <= 0) return;
    memmove(c->unsent, c->unsent + sent, c->unsent_length -= sent);
    if (c->unsent_length) return;
    free(c->unsent);
    c->unsent = NULL;
    watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
    if (c->ended) linger(c);
}

static void read_commands(struct connection *c) {
    char octets[MAX_LINE + 4096], *line = octets, *end;
    if (c->rest_length) memcpy(octets, c->rest, c->rest_length);
    ssize_t length = recv(c->fd, octets + c->rest_length, 4096, 0);
    if (length <= 0) {
        if (length == 0 || errno != EAGAIN) drop(c);
        return;
    }
    char *stop = octets + c->rest_length + length;
    replies_length = 0;
    c->octets += length;
    while (!c->ended && (end = memchr(line, '\n', stop - line))) {
        answer(c, line, end - line);
        line = end + 1;
    }
    if (!c->ended && (stop - line >= MAX_LINE || c->octets > MAX_OCTETS)) refuse(c);
    c->rest_length = c->ended ? 0 : stop - line;
    if (c->rest_length) {
        if (!c->rest && !(c->rest = malloc(MAX_LINE))) return drop(c);
        memcpy(c->rest, line, c->rest_length);
    }
    TAILQ_REMOVE(&by_silence, c, by_silence);
    c->last_active = now;
    TAILQ_INSERT_TAIL(&by_silence, c, by_silence);
    if (replies_length) flush(c);
}

static void drain(struct connection *c) {
    static char octets[65536];
    ssize_t length = recv(c->fd, octets, sizeof octets, 0);
    if (length == 0 || (length < 0 && errno != EAGAIN) || (c->drained += length) > LINGER_OCTETS) drop(c);
}

static void accept_all(void) {
    while (connections < most) {
        struct sockaddr_storage client;
        socklen_t length = sizeof client;
        int fd = accept4(listener, (void *)&client, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        struct connection *c = calloc(1, sizeof *c);
        if (!c) err(1, "calloc");
        c->fd = fd;
        c->last_active = c->came = now;
        TAILQ_INSERT_TAIL(&by_silence, c, by_silence);
        TAILQ_INSERT_TAIL(&by_age, c, by_age);
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
        /* Otherwise epoll would report a queue that accept4 fails to empty, with EMFILE, again and again. */
        if (++connections == most) watch(EPOLL_CTL_DEL, listener, 0, NULL);
        replies_length = 0;
        reply("220 " HOST " ESMTP floor\r\n");
        flush(c);
    }
}

/* Send a last 521 after a timeout if nothing is unsent, then close. */
static void expire(struct connection *c) {
    replies_length = 0;
    refuse(c);
    if (c->unsent_length) drop(c);
    else flush(c);
}

int main(int count, char **words) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (count < 2) errx(64, "usage: floor PORT [IDLE-TIMEOUT SESSION-TIMEOUT]");
    address.sin_port = htons(atoi(words[1]));
    time_t silence = count > 2 ? atoi(words[2]) : 30, age = count > 3 ? atoi(words[3]) : 60;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    most = files.rlim_cur - SPARE_FILES;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, SOMAXCONN)) err(1, "%s", words[1]);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (time_t swept = monotonic();;) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, 1000);
        now = monotonic();
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) accept_all();
            else if (c->unsent) write_unsent(c);
            else if (c->lingering) drain(c);
            else read_commands(c);
        }
        if (now == swept) continue;
        swept = now;
        struct connection *c;
        while ((c = TAILQ_FIRST(&lingering)) && now - c->last_active > LINGER_SECONDS) drop(c);
        while ((c = TAILQ_FIRST(&by_silence)) && now - c->last_active >= silence) expire(c);
        while ((c = TAILQ_FIRST(&by_age)) && now - c->came >= age) expire(c);
    }
}
