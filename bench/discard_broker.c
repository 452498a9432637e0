/*
 * A broker that acknowledges every produce request and keeps nothing, and that answers fetches with the first batch it was
 * sent, again and again: what the client and loopback alone can do. Prints its address, ends with its standard input.
 *
 *   discard_broker PARTITIONS
 *
 * Serves just what librdkafka needs: ApiVersions 0, Metadata 4, InitProducerId 0, Produce 7, ListOffsets 1, Fetch 4
 * (schemas: Kafka's message definitions, all before flexible versions). Record bytes are read from the socket, as every
 * broker must, into one buffer that stays in the processor's cache. Bound to loopback; a client that breaks the protocol
 * loses its connection.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PRODUCE = 0, FETCH = 1, LIST_OFFSETS = 2, METADATA = 3, API_VERSIONS = 18, INIT_PRODUCER_ID = 22 };
static const int16_t SERVED[][3] = {{PRODUCE, 0, 7}, {FETCH, 0, 4}, {LIST_OFFSETS, 0, 1}, {METADATA, 0, 4},
                                    {API_VERSIONS, 0, 0}, {INIT_PRODUCER_ID, 0, 0}};
#define UNSUPPORTED_VERSION 35
#define IN_MAX (256 << 10)    /* read from the socket at once */
#define OUT_MAX (64 << 20)    /* the largest answer */
#define KEPT_MAX (2 << 20)    /* the largest batch kept for fetches */
#define FETCHED_MAX (1 << 20) /* record bytes of one partition in one answer, at least one batch */
#define LAST_OFFSET_DELTA 23  /* where a record batch says how many records it has */

static int partitions, port;
static char kept[KEPT_MAX];
static int kept_size; /* 0: none yet */
static pthread_mutex_t keeping = PTHREAD_MUTEX_INITIALIZER;

struct connection {
        int socket;
        size_t at, end;  /* what is unread in `in` */
        size_t left;     /* of the request that is being read */
        size_t used;     /* of `out` */
        char *in, *out;
};

static void leave(struct connection *c) {
        close(c->socket);
        free(c->in);
        free(c->out);
        free(c);
        pthread_exit(NULL);
}

static void fill(struct connection *c) {
        ssize_t got = recv(c->socket, c->in, IN_MAX, 0);
        if (got <= 0)
                leave(c);
        c->at = 0;
        c->end = got;
}

/* Takes bytes of the request; `into` NULL: they are dropped. */
static void take(struct connection *c, void *into, size_t size) {
        if (size > c->left)
                leave(c);
        c->left -= size;
        while (size > 0) {
                if (c->at == c->end)
                        fill(c);
                size_t part = size < c->end - c->at ? size : c->end - c->at;
                if (into != NULL) {
                        memcpy(into, c->in + c->at, part);
                        into = (char *)into + part;
                }
                c->at += part;
                size -= part;
        }
}

static int64_t number(struct connection *c, int bytes) {
        uint64_t big = 0;
        take(c, (char *)&big + 8 - bytes, bytes);
        return (int64_t)(be64toh(big) << (64 - 8 * bytes)) >> (64 - 8 * bytes);
}

static void put(struct connection *c, const void *from, size_t size) {
        if (size > OUT_MAX - c->used)
                leave(c);
        memcpy(c->out + c->used, from, size);
        c->used += size;
}

static void put_number(struct connection *c, int bytes, int64_t value) {
        uint64_t big = htobe64((uint64_t)value << (64 - 8 * bytes));
        put(c, &big, bytes);
}

/* A topic's name; copied to the answer if `echo`. */
static void name(struct connection *c, int echo) {
        char text[1 << 15];
        int size = (int)number(c, 2);
        take(c, text, size < 0 ? 0 : size);
        if (echo) {
                put_number(c, 2, size);
                put(c, text, size < 0 ? 0 : size);
        }
}

static void produced(struct connection *c) {
        name(c, 0);
        take(c, NULL, 6);
        int topics = (int)number(c, 4);
        put_number(c, 4, topics);
        for (int t = 0; t < topics; t++) {
                name(c, 1);
                int count = (int)number(c, 4);
                put_number(c, 4, count);
                for (int p = 0; p < count; p++) {
                        int index = (int)number(c, 4), size = (int)number(c, 4);
                        pthread_mutex_lock(&keeping);
                        int keep = kept_size == 0 && size > LAST_OFFSET_DELTA + 4 && size <= KEPT_MAX && (size_t)size <= c->left;
                        if (keep) {
                                take(c, kept, size);
                                kept_size = size;
                        }
                        pthread_mutex_unlock(&keeping);
                        if (!keep)
                                take(c, NULL, size < 0 ? 0 : size);
                        put_number(c, 4, index);
                        put_number(c, 2, 0);
                        put_number(c, 8, 0);
                        put_number(c, 8, -1);
                        put_number(c, 8, 0);
                }
        }
        put_number(c, 4, 0);
}

/* The kept batch from this offset on, as often as it fits. */
static void put_records(struct connection *c, int64_t offset, int64_t bytes_max) {
        int64_t most = bytes_max < FETCHED_MAX ? bytes_max : FETCHED_MAX, times = kept_size ? most / kept_size : 0;
        if (times == 0)
                times = kept_size > 0;
        uint32_t delta = 0;
        memcpy(&delta, kept + LAST_OFFSET_DELTA, 4);
        put_number(c, 4, times * kept_size);
        for (int64_t i = 0; i < times; i++) {
                put_number(c, 8, offset);
                put(c, kept + 8, kept_size - 8);
                offset += be32toh(delta) + 1;
        }
}

static void fetched(struct connection *c) {
        take(c, NULL, 17);
        int topics = (int)number(c, 4);
        put_number(c, 4, 0);
        put_number(c, 4, topics);
        for (int t = 0; t < topics; t++) {
                name(c, 1);
                int count = (int)number(c, 4);
                put_number(c, 4, count);
                for (int p = 0; p < count; p++) {
                        int index = (int)number(c, 4);
                        int64_t offset = number(c, 8), bytes_max = number(c, 4);
                        put_number(c, 4, index);
                        put_number(c, 2, 0);
                        put_number(c, 8, INT64_MAX);
                        put_number(c, 8, INT64_MAX);
                        put_number(c, 4, -1);
                        put_records(c, offset, bytes_max);
                }
        }
}

static void offsets(struct connection *c) {
        take(c, NULL, 4);
        int topics = (int)number(c, 4);
        put_number(c, 4, topics);
        for (int t = 0; t < topics; t++) {
                name(c, 1);
                int count = (int)number(c, 4);
                put_number(c, 4, count);
                for (int p = 0; p < count; p++) {
                        put_number(c, 4, number(c, 4));
                        take(c, NULL, 8);
                        put_number(c, 2, 0);
                        put_number(c, 8, -1);
                        put_number(c, 8, 0);
                }
        }
}

static void metadata(struct connection *c) {
        int topics = (int)number(c, 4);
        put_number(c, 4, 0);
        put_number(c, 4, 1);
        put_number(c, 4, 0);
        put_number(c, 2, 9);
        put(c, "127.0.0.1", 9);
        put_number(c, 4, port);
        put_number(c, 2, -1);
        put_number(c, 2, 7);
        put(c, "discard", 7);
        put_number(c, 4, 0);
        put_number(c, 4, topics < 0 ? 0 : topics);
        for (int t = 0; t < topics; t++) {
                put_number(c, 2, 0);
                name(c, 1);
                put_number(c, 1, 0);
                put_number(c, 4, partitions);
                for (int p = 0; p < partitions; p++) {
                        put_number(c, 2, 0);
                        put_number(c, 4, p);
                        put_number(c, 4, 0);
                        for (int list = 0; list < 2; list++) {
                                put_number(c, 4, 1);
                                put_number(c, 4, 0);
                        }
                }
        }
}

static void versions(struct connection *c, int version) {
        int count = sizeof SERVED / sizeof SERVED[0];
        put_number(c, 2, version == 0 ? 0 : UNSUPPORTED_VERSION);
        put_number(c, 4, count);
        for (int i = 0; i < count; i++)
                for (int part = 0; part < 3; part++)
                        put_number(c, 2, SERVED[i][part]);
}

static void answer(struct connection *c) {
        c->left = 4;
        int size = (int)number(c, 4);
        c->left = size < 0 ? 0 : size;
        int api = (int)number(c, 2), version = (int)number(c, 2);
        c->used = 4;
        put_number(c, 4, number(c, 4));
        name(c, 0);
        switch (api) {
        case PRODUCE: produced(c); break;
        case FETCH: fetched(c); break;
        case LIST_OFFSETS: offsets(c); break;
        case METADATA: metadata(c); break;
        case API_VERSIONS: versions(c, version); break;
        case INIT_PRODUCER_ID:
                put_number(c, 4, 0);
                put_number(c, 2, 0);
                put_number(c, 8, 7);
                put_number(c, 2, 0);
                break;
        default: leave(c);
        }
        take(c, NULL, c->left);
        uint32_t answer_size = htobe32((uint32_t)(c->used - 4));
        memcpy(c->out, &answer_size, 4);
        for (size_t sent = 0; sent < c->used;) {
                ssize_t part = send(c->socket, c->out + sent, c->used - sent, MSG_NOSIGNAL);
                if (part <= 0)
                        leave(c);
                sent += part;
        }
}

static void *serve(void *opaque) {
        struct connection *c = opaque;
        int on = 1;
        setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        for (;;)
                answer(c);
        return NULL;
}

static void *end_with_input(void *opaque) {
        char byte;
        (void)opaque;
        while (read(0, &byte, 1) > 0) {
        }
        exit(0);
}

int main(int count, char **words) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof address;
        pthread_t thread;
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        partitions = count > 1 ? atoi(words[1]) : 8;
        if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 16) != 0
            || getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
                perror("discard_broker");
                return 1;
        }
        port = ntohs(address.sin_port);
        printf("127.0.0.1:%d\n", port);
        fflush(stdout);
        pthread_create(&thread, NULL, end_with_input, NULL);
        for (;;) {
                struct connection *c = calloc(1, sizeof *c);
                c->socket = accept(listener, NULL, NULL);
                c->in = malloc(IN_MAX);
                c->out = malloc(OUT_MAX);
                if (c->socket < 0 || pthread_create(&thread, NULL, serve, c) != 0)
                        return 1;
                pthread_detach(thread);
        }
}
