/*
 * Load from librdkafka in C, so that the client is not what is measured. Prints one line of JSON.
 *
 *   load produce    ADDRESS TOPIC PARTITIONS RECORDS SIZE RATE [property=value…]   records in turn over the partitions
 *   load produce-unkeyed ADDRESS TOPIC PARTITIONS RECORDS SIZE RATE [property=value…]   where the client's own partitioner puts them
 *   load sequential ADDRESS TOPIC PARTITIONS RECORDS SIZE 0    [property=value…]   each when the one before is acked
 *   load e2e        ADDRESS TOPIC PARTITIONS RECORDS SIZE RATE [property=value…]   produce to poll, one process
 *   load consume    ADDRESS TOPIC PARTITIONS RECORDS            [property=value…]   from the beginning
 *
 * seconds=N before the properties: stops after this time, if it has not sent RECORDS before; consume: begins again at the beginning
 * whenever it has read RECORDS, until this time is over.
 *
 * RATE 0: as fast as it goes, without latencies: nothing is copied that librdkafka does not copy, and only failed deliveries are
 * reported. Else latency is from before rd_kafka_produce to the delivery report, linger included, both on threads that wait for
 * nothing else. e2e: from before rd_kafka_produce to after the poll that returns the record; the send time travels in the value.
 * The first tenth of the latencies is left out: connections and caches warm up. Time begins when a first record
 * is acked, which counts for nothing (consume: with the first record; e2e: when the reader is in place).
 */
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 100
#define STALL_S 120
#define BATCH 10000
#define RUN 64 /* records handed over at once where there is no rate */

struct load {
        const char *address, *topic;
        char **properties;
        int property_count, partitions, own_partitioner;
        long records, size, rate, sent;
        double seconds; /* 0: no limit of time */
        float *latency_ms; /* one of each record, in the order they were learned */
        atomic_long done, failed;
        atomic_int sent_all;
        int64_t began_ns, ended_ns;
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
        set(conf, "log_level", "3");
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

static int time_is_over(const struct load *load) {
        return load->seconds > 0 && load->began_ns > 0 && now_ns() - load->began_ns > load->seconds * 1e9;
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

static void on_failure(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
        (void)rk;
        if (message->err)
                atomic_fetch_add(&((struct load *)opaque)->failed, 1);
}

/* `measured`: each delivery is reported with the time in its opaque pointer; else only failures are. */
static rd_kafka_t *producer(struct load *load, int measured) {
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        set(conf, "acks", "all");
        set(conf, "queue.buffering.max.messages", "2000000");
        set(conf, "queue.buffering.max.kbytes", "524288");
        set(conf, "delivery.report.only.error", measured ? "false" : "true");
        rd_kafka_conf_set_opaque(conf, load);
        rd_kafka_conf_set_dr_msg_cb(conf, measured ? on_delivery : on_failure);
        return client(load, RD_KAFKA_PRODUCER, conf);
}

static void drain(rd_kafka_t *rk) {
        if (rd_kafka_flush(rk, STALL_S * 1000) != RD_KAFKA_RESP_ERR_NO_ERROR)
                die("flush", "records are left after this time");
}

/* A topic that the client is ready to send to: its partitions are known, and one record is acked, so that there is a connection and,
 * with idempotence, a producer id, for which librdkafka can take half a second. */
static rd_kafka_topic_t *ready_topic(struct load *load, rd_kafka_t *rk) {
        const struct rd_kafka_metadata *known;
        rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, load->topic, NULL);
        rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, topic, &known, STALL_S * 1000);
        if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
                die("metadata", rd_kafka_err2str(err));
        rd_kafka_metadata_destroy(known);
        int64_t now = now_ns();
        if (rd_kafka_produce(topic, 0, RD_KAFKA_MSG_F_COPY, &now, sizeof now, NULL, 0, (void *)(intptr_t)now) == -1)
                die("produce", rd_kafka_err2str(rd_kafka_last_error()));
        drain(rk);
        if (load->latency_ms != NULL)
                atomic_store(&load->done, 0);
        return topic;
}

static char *new_value(const struct load *load) {
        char *value = malloc(load->size);
        for (long i = 0; i < load->size; i++)
                value[i] = (char)((i * 2654435761u) >> 13);
        return value;
}

static void send_one(struct load *load, rd_kafka_topic_t *topic, char *value, long i) {
        int64_t sent = now_ns();
        memcpy(value, &sent, sizeof sent);
        int partition = load->own_partitioner ? RD_KAFKA_PARTITION_UA : (int)(i % load->partitions);
        if (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_BLOCK, value, load->size, NULL, 0,
                             (void *)(intptr_t)sent) == -1)
                die("produce", rd_kafka_err2str(rd_kafka_last_error()));
}

static void *poll_until_sent(void *opaque) {
        rd_kafka_t *rk = opaque;
        struct load *load = rd_kafka_opaque(rk);
        while (!atomic_load(&load->sent_all))
                rd_kafka_poll(rk, POLL_MS);
        return NULL;
}

/* Sends in step with the rate; another thread learns of deliveries, as soon as they are there. */
static void send_at_rate(struct load *load, rd_kafka_t *rk, rd_kafka_topic_t *topic) {
        pthread_t poller;
        char *value = new_value(load);
        atomic_store(&load->sent_all, 0);
        if (pthread_create(&poller, NULL, poll_until_sent, rk) != 0)
                die("pthread_create", "refused");
        prctl(PR_SET_TIMERSLACK, 1000);
        int64_t began = now_ns();
        for (long i = 0; i < load->records && !time_is_over(load); load->sent = ++i) {
                int64_t left = began + (int64_t)(1e9 * i / load->rate) - now_ns();
                if (left > 0) {
                        struct timespec nap = {left / 1000000000, left % 1000000000};
                        nanosleep(&nap, NULL);
                }
                send_one(load, topic, value, i);
        }
        drain(rk);
        load->ended_ns = now_ns();
        atomic_store(&load->sent_all, 1);
        pthread_join(poller, NULL);
        free(value);
}

static void send_sequentially(struct load *load, rd_kafka_t *rk, rd_kafka_topic_t *topic) {
        char *value = new_value(load);
        for (long i = 0; i < load->records && !time_is_over(load); load->sent = ++i) {
                send_one(load, topic, value, i);
                while (atomic_load(&load->done) <= i)
                        if (rd_kafka_poll(rk, STALL_S * 1000) == 0)
                                die("sequential", "no ack in time");
        }
        load->ended_ns = now_ns();
        free(value);
}

/* One value for all records, which librdkafka takes as it is. */
static void send_in_bulk(struct load *load, rd_kafka_t *rk, rd_kafka_topic_t *topic) {
        static rd_kafka_message_t run[RUN];
        char *value = new_value(load);
        int flags = load->own_partitioner ? 0 : RD_KAFKA_MSG_F_PARTITION;
        for (long i = 0; i < load->records && !time_is_over(load); load->sent = i) {
                int count = load->records - i < RUN ? (int)(load->records - i) : RUN, taken;
                for (int m = 0; m < count; m++)
                        run[m] = (rd_kafka_message_t){
                            .payload = value, .len = load->size, .partition = (int32_t)((i + m) % load->partitions)};
                taken = rd_kafka_produce_batch(topic, RD_KAFKA_PARTITION_UA, flags, run, count);
                for (int m = 0; m < count && taken < count; m++)
                        if (run[m].err && run[m].err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                                die("produce", rd_kafka_err2str(run[m].err));
                i += taken;
                rd_kafka_poll(rk, taken < count ? 1 : 0);
        }
        drain(rk);
        load->ended_ns = now_ns();
        free(value);
}

static void send_all(struct load *load, rd_kafka_t *rk, rd_kafka_topic_t *topic) {
        if (load->rate > 0)
                send_at_rate(load, rk, topic);
        else
                send_in_bulk(load, rk, topic);
}

/* Polls until `done` reaches `until`, or without `measured` until the time is over; `measured`: the value's first 8 bytes are its
 * send time, and each is polled for itself. */
static void receive(struct load *load, rd_kafka_t *rk, long until, int measured) {
        rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
        rd_kafka_message_t **batch = calloc(BATCH, sizeof *batch);
        int64_t last = now_ns();
        while (atomic_load(&load->done) < until && (measured || !time_is_over(load))) {
                /* No more than is left: it waits until it has as many, or for all of POLL_MS. */
                long left = until - atomic_load(&load->done), most = measured ? 1 : left < BATCH ? left : BATCH;
                ssize_t count = rd_kafka_consume_batch_queue(queue, POLL_MS, batch, most), good = 0;
                if (count > 0)
                        last = now_ns();
                else if (now_ns() - last > (int64_t)STALL_S * 1000000000)
                        die("consume", "nothing in time");
                for (ssize_t i = 0; i < count; i++) {
                        int64_t sent = 0;
                        good += batch[i]->err == 0;
                        if (batch[i]->err == 0 && measured) {
                                memcpy(&sent, batch[i]->payload, sizeof sent);
                                learn(load, sent);
                        }
                        rd_kafka_message_destroy(batch[i]);
                }
                if (good > 0 && load->began_ns == 0)
                        load->began_ns = last;
                if (good > 0 && !measured)
                        atomic_fetch_add(&load->done, good);
        }
        load->ended_ns = time_is_over(load) ? now_ns() : last;
        free(batch);
        rd_kafka_queue_destroy(queue);
}

static void assign(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *all) {
        if (rd_kafka_assign(rk, all) != RD_KAFKA_RESP_ERR_NO_ERROR)
                die("assign", "refused");
        rd_kafka_topic_partition_list_destroy(all);
}

static void read_from_beginning(struct load *load, rd_kafka_t *rk) {
        rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(load->partitions);
        for (int p = 0; p < load->partitions; p++)
                rd_kafka_topic_partition_list_add(all, load->topic, p)->offset = RD_KAFKA_OFFSET_BEGINNING;
        assign(rk, all);
}

/* From where the partitions end now. */
static void read_from_end(struct load *load, rd_kafka_t *rk) {
        rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(load->partitions);
        for (int p = 0; p < load->partitions; p++) {
                int64_t low, high, began = now_ns();
                rd_kafka_resp_err_t err;
                /* Kafka may name a leader that does not know of it yet. */
                while ((err = rd_kafka_query_watermark_offsets(rk, load->topic, p, &low, &high, STALL_S * 1000))) {
                        if (now_ns() - began > (int64_t)STALL_S * 1000000000)
                                die("offsets", rd_kafka_err2str(err));
                        usleep(100000);
                }
                rd_kafka_topic_partition_list_add(all, load->topic, p)->offset = high;
        }
        assign(rk, all);
}

static rd_kafka_t *consumer(struct load *load) {
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        set(conf, "group.id", "none");
        set(conf, "enable.auto.commit", "false");
        rd_kafka_t *rk = client(load, RD_KAFKA_CONSUMER, conf);
        rd_kafka_poll_set_consumer(rk);
        return rk;
}

static void *send_in_thread(void *opaque) {
        struct load *load = opaque, quiet = *load;
        quiet.latency_ms = NULL;
        rd_kafka_t *rk = producer(&quiet, 0);
        rd_kafka_topic_t *topic = ready_topic(&quiet, rk);
        send_all(&quiet, rk, topic);
        atomic_fetch_add(&load->failed, atomic_load(&quiet.failed));
        rd_kafka_topic_destroy(topic);
        rd_kafka_destroy(rk);
        return NULL;
}

static int by_value(const void *a, const void *b) {
        float x = *(const float *)a, y = *(const float *)b;
        return (x > y) - (x < y);
}

static void report(struct load *load) {
        struct rusage used;
        double seconds = load->ended_ns > load->began_ns ? (load->ended_ns - load->began_ns) / 1e9 : 1e-9;
        long n = atomic_load(&load->done), all = load->sent ? load->sent : n;
        getrusage(RUSAGE_SELF, &used);
        printf("{\"records\": %ld, \"failed\": %ld, \"seconds\": %.3f, \"per_second\": %.0f, \"client_cpu_s\": %.2f", all,
               atomic_load(&load->failed), seconds, all / seconds,
               used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
        if (load->latency_ms != NULL && n > 0) {
                long skip = n / 10; /* the first tenth warms up connections and caches */
                float *from = load->latency_ms + skip;
                qsort(from, n - skip, sizeof *from, by_value);
                n -= skip;
                printf(", \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f, \"max_ms\": %.3f", from[n / 2],
                       from[n * 99 / 100], from[n * 999 / 1000], from[n - 1]);
        }
        printf("}\n");
}

static void produce(struct load *load, int sequential) {
        rd_kafka_t *rk = producer(load, load->latency_ms != NULL);
        rd_kafka_topic_t *topic = ready_topic(load, rk);
        load->began_ns = now_ns();
        if (sequential)
                send_sequentially(load, rk, topic);
        else
                send_all(load, rk, topic);
        rd_kafka_topic_destroy(topic);
        rd_kafka_destroy(rk);
}

static void consume(struct load *load) {
        rd_kafka_t *rk = consumer(load);
        long lap = 0;
        do {
                read_from_beginning(load, rk);
                receive(load, rk, load->records * ++lap, 0);
        } while (load->seconds > 0 && !time_is_over(load));
        rd_kafka_destroy(rk);
}

static void end_to_end(struct load *load) {
        pthread_t sender;
        rd_kafka_t *rk = consumer(load);
        read_from_end(load, rk);
        load->began_ns = now_ns();
        if (pthread_create(&sender, NULL, send_in_thread, load) != 0)
                die("pthread_create", "refused");
        receive(load, rk, load->records, 1);
        pthread_join(sender, NULL);
        rd_kafka_destroy(rk);
}

int main(int count, char **words) {
        if (count < 6)
                die("usage", "produce|produce-unkeyed|sequential|consume|e2e ADDRESS TOPIC PARTITIONS RECORDS [SIZE RATE] [property=value...]");
        const char *kind = words[1];
        int consumes = strcmp(kind, "consume") == 0, sequential = strcmp(kind, "sequential") == 0, fixed = consumes ? 6 : 8;
        if (count < fixed)
                die("usage", "produce, sequential and e2e take SIZE and RATE");
        struct load load = {.address = words[2], .topic = words[3], .partitions = atoi(words[4]), .records = atol(words[5])};
        if (count > fixed && strncmp(words[fixed], "seconds=", 8) == 0)
                load.seconds = atof(words[fixed++] + 8);
        load.properties = words + fixed;
        load.property_count = count - fixed;
        load.own_partitioner = strcmp(kind, "produce-unkeyed") == 0;
        load.size = consumes ? 8 : atol(words[6]);
        load.rate = consumes ? 0 : atol(words[7]);
        if (load.partitions < 1 || load.records < 1 || load.size < 8 || load.rate < 0)
                die("usage", "PARTITIONS and RECORDS from 1, SIZE from 8");
        if (sequential || load.rate > 0)
                load.latency_ms = calloc(load.records, sizeof(float));
        if (consumes)
                consume(&load);
        else if (strcmp(kind, "e2e") == 0)
                end_to_end(&load);
        else
                produce(&load, sequential);
        report(&load);
        return atomic_load(&load.failed) ? 1 : 0;
}
