/*
 * Load from librdkafka in C, so that the client is not what is measured. Prints one line of JSON.
 *
 *   load produce ADDRESS TOPIC PARTITIONS RECORDS SIZE RATE [property=value…]   RATE 0: as fast as it goes
 *   load consume ADDRESS TOPIC PARTITIONS RECORDS          [property=value…]
 *   load e2e     ADDRESS TOPIC PARTITIONS RECORDS SIZE RATE [property=value…]   produce to poll, one process
 *
 * produce: latency is from before rd_kafka_produce to the delivery report, linger included. e2e: from before
 * rd_kafka_produce to after the poll that returns the record; the send time travels in the value.
 */
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POLL_MS 100
#define STALL_S 60

struct load {
        const char *address, *topic;
        char **properties;
        int property_count, partitions, own_partitioner;
        long records, size, rate;
        float *latency_ms; /* one of each record, in the order they were learned */
        atomic_long done, failed;
};

static int64_t now_ns(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what, const char *why) {
        fprintf(stderr, "load: %s: %s\n", what, why);
        exit(1);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
        char why[256];
        if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK)
                die(name, why);
}

/* A client of `type`; the command line's properties that start with `role` (or with none) apply. */
static rd_kafka_t *client(struct load *load, rd_kafka_type_t type, rd_kafka_conf_t *conf) {
        char why[256];
        const char *other = type == RD_KAFKA_PRODUCER ? "consumer:" : "producer:";
        set(conf, "bootstrap.servers", load->address);
        for (int i = 0; i < load->property_count; i++) {
                char *name = strdup(load->properties[i]), *value = strchr(name, '='), *bare = name;
                if (value == NULL)
                        die(name, "expected property=value");
                *value++ = 0;
                if (strncmp(name, other, strlen(other)) != 0) {
                        if (strncmp(name, "producer:", 9) == 0 || strncmp(name, "consumer:", 9) == 0)
                                bare = name + 9;
                        set(conf, bare, value);
                }
                free(name);
        }
        rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);
        if (rk == NULL)
                die("rd_kafka_new", why);
        return rk;
}

static void learn(struct load *load, int64_t began_ns) {
        long at = atomic_fetch_add(&load->done, 1);
        if (at < load->records)
                load->latency_ms[at] = (float)((now_ns() - began_ns) / 1e6);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
        (void)rk;
        struct load *load = opaque;
        if (message->err)
                atomic_fetch_add(&load->failed, 1);
        learn(load, (int64_t)(intptr_t)message->_private);
}

static void on_delivery_unmeasured(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
        (void)rk;
        if (message->err)
                atomic_fetch_add(&((struct load *)opaque)->failed, 1);
}

static rd_kafka_t *producer(struct load *load, int measured) {
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        set(conf, "acks", "all");
        set(conf, "queue.buffering.max.messages", "2000000");
        set(conf, "queue.buffering.max.kbytes", "524288");
        rd_kafka_conf_set_opaque(conf, load);
        rd_kafka_conf_set_dr_msg_cb(conf, measured ? on_delivery : on_delivery_unmeasured);
        return client(load, RD_KAFKA_PRODUCER, conf);
}

/* Sends all records in step with the rate: round-robin over the partitions, or where the client's own partitioner puts
 * records without a key (one partition at a time, for sticky.partitioning.linger.ms). */
static void send_all(struct load *load, rd_kafka_t *rk) {
        rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, load->topic, NULL);
        char *value = malloc(load->size);
        for (long i = 0; i < load->size; i++)
                value[i] = (char)((i * 2654435761u) >> 13);
        int64_t began = now_ns();
        for (long i = 0; i < load->records; i++) {
                if (load->rate > 0) {
                        int64_t due = began + (int64_t)(1e9 * i / load->rate), left;
                        while ((left = due - now_ns()) > 0) {
                                if (rd_kafka_poll(rk, 0) == 0) {
                                        struct timespec nap = {0, left < 200000 ? left : 200000};
                                        nanosleep(&nap, NULL);
                                }
                        }
                }
                int64_t sent = now_ns();
                memcpy(value, &sent, sizeof sent);
                while (rd_kafka_produce(topic, load->own_partitioner ? RD_KAFKA_PARTITION_UA : (int)(i % load->partitions),
                                        RD_KAFKA_MSG_F_COPY, value, load->size,
                                        NULL, 0, (void *)(intptr_t)sent) == -1) {
                        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                                die("produce", rd_kafka_err2str(rd_kafka_last_error()));
                        rd_kafka_poll(rk, 5);
                }
                if (i % 64 == 0)
                        rd_kafka_poll(rk, 0);
        }
        free(value);
        if (rd_kafka_flush(rk, STALL_S * 1000) != RD_KAFKA_RESP_ERR_NO_ERROR)
                die("flush", "records are left after 60 s");
        rd_kafka_topic_destroy(topic);
}

/* Polls until `done` reaches the records asked for; `measured`: the value's first 8 bytes are its send time. */
static void receive_all(struct load *load, rd_kafka_t *rk, int measured) {
        rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
        rd_kafka_message_t **batch = calloc(10000, sizeof *batch);
        int64_t last = now_ns();
        while (atomic_load(&load->done) < load->records) {
                ssize_t count = measured ? 0 : rd_kafka_consume_batch_queue(queue, POLL_MS, batch, 10000);
                if (measured && (batch[0] = rd_kafka_consumer_poll(rk, POLL_MS)) != NULL)
                        count = 1;
                if (count > 0)
                        last = now_ns();
                else if (now_ns() - last > (int64_t)STALL_S * 1000000000)
                        die("consume", "nothing for 60 s");
                for (ssize_t i = 0; i < count; i++) {
                        int64_t sent = 0;
                        if (batch[i]->err == 0 && measured) {
                                memcpy(&sent, batch[i]->payload, sizeof sent);
                                learn(load, sent);
                        } else if (batch[i]->err == 0) {
                                atomic_fetch_add(&load->done, 1);
                        }
                        rd_kafka_message_destroy(batch[i]);
                }
        }
        free(batch);
        rd_kafka_queue_destroy(queue);
}

static rd_kafka_t *consumer(struct load *load, int64_t offset) {
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        set(conf, "group.id", "none");
        set(conf, "enable.auto.commit", "false");
        rd_kafka_t *rk = client(load, RD_KAFKA_CONSUMER, conf);
        rd_kafka_poll_set_consumer(rk);
        rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(load->partitions);
        for (int p = 0; p < load->partitions; p++)
                rd_kafka_topic_partition_list_add(all, load->topic, p)->offset = offset;
        if (rd_kafka_assign(rk, all) != RD_KAFKA_RESP_ERR_NO_ERROR)
                die("assign", "refused");
        rd_kafka_topic_partition_list_destroy(all);
        return rk;
}

static void *send_in_thread(void *opaque) {
        struct load *load = opaque;
        rd_kafka_t *rk = producer(load, 0);
        send_all(load, rk);
        rd_kafka_destroy(rk);
        return NULL;
}

static int by_value(const void *a, const void *b) {
        float x = *(const float *)a, y = *(const float *)b;
        return (x > y) - (x < y);
}

static void report(struct load *load, double seconds, int measured) {
        long n = atomic_load(&load->done) < load->records ? atomic_load(&load->done) : load->records;
        printf("{\"records\": %ld, \"failed\": %ld, \"seconds\": %.3f, \"per_second\": %.0f", n,
               atomic_load(&load->failed), seconds, n / seconds);
        if (measured && n > 0) {
                long skip = n / 10; /* the first tenth warms up connections and caches */
                float *from = load->latency_ms + skip;
                qsort(from, n - skip, sizeof *from, by_value);
                n -= skip;
                printf(", \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"p999_ms\": %.2f, \"max_ms\": %.2f", from[n / 2],
                       from[n * 99 / 100], from[n * 999 / 1000], from[n - 1]);
        }
        printf("}\n");
}

int main(int count, char **words) {
        if (count < 6)
                die("usage", "produce|produce-unkeyed|consume|e2e ADDRESS TOPIC PARTITIONS RECORDS [SIZE RATE] [property=value...]");
        int sends = strcmp(words[1], "consume") != 0, fixed = sends ? 8 : 6;
        if (sends && count < 8)
                die("usage", "produce and e2e take SIZE and RATE");
        struct load load = {words[2], words[3], words + fixed, count - fixed, atoi(words[4]), strcmp(words[1], "produce-unkeyed") == 0, atol(words[5]),
                            sends ? atol(words[6]) : 0, sends ? atol(words[7]) : 0, NULL, 0, 0};
        if (load.partitions < 1 || load.records < 1 || (sends && load.size < 8))
                die("usage", "PARTITIONS and RECORDS from 1, SIZE from 8");
        load.latency_ms = calloc(load.records, sizeof(float));
        int64_t began = now_ns();
        if (strncmp(words[1], "produce", 7) == 0) {
                rd_kafka_t *rk = producer(&load, 1);
                send_all(&load, rk);
                report(&load, (now_ns() - began) / 1e9, 1);
                rd_kafka_destroy(rk);
        } else if (strcmp(words[1], "consume") == 0) {
                rd_kafka_t *rk = consumer(&load, RD_KAFKA_OFFSET_BEGINNING);
                receive_all(&load, rk, 0);
                report(&load, (now_ns() - began) / 1e9, 0);
        } else {
                pthread_t thread;
                rd_kafka_t *rk = consumer(&load, RD_KAFKA_OFFSET_BEGINNING);
                if (pthread_create(&thread, NULL, send_in_thread, &load) != 0)
                        die("pthread_create", "refused");
                receive_all(&load, rk, 1);
                pthread_join(thread, NULL);
                report(&load, (now_ns() - began) / 1e9, 1);
        }
        return atomic_load(&load.failed) ? 1 : 0;
}
