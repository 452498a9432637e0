// The checks of franz-go: producer, group consumers of both protocols, static members, admin.
package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"compat/go-checks"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func connect(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(checks.Address())}, options...)...)
}

type client struct{ admin *kadm.Client }

func (c client) CreateTopic(ctx context.Context, name string, partitions int) error {
	_, err := c.admin.CreateTopic(ctx, int32(partitions), -1, nil, name)
	return err
}

func (c client) Produce(ctx context.Context, topic, codec string, records []checks.Record) error {
	producer, err := connect(kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codecs[codec]))
	if err != nil {
		return err
	}
	defer producer.Close()
	batch := []*kgo.Record{}
	for _, r := range records {
		batch = append(batch, &kgo.Record{Key: []byte(r.Key), Value: []byte(r.Value), Timestamp: r.Timestamp,
			Headers: []kgo.RecordHeader{{Key: checks.HeaderName, Value: []byte(r.Header)}}})
	}
	return producer.ProduceSync(ctx, batch...).FirstErr()
}

func told(r *kgo.Record) checks.Record {
	record := checks.Record{Key: string(r.Key), Value: string(r.Value), Timestamp: r.Timestamp, Partition: r.Partition, Offset: r.Offset}
	if len(r.Headers) == 1 && r.Headers[0].Key == checks.HeaderName {
		record.Header = string(r.Headers[0].Value)
	}
	return record
}

func (c client) Read(ctx context.Context, topic string, count int) ([]checks.Record, error) {
	consumer, err := connect(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	records := []checks.Record{}
	for len(records) < count {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) { records = append(records, told(r)) })
	}
	return records, nil
}

func (c client) OffsetAt(ctx context.Context, topic string, at time.Time) (int64, error) {
	offsets, err := c.admin.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topic)
	if err != nil {
		return 0, err
	}
	offset, _ := offsets.Lookup(topic, 0)
	return offset.Offset, offset.Err
}

type member struct {
	client   *kgo.Client
	assigned atomic.Int64
	polls    sync.WaitGroup
	stop     context.CancelFunc
	err      error
}

func (c client) Join(topic, group string, got func(checks.Record)) (checks.Member, error) {
	return join(topic, group, got)
}

func join(topic, group string, got func(checks.Record), options ...kgo.Opt) (*member, error) {
	m := &member{}
	count := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			m.assigned.Add(int64(sign * len(partitions[topic])))
		}
	}
	var err error
	m.client, err = connect(append([]kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.OnPartitionsAssigned(count(1)), kgo.OnPartitionsRevoked(count(-1)), kgo.OnPartitionsLost(count(-1)),
		kgo.BlockRebalanceOnPoll()}, options...)...)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.polls.Go(func() {
		for ctx.Err() == nil {
			fetches := m.client.PollFetches(ctx)
			if err := m.client.CommitUncommittedOffsets(context.Background()); err != nil {
				m.err = err
			} else {
				fetches.EachRecord(func(r *kgo.Record) { got(told(r)) })
			}
			m.client.AllowRebalance()
		}
	})
	return m, nil
}

func (m *member) Assigned() int { return int(m.assigned.Load()) }

func (m *member) Leave() error {
	m.stop()
	m.polls.Wait()
	m.client.CloseAllowingRebalance()
	return m.err
}

// staticMember leaves without a word and comes back to the same partitions, while the other keeps its own.
func staticMember(ctx context.Context, c client) error {
	topic, group := checks.FreshName("static"), checks.FreshName("instances")
	if err := c.CreateTopic(ctx, topic, 4); err != nil {
		return err
	}
	var arrived atomic.Int64
	got := func(checks.Record) { arrived.Add(1) }
	members := [2]*member{}
	for i := range members {
		var err error
		if members[i], err = join(topic, group, got, kgo.InstanceID(fmt.Sprint("instance-", i)), kgo.SessionTimeout(20*time.Second)); err != nil {
			return err
		}
	}
	shared := func() bool { return members[0].Assigned() == 2 && members[1].Assigned() == 2 }
	if err := checks.Until(ctx, "both have two partitions", shared); err != nil {
		return err
	}
	generation := func() int32 { _, generation := members[0].client.GroupMetadata(); return generation }
	before := generation()
	if err := members[1].Leave(); err != nil {
		return err
	}
	again, err := join(topic, group, got, kgo.InstanceID("instance-1"), kgo.SessionTimeout(20*time.Second))
	if err != nil {
		return err
	}
	members[1] = again
	if err := checks.Until(ctx, "the static member has its partitions again", shared); err != nil {
		return err
	}
	if err := c.Produce(ctx, topic, "none", checks.Numbered(0, 100)); err != nil {
		return err
	}
	if err := checks.Until(ctx, "all records arrived", func() bool { return arrived.Load() == 100 }); err != nil {
		return err
	}
	if err := checks.Equal(generation(), before, "generation after the return"); err != nil {
		return err
	}
	for _, m := range members {
		if err := m.Leave(); err != nil {
			return err
		}
	}
	left, err := c.admin.LeaveGroup(ctx, kadm.LeaveGroup(group).InstanceIDs("instance-0", "instance-1"))
	if err != nil {
		return err
	}
	return left.Error()
}

// groupOfTwo is the standard check with other options; the broker must have held the group as one of the kind.
func groupOfTwo(ctx context.Context, c client, kind string, options ...kgo.Opt) error {
	var used string
	err := checks.GroupOfTwo(ctx, c, func(topic, group string, got func(checks.Record)) (checks.Member, error) {
		used = group
		return join(topic, group, got, options...)
	})
	if err != nil {
		return err
	}
	listed, err := c.admin.ListGroups(ctx)
	if err != nil {
		return err
	}
	return checks.Equal(strings.ToLower(listed[used].GroupType), kind, "kind of group")
}

func main() {
	shared, err := connect()
	if err != nil {
		panic(err)
	}
	c := client{kadm.NewClient(shared)}
	list := checks.Standard(c, "none", "gzip", "snappy", "lz4", "zstd")
	checks.Main(append(list,
		checks.Check{Sentence: "the same with the eager range assignor", Run: func(ctx context.Context) error {
			return groupOfTwo(ctx, c, "classic", kgo.Balancers(kgo.RangeBalancer()))
		}},
		checks.Check{Sentence: "the same with KIP-848", Run: func(ctx context.Context) error {
			return groupOfTwo(ctx, c, "consumer", kgo.ServerSideBalancer())
		}},
		checks.Check{Sentence: "a static member comes back without a rebalance", Run: func(ctx context.Context) error { return staticMember(ctx, c) }},
		checks.Check{Sentence: "admin lists, describes and deletes groups", Run: func(ctx context.Context) error { return adminGroups(ctx, c) }}))
}
